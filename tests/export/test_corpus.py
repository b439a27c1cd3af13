from pathlib import Path

import numpy as np
import pytest
import soundfile
from kwspot_export.corpus import Corpus
from toy import assert_one_sentence

from kwspot import AudioError
from kwspot.features import SAMPLE_RATE
from kwspot.manifest import Clip, read_manifests
from kwspot.sources import AudioFile


def written(folder: Path, name: str, samples: int, rate: int = SAMPLE_RATE) -> Clip:
    """Write noise of some length and return its clip."""
    rng = np.random.default_rng(samples)
    soundfile.write(folder / name, 0.1 * rng.standard_normal(samples), rate, subtype="PCM_16")
    return Clip(folder / name, name, samples / rate, "", "", "train", "")


def test_every_sample_equals_what_soundfile_reads(data: Path, tmp_path: Path) -> None:
    clips = read_manifests([data / "real.csv", data / "made.csv"])
    corpus = Corpus.open(clips, tmp_path)
    assert len(corpus) == len(clips)
    for index, clip in enumerate(clips):
        expected, _ = soundfile.read(clip.path, dtype="float32")
        assert corpus.length(index) == len(expected)
        np.testing.assert_array_equal(corpus.audio(index), expected)


def test_a_part_of_a_clip_never_reaches_into_the_next(tmp_path: Path) -> None:
    clips = [written(tmp_path, "a.wav", 1000), written(tmp_path, "b.wav", 2000)]
    corpus = Corpus.open(clips, tmp_path / "cache")
    whole = corpus.audio(0)
    np.testing.assert_array_equal(corpus.audio(0, 100, 50), whole[100:150])
    np.testing.assert_array_equal(corpus.audio(0, 900, 500), whole[900:])


def test_the_cache_is_used_again(tmp_path: Path) -> None:
    clips = [written(tmp_path, "a.wav", 1000)]
    decoded: list[tuple[int, int]] = []
    for _ in range(2):
        corpus = Corpus.open(clips, tmp_path / "cache", lambda *now: decoded.append(now))
    assert decoded == [(1, 1)]
    assert corpus.length(0) == 1000


def test_a_file_of_another_size_is_decoded_anew(tmp_path: Path) -> None:
    Corpus.open([written(tmp_path, "a.wav", 1000)], tmp_path / "cache")
    changed = written(tmp_path, "a.wav", 1500)
    corpus = Corpus.open([changed], tmp_path / "cache")
    np.testing.assert_array_equal(corpus.audio(0), soundfile.read(changed.path, dtype="float32")[0])


def test_an_interrupted_decoding_leaves_no_cache(tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    clips = [written(tmp_path, "a.wav", 1000), written(tmp_path, "b.wav", 1000)]
    with pytest.raises(Interrupted):
        Corpus.open(clips, tmp_path / "cache", interrupt)
    np.testing.assert_array_equal(
        Corpus.open(clips, tmp_path / "cache").audio(1),
        soundfile.read(clips[1].path, dtype="float32")[0],
    )


def test_other_rates_and_channels_are_converted_as_the_runtime_does(tmp_path: Path) -> None:
    slow, stereo, loud = (written(tmp_path, f"{i}.wav", 4410) for i in range(3))
    tone = np.sin(np.arange(4410) / 5)
    soundfile.write(slow.path, 0.5 * tone, 11_025)
    soundfile.write(stereo.path, np.stack([0.5 * tone, 0.1 * tone], axis=1), SAMPLE_RATE)
    soundfile.write(loud.path, np.sign(tone), 44_100)  # resampled, it would go beyond 1
    corpus = Corpus.open([slow, stereo, loud], tmp_path / "cache")
    for index, clip in enumerate((slow, stereo, loud)):
        heard = np.concatenate(list(AudioFile(clip.path)))
        assert len(heard) == corpus.length(index) > 0
        np.testing.assert_allclose(corpus.audio(index), np.clip(heard, -1, 1), atol=1e-4)


def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path) -> None:
    gone = Clip(tmp_path / "gone.wav", "gone.wav", 1.0, "", "", "train", "")
    slow = written(tmp_path, "slow.wav", 800, rate=500)
    text = written(tmp_path, "text.wav", 800)
    text.path.write_text("no sound at all")
    for clip, reason in (
        (gone, "gone.wav: No such file"),
        (slow, "cannot use .*slow.wav: a sample rate of 500 Hz"),
        (text, "cannot decode .*text.wav"),
    ):
        with pytest.raises(AudioError, match=reason) as refusal:
            Corpus.open([clip], tmp_path / "cache")
        assert_one_sentence(refusal.value)
