from pathlib import Path

import numpy as np
import pytest
import soundfile
from kwspot_export.loop import TrainingError
from kwspot_export.phrase_recipe import size_of
from kwspot_export.recipe import Student
from kwspot_export.recordings import Judge, Recording, draw_others, find_recordings, take
from toy import assert_one_sentence, clip, keyword, other_words, write_manifest

from kwspot.features import SAMPLE_RATE
from kwspot.manifest import Clip, read_manifest

ENCODER = Path(__file__).parents[2] / "models" / "encoder.pt"


@pytest.fixture(scope="module")
def judge() -> Judge:
    rng = np.random.default_rng(0)
    phrase = [clip(rng, keyword(rng)) for _ in range(8)]
    return Judge(phrase, [other_words(rng, 4) for _ in range(8)], ENCODER)


def test_the_encoder_that_comes_along_is_one() -> None:
    assert size_of(ENCODER) == Student()


def test_a_good_recording_passes_at_any_level_and_bad_ones_do_not(judge: Judge) -> None:
    rng = np.random.default_rng(1)
    good = clip(rng, keyword(rng))
    assert judge.reason_against(good) == judge.reason_against(good * np.float32(0.05)) == ""
    for samples, reason in (
        (np.zeros(SAMPLE_RATE, np.float32), "silent: "),
        (np.clip(good * 40, -1, 1), "clipped: "),
        (other_words(rng, 30), "too long: "),
        (clip(rng, keyword(rng)[: SAMPLE_RATE // 10]), "too short: "),
        (clip(rng, other_words(rng, 2)), "another word: "),
    ):
        assert judge.reason_against(samples).startswith(reason)


def test_good_ones_become_clips_at_16_khz(judge: Judge, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    source = tmp_path / "own"
    source.mkdir()
    samples = clip(rng, keyword(rng))
    soundfile.write(source / "a.wav", np.repeat(samples, 2), 2 * SAMPLE_RATE)  # at 32 kHz
    soundfile.write(source / "b.ogg", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    (source / "c.wav").write_text("no sound")
    (source / "notes.txt").write_text("not audio")
    found = find_recordings(source, "beep boop")
    assert [one.path.name for one in found] == ["a.wav", "b.ogg", "c.wav"]
    judged = take(found, "beep boop", judge, tmp_path / "out")
    assert [bool(one.reason) for one in judged] == [False, True, True]
    assert judged[2].reason.startswith("is no audio")
    (kept,) = read_manifest(tmp_path / "out" / "manifest.csv")
    assert (kept.name, kept.text, kept.role) == ("phrase/00000.flac", "beep boop", "train")
    written, rate = soundfile.read(kept.path)
    assert rate == SAMPLE_RATE and abs(len(written) - len(samples)) < 200


def test_a_manifest_says_what_is_the_phrase_and_what_was_taken_for_it(
    judge: Judge, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    rows = []
    for name, text, samples in (
        ("hit.flac", "Beep, boop!", clip(rng, keyword(rng))),
        ("false.flac", "", clip(rng, other_words(rng, 2))),
    ):
        soundfile.write(tmp_path / name, samples, SAMPLE_RATE)
        rows.append((name, "1", text, "", "train", "review"))
    write_manifest(tmp_path / "manifest.csv", rows)
    found = find_recordings(tmp_path, "beep boop")
    assert found == [
        Recording(tmp_path / "hit.flac", "beep boop"),
        Recording(tmp_path / "false.flac", ""),
    ]
    judged = take(found, "beep boop", judge, tmp_path / "out")
    assert not any(one.reason for one in judged), "a person has judged what is no phrase"
    names = [one.name for one in read_manifest(tmp_path / "out" / "manifest.csv")]
    assert names == ["phrase/00000.flac", "other/00001.flac"]


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="has no recordings: put") as refusal:
        find_recordings(tmp_path, "beep boop")
    assert_one_sentence(refusal.value)


def test_other_speech_is_drawn_from_anywhere_in_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    soundfile.write(tmp_path / "a.flac", other_words(rng, 20), SAMPLE_RATE)
    clips = [Clip(tmp_path / "a.flac", "a.flac", 5.0, "", "", "train", "toy")]
    (piece,) = draw_others(clips, rng)
    assert len(piece) >= SAMPLE_RATE
