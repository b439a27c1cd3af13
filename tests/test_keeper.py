import csv
import errno
import logging
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import as_int16, words

from kwspot import AudioError, ClipKeeper, KeywordDetector, ManifestError
from kwspot import keeper as keeper_module
from kwspot.cli import main
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.keeper import DETECTION, NEAR_MISS, NEAR_SHARE, TABLE, Kept, read_kept
from kwspot.manifest import read_manifest
from kwspot.model import OnnxModel

SOUND = words(20.0, seed=1)


def listen(
    model: OnnxModel, folder: Path, samples: FloatArray = SOUND, cut: int = 640, **options: object
) -> list[Kept]:
    detector = KeywordDetector(model, vad="off", threshold=0.997)
    with ClipKeeper(detector, folder, live=False, **options):  # type: ignore[arg-type]
        for start in range(0, len(samples), cut):
            detector.process(samples[start : start + cut])
    return read_kept(folder)


def clip(folder: Path, kept: Kept) -> np.ndarray:
    samples, rate = soundfile.read(folder / kept.path, dtype="int16")
    assert rate == SAMPLE_RATE
    return samples


def place_of(part: np.ndarray, whole: np.ndarray) -> int:
    """Find where in the stream a clip is from: its first sample."""
    for start in np.flatnonzero(whole == part[0]):
        if np.array_equal(whole[start : start + len(part)], part):
            return int(start)
    raise AssertionError("the clip is no part of the stream")


def test_every_detection_is_kept_with_what_was_heard_around_it(
    tiny_model: OnnxModel, tmp_path: Path
) -> None:
    kept = [k for k in listen(tiny_model, tmp_path) if k.kind == DETECTION]
    hits = list(KeywordDetector(tiny_model, vad="off", threshold=0.997).process(SOUND))
    assert len(kept) == len(hits) > 2
    whole = as_int16(SOUND)
    for one, hit in zip(kept, hits, strict=True):
        samples = clip(tmp_path, one)
        begin = place_of(samples, whole) / SAMPLE_RATE
        assert begin + one.end == pytest.approx(hit.end, abs=0.006)  # the table has centiseconds
        assert begin + one.start == pytest.approx(max(hit.start, begin), abs=0.006)
        assert (one.keyword, one.score) == ("tiny", round(hit.score, 4))
        assert one.threshold == 0.997
        assert begin == pytest.approx(max(0.0, hit.end - 2.0), abs=0.001)


def test_what_is_kept_does_not_depend_on_chunks_or_on_the_gate_being_late(
    tiny_model: OnnxModel, tmp_path: Path
) -> None:
    rows = []
    for number, cut in enumerate((160, 4321, len(SOUND))):
        folder = tmp_path / str(number)
        kept = listen(tiny_model, folder, cut=cut)
        rows.append([(k.kind, k.score, k.start, k.end, clip(folder, k).tobytes()) for k in kept])
    assert rows[0] == rows[1] == rows[2] != []


def test_near_misses_peak_between_their_share_and_the_threshold(
    tiny_model: OnnxModel, tmp_path: Path
) -> None:
    near = [k for k in listen(tiny_model, tmp_path) if k.kind == NEAR_MISS]
    assert near
    scores = KeywordDetector(tiny_model, vad="off").score(SOUND)[:, 0]
    first = len(SOUND) // 640 - len(scores)
    for kept in near:
        assert NEAR_SHARE * 0.997 <= kept.score < 0.997
        assert np.abs(scores - kept.score).min() < 1e-4
        begin = place_of(clip(tmp_path, kept), as_int16(SOUND)) / SAMPLE_RATE
        place = round((begin + kept.end) * 25) - 1 - first
        assert scores[place] == pytest.approx(kept.score, abs=1e-4)


def test_a_gated_detector_keeps_its_detections(tiny_model: OnnxModel, tmp_path: Path) -> None:
    samples = np.concatenate([SOUND[:80_000], np.zeros(96_000, np.float32), SOUND[:80_000]])
    detector = KeywordDetector(tiny_model, threshold=0.99)
    with ClipKeeper(detector, tmp_path, live=False):
        hits = detector.process(samples)
    kept = [k for k in read_kept(tmp_path) if k.kind == DETECTION]
    assert len(kept) == len(hits) > 1


