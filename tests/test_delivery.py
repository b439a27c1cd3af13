from pathlib import Path

import numpy as np
import pytest
from test_streams import beeps, rms_db, silence, tone, voices, write_manifest

from kwspot.conditions import Condition, parse_condition
from kwspot.delivery import Rooms, at_level, at_speed
from kwspot.endpoints import speech_level
from kwspot.errors import ManifestError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.manifest import read_manifest
from kwspot.material import Material, choose_material, read_clip
from kwspot.streams import positive_stream

CLEAN = Condition()


def response(*echoes: tuple[float, float]) -> FloatArray:
    """Return a room response with the direct sound after 0.1 s and (seconds later, gain) echoes."""
    samples = silence(0.7)
    for late, gain in ((0.0, 1.0), *echoes):
        samples[1600 + round(late * SAMPLE_RATE)] = gain
    return samples


def material(tmp_path: Path, *rooms: tuple[str, FloatArray]) -> Material:
    rows = [*beeps(), *voices(1)]
    rows += [(f"room_responses/{n}.wav", "", "", r, s) for n, (r, s) in enumerate(rooms)]
    return choose_material(read_manifest(write_manifest(tmp_path, rows)), "beep", "test")


def test_speed_changes_length_and_pitch() -> None:
    slow = at_speed(tone(1.0, 1000), 0.8)
    assert slow.dtype == np.float32
    assert len(slow) == 20_000
    assert np.abs(np.fft.rfft(slow[:16_000])).argmax() == 800
    assert at_speed(slow, 1.0) is slow


def test_level_is_that_of_the_loudest_sample() -> None:
    for level_db in (-40.0, -3.0):
        peak = np.max(np.abs(at_level(tone(0.1, 1000), level_db)))
        assert 20 * np.log10(peak) == pytest.approx(level_db, abs=1e-4)
    assert not at_level(silence(0.1), -3.0).any()


def test_a_room_rings_on_after_the_word_and_keeps_its_time_and_level(tmp_path: Path) -> None:
    found = material(tmp_path, ("test", response((0.4, 0.5))))
    clean = list(positive_stream(found, CLEAN, 0))
    far = list(positive_stream(found, Condition(room=True), 0))
    for (place, dry), (there, wet) in zip(clean, far, strict=True):
        assert place == there
        first, last = (edge - place.begin for edge in place.word)
        clip = read_clip(place.clip)
        assert speech_level(wet[24_000 : 24_000 + len(clip)]) == pytest.approx(
            speech_level(clip), rel=0.02
        )
        # The direct sound is up to 1 ms later; the echo is 0.4 s behind it, at half of it.
        echo = wet[last + 1600 : first + 6400 + 4800]
        direct = wet[first + 400 : last - 400]
        assert rms_db(echo) - rms_db(direct) == pytest.approx(-6, abs=0.5)
        assert rms_db(dry[last + 1600 : first + 11_200]) < -60  # where the dry word is over


def test_each_word_is_in_a_room_that_the_seed_draws(tmp_path: Path) -> None:
    rooms = [("validation", response((0.1 * n, 0.9))) for n in range(1, 5)]
    found = material(tmp_path, *rooms, ("train", response()))
    assert len(found.rooms) == 4  # models have been in the rooms of the role train
    first, again, other = (
        [s for _, s in positive_stream(found, Condition(room=True), seed)] for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_no_room_is_said_before_anything_is_heard(tmp_path: Path) -> None:
    found = material(tmp_path, ("train", response()))
    with pytest.raises(
        ManifestError, match="no clips in a folder room_responses/ outside the role"
    ):
        positive_stream(found, Condition(room=True), 0)
    with pytest.raises(ManifestError, match="leave room out"):
        Rooms(found, 0)


def test_changes_to_the_word_come_before_the_noise(tmp_path: Path) -> None:
    rows = [*beeps(), ("noise/n.wav", "", "", "test", tone(0.5, 2000)), *voices(1)]
    found = choose_material(read_manifest(write_manifest(tmp_path, rows)), "beep", "test")
    alone = positive_stream(found, parse_condition("speed:0.8+level:-20"), 0)
    noisy = positive_stream(found, parse_condition("speed:0.8+level:-20+noise:10"), 0)
    for (place, dry), (there, mixed) in zip(alone, noisy, strict=True):
        assert place == there
        assert np.max(np.abs(dry)) == pytest.approx(0.1, rel=0.01)
        word = dry[24_000:-16_000]
        assert place.end - place.begin == len(dry)
        assert 20 * np.log10(speech_level(word)) - rms_db(mixed - dry) == pytest.approx(10, abs=0.1)
