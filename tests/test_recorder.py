import csv
import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kwspot import Samples
from kwspot.cli import main
from kwspot.clip_file import write_clip
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.manifest import COLUMNS, read_manifest
from kwspot.recorder import PATIENCE_SECONDS, Take, judge, takes


def room(seconds: float, db: float = -60.0, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(round(seconds * SAMPLE_RATE), np.float32)
    return noise * np.float32(10 ** (db / 20))


def word(seconds: float = 0.6, db: float = -22.0) -> FloatArray:
    """Two syllables of a buzz, so loud that their RMS is about `db`."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 15))
    buzz *= 0.3 + 0.7 * np.sin(2 * np.pi * t / seconds) ** 2
    return (buzz / np.sqrt(np.mean(buzz**2)) * 10 ** (db / 20)).astype(np.float32)


def said(speech: FloatArray, noise_db: float = -60.0) -> FloatArray:
    """A moment of the room, the speech in it, and a second of the room."""
    samples = np.pad(speech, (SAMPLE_RATE, round(1.2 * SAMPLE_RATE)))
    return samples + room(len(samples) / SAMPLE_RATE, noise_db)[: len(samples)]


def heard(samples: FloatArray) -> list[Take]:
    return list(takes(Samples(samples), lambda: None))


def test_each_word_is_a_take_with_its_margin() -> None:
    found = heard(np.concatenate([said(word(0.5)), said(word(0.7)), room(2)]))
    assert [take.fault for take in found] == [None, None]
    assert [take.seconds for take in found] == pytest.approx([0.5, 0.7], abs=0.08)
    for take in found:
        assert len(take.samples) / SAMPLE_RATE == pytest.approx(take.seconds + 0.6, abs=0.01)
        assert take.level_db == pytest.approx(-22, abs=2)
        assert take.snr_db == pytest.approx(38, abs=3)


def test_takes_do_not_depend_on_how_the_sound_is_cut() -> None:
    samples = np.concatenate([said(word(0.5)), said(word(0.7))])

    class Pieces:
        live = True

        def __iter__(self):
            yield from np.array_split(samples, 97)

    for one, other in zip(heard(samples), takes(Pieces(), lambda: None), strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)


def test_it_is_asked_for_before_each_take() -> None:
    asked: list[int] = []
    source = Samples(np.concatenate([said(word()), said(word()), room(1)]))
    for number, _ in enumerate(takes(source, lambda: asked.append(1))):
        assert len(asked) == number + 1


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (said(np.clip(word(db=0.0), -1, 1)), "too loud, it is clipped"),
        (said(word(db=-50), noise_db=-85), r"too quiet \(-5\d dBFS\)"),
        (said(word(db=-30), noise_db=-40), r"too noisy \(\d+ dB above the room\)"),
        (said(word(0.06)), "that was a click"),
        (said(word(5.0)), "say the phrase alone"),
        (room(PATIENCE_SECONDS + 2), "nothing was heard for 10 s$"),
        (np.zeros(12 * SAMPLE_RATE, np.float32), "is the microphone muted"),
    ],
    ids=["clipped", "quiet", "noisy", "short", "long", "nothing", "muted"],
)
def test_a_bad_take_says_why(samples: FloatArray, reason: str) -> None:
    assert re.search(reason, heard(samples)[0].fault or "it was good")


def test_talk_that_does_not_end_is_cut_off_and_judged() -> None:
    (first, *_) = heard(np.concatenate([room(1), np.tile(word(0.5), 30)]))
    assert first.fault is not None and "too long" in first.fault
    assert len(first.samples) < 8 * SAMPLE_RATE


def test_a_source_that_ends_in_a_word_gives_that_word() -> None:
    samples = said(word(0.5))
    (take,) = heard(samples[:-SAMPLE_RATE])
    assert take.fault is None


def test_levels_are_those_of_the_speech() -> None:
    take = judge(said(word(db=-25)), room(1, -55))
    assert take.level_db == pytest.approx(-25, abs=1.5)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A recording in which a person says a word four times, once too quietly."""
    parts = [said(speech, -75) for speech in (word(0.5), word(0.5, -52), word(0.6), word(0.7))]
    path = tmp_path / "session.wav"
    soundfile.write(path, np.concatenate([*parts, room(1.5, -75)]), SAMPLE_RATE)
    return path


def record(session: Path, output: Path, *more: str) -> int:
    command = ["record", "Hey you", "--output", str(output), "--input", str(session)]
    return main([*command, *more])


def test_the_command_writes_clips_and_their_manifest(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "clips"
    assert record(session, output, "--count", "3", "--speaker", "Ann Lee") == 0
    out, err = capsys.readouterr()
    assert out.count("good: hey_you-ann_lee-00") == 3
    assert out.count("again, please: too ") == 1
    assert err.count("1 of 3: say «Hey you»") == 1 and err.count("3 of 3") == 1
    with (output / "manifest.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    clips = read_manifest(output / "manifest.csv")
    assert [clip.name for clip in clips] == [f"hey_you-ann_lee-00{i}.flac" for i in (1, 2, 3)]
    for clip in clips:
        assert (clip.text, clip.speaker, clip.role) == ("Hey you", "Ann Lee", "train")
        written = soundfile.info(clip.path)
        assert (written.samplerate, written.channels) == (SAMPLE_RATE, 1)
        assert written.duration == pytest.approx(clip.seconds, abs=0.01)


def test_the_command_goes_on_counting(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "clips"
    assert record(session, output, "--count", "2") == 0
    assert record(session, output, "--count", "2") == 0
    assert "holds 2 clips" in capsys.readouterr().out
    assert record(session, output, "--count", "9") == 1
    assert "ended after 5 of 9" in capsys.readouterr().err
    assert len(read_manifest(output / "manifest.csv")) == 5
    assert len(list(output.glob("*.flac"))) == 5
    # Another speaker begins anew.
    assert record(session, output, "--count", "1", "--speaker", "Bo") == 0
    assert "hey_you-bo-001.flac" in capsys.readouterr().out


def test_a_clip_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Exception, match=r"cannot write .*x.flac: No space left"):
        write_clip(tmp_path / "x.flac", word())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("phrase", "more", "reason"),
    [
        (" ?! ", [], "empty phrase"),
        ("hey", ["--speaker", "-"], "empty phrase or speaker"),
        ("hey", ["--input", "gone.wav"], "cannot read gone.wav"),
        ("hey", ["--output", "file/clips"], "cannot make the folder"),
    ],
)
def test_what_cannot_be_recorded_ends_in_one_sentence(
    phrase: str,
    more: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main(["record", phrase, "--output", "clips", "--input", "file", *more]) == 2
    out, err = capsys.readouterr()
    assert out == "" and reason in err and len(err.splitlines()) == 1


def test_a_manifest_of_another_kind_is_not_touched(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.csv").write_text("a,b\n1,2\n")
    assert record(session, tmp_path) == 2
    assert "lacks the column 'path'" in capsys.readouterr().err
    assert (tmp_path / "manifest.csv").read_text() == "a,b\n1,2\n"