def test_detections_are_the_same_with_a_keeper(tiny_model: OnnxModel, tmp_path: Path) -> None:
    detector = KeywordDetector(tiny_model)
    alone = list(detector.listen(SOUND))
    with ClipKeeper(detector, tmp_path, live=False):
        assert list(detector.listen(SOUND)) == alone
    assert list(detector.listen(SOUND)) == alone
    before = len(read_kept(tmp_path))
    list(detector.listen(SOUND))
    assert len(read_kept(tmp_path)) == before, "a closed keeper keeps nothing"


def test_the_end_of_a_stream_does_not_lose_a_clip(tiny_model: OnnxModel, tmp_path: Path) -> None:
    (first, *_) = KeywordDetector(tiny_model, vad="off", threshold=0.997).process(SOUND)
    samples = SOUND[: round(first.end * SAMPLE_RATE) + 1280]
    kept = listen(tiny_model, tmp_path, samples)
    assert [k.kind for k in kept][-1] == DETECTION


def test_above_the_limit_the_oldest_near_misses_go_first(
    tiny_model: OnnxModel, tmp_path: Path
) -> None:
    every = listen(tiny_model, tmp_path / "all")
    sizes = {k.path: (tmp_path / "all" / k.path).stat().st_size for k in every}
    detections = sum(sizes[k.path] for k in every if k.kind == DETECTION)
    assert detections < sum(sizes.values())
    limit = detections + max(sizes.values())
    kept = listen(tiny_model, tmp_path / "some", limit=limit)
    left = sum(path.stat().st_size for path in (tmp_path / "some").glob("*.flac"))
    assert left <= limit
    kinds = [k.kind for k in kept]
    assert kinds.count(DETECTION) == sum(k.kind == DETECTION for k in every)
    assert kinds.count(NEAR_MISS) < sum(k.kind == NEAR_MISS for k in every)
    # The next run counts what is there, and tidies the table.
    again = listen(tiny_model, tmp_path / "some", limit=min(sizes.values()) + 1)
    assert sum(p.stat().st_size for p in (tmp_path / "some").glob("*.flac")) < 2 * limit
    assert len(again) <= 1


def test_the_table_forgets_clips_that_are_gone(tiny_model: OnnxModel, tmp_path: Path) -> None:
    kept = listen(tiny_model, tmp_path)
    (tmp_path / kept[0].path).unlink()
    assert read_kept(tmp_path) == kept[1:]
    listen(tiny_model, tmp_path, np.zeros(1600, np.float32))
    with (tmp_path / TABLE).open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [k.path for k in kept[1:]]


def test_a_full_disk_is_said_once_and_listening_goes_on(
    tiny_model: OnnxModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    detector = KeywordDetector(tiny_model)
    with caplog.at_level(logging.WARNING), ClipKeeper(detector, tmp_path):
        hits = list(detector.listen(SOUND))
    assert len(hits) > 2
    (record,) = caplog.records
    assert "No space left" in record.getMessage()
    assert not list(tmp_path.glob("*.flac"))


def test_a_slow_disk_holds_nobody_up(
    tiny_model: OnnxModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = threading.Event()
    write = keeper_module.write_clip

    def slow(path: Path, samples: FloatArray) -> int:
        release.wait(30)
        return write(path, samples)

    monkeypatch.setattr(keeper_module, "write_clip", slow)
    monkeypatch.setattr(keeper_module, "WAITING_CLIPS", 2)
    detector = KeywordDetector(tiny_model, threshold=0.99, refractory=0.0, vad="off")
    keeper = ClipKeeper(detector, tmp_path)
    hits = detector.process(SOUND)
    assert len(hits) > 4, "all was heard while the disk hung"
    release.set()
    keeper.close()
    assert "too slow" in caplog.text and len(caplog.records) == 1
    assert (
        1 <= len(list(tmp_path.glob("*.flac"))) <= 4
    )  # two waited, one was written, one came last


def test_a_folder_that_cannot_be_made_is_said(tiny_model: OnnxModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match=r"cannot keep clips in .*file"):
        ClipKeeper(KeywordDetector(tiny_model), tmp_path / "file")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "path,time\nx,y\n"])
