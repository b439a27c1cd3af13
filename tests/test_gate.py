import numpy as np
import pytest
from sound import words

from kwspot.gate import HANG_OVER, Gate

STEP = 1280


def opened(vad: str, samples: np.ndarray) -> list[bool]:
    gate = Gate(vad, STEP)
    return [gate.hear(samples[i : i + STEP]) for i in range(0, len(samples) - STEP + 1, STEP)]


@pytest.mark.parametrize("vad", ["webrtc", "energy"])
@pytest.mark.parametrize("level_db", [0, -20])
def test_opens_for_words_and_closes_after_the_hang_over(vad: str, level_db: int) -> None:
    speech = words(1.0, seed=4) * np.float32(10 ** (level_db / 20))
    quiet = words(0.0, seed=1, silence=2.0)
    states = opened(vad, np.concatenate([quiet, speech, quiet]))
    first, last = states.index(True), len(states) - 1 - states[::-1].index(True)
    assert not any(states[16:48])  # after the detector has learned the noise, before the words
    assert abs(first * 0.08 - 4.0) < 0.25 or first < 10
    assert states[55]
    assert last * 0.08 < 5.0 + HANG_OVER + 1.0  # the webrtc detector itself holds on for 0.8 s


def test_off_is_always_open() -> None:
    assert all(opened("off", np.zeros(10 * STEP, np.float32)))


def test_energy_takes_a_steady_noise_for_silence_in_the_end() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 16000 * 30).astype(np.float32)
    assert not any(opened("energy", noise)[-100:])


def test_reset_forgets_the_stream() -> None:
    gate, speech = Gate("webrtc", STEP), words(1.0, seed=4)
    fresh = [gate.hear(speech[i : i + STEP]) for i in range(0, 12 * STEP, STEP)]
    gate.reset()
    assert [gate.hear(speech[i : i + STEP]) for i in range(0, 12 * STEP, STEP)] == fresh


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of webrtc, energy, off"):
        Gate("loud", STEP)