def test_a_table_of_another_kind_is_refused(
    text: str, tiny_model: OnnxModel, tmp_path: Path
) -> None:
    (tmp_path / TABLE).write_text(text)
    if text:
        with pytest.raises(ManifestError, match="no table of kept clips"):
            read_kept(tmp_path)
    else:
        assert read_kept(tmp_path) == []


def test_listening_keeps_clips_only_when_asked(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tmp_path / "words.wav"
    soundfile.write(recording, as_int16(SOUND), SAMPLE_RATE)
    monkeypatch.chdir(tmp_path)
    command = ["listen", "--model", str(tiny_path), "--input", str(recording), "--vad", "off"]
    assert main(command) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["words.wav"]
    assert main([*command, "--keep", "kept", "--keep-limit", "100 MB"]) == 0
    detections = [k for k in read_kept("kept") if k.kind == DETECTION]
    assert len(detections) == len(list(KeywordDetector(tiny_path, vad="off").listen(recording)))
    assert not (tmp_path / "kept" / "manifest.csv").exists(), "nobody has said what they are"


@pytest.mark.parametrize("size", ["", "0", "-1MB", "many", "1TB", "1.5MB"])
def test_sizes_that_are_none_are_refused(size: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["listen", "--model", "alexa", "--keep", "x", "--keep-limit", size])


@pytest.fixture
def reviewed(tiny_model: OnnxModel, tmp_path: Path) -> tuple[Path, list[Kept]]:
    return tmp_path, listen(tiny_model, tmp_path)


def review(folder: Path, answers: str, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    given = iter(answers)

    def answer(question: str) -> str:
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer)
    return main(["review", str(folder), "--silent", *more])


def test_labels_go_to_the_manifest_and_only_they(
    reviewed: tuple[Path, list[Kept]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, kept = reviewed
    lengths = [len(clip(folder, k)) for k in kept]
    assert review(folder, "yxnsq", monkeypatch, "--speaker", "ann") == 0
    assert (
        f"2 labelled in {folder / 'manifest.csv'}, {len(kept) - 2} wait" in capsys.readouterr().out
    )
    clips = read_manifest(folder / "manifest.csv")
    assert [c.text for c in clips] == ["tiny", ""]
    assert [c.name for c in clips] == [f"reviewed/{k.path}" for k in kept[:2]]
    assert {(c.role, c.source, c.speaker) for c in clips} == {("train", "reviewed", "ann")}
    assert read_kept(folder) == kept[2:]
    assert not (folder / kept[0].path).exists()
    # Of the keyword its own part is taken, of other sound all.
    assert clips[0].seconds == pytest.approx(
        min(kept[0].end + 0.5, lengths[0] / SAMPLE_RATE) - max(0.0, kept[0].start - 0.5), abs=0.02
    )
    assert clips[1].seconds == pytest.approx(lengths[1] / SAMPLE_RATE, abs=0.01)
    assert not clips[1].mentions("tiny")
    for labelled in clips:
        assert soundfile.info(labelled.path).duration == pytest.approx(labelled.seconds, abs=0.01)


def test_review_goes_on_where_it_was_left(
    reviewed: tuple[Path, list[Kept]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, kept = reviewed
    review(folder, "n", monkeypatch)
    review(folder, "n" * len(kept), monkeypatch)
    assert read_kept(folder) == []
    names = [c.name for c in read_manifest(folder / "manifest.csv")]
    assert names == [f"reviewed/{k.path}" for k in kept]


def test_a_player_that_is_not_there_is_said_once(
    reviewed: tuple[Path, list[Kept]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, kept = reviewed
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setattr("builtins.input", lambda question: "s")
    assert main(["review", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.count("cannot play") == 1
    assert all(str(folder / k.path) in out for k in kept)


def test_a_clip_that_cannot_be_read_is_skipped(
    reviewed: tuple[Path, list[Kept]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, kept = reviewed
    (folder / kept[0].path).write_bytes(b"")
    assert review(folder, "nq", monkeypatch) == 0
    assert f"skipped: {folder / kept[0].path} is an empty file" in capsys.readouterr().out
    assert [c.name for c in read_manifest(folder / "manifest.csv")] == [f"reviewed/{kept[1].path}"]


def test_a_folder_where_nothing_was_kept_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "kwspot listen --keep" in err and len(err.splitlines()) == 1
