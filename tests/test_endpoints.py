import numpy as np
import pytest

from kwspot.endpoints import speech_level, speech_span


def burst(level: float, noise_db: float) -> np.ndarray:
    """0.5 s of noise, 0.4 s of a 300 Hz tone, 0.6 s of noise."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(24_000) * 10 ** (noise_db / 20)
    samples[8000:14_400] += level * np.sin(2 * np.pi * 300 * np.arange(6400) / 16000)
    return samples.astype(np.float32)


@pytest.mark.parametrize("level", [0.5, 0.01])
@pytest.mark.parametrize("below_db", [60, 25])
def test_finds_a_burst_in_noise_at_any_level(level: float, below_db: float) -> None:
    start, end = speech_span(burst(level, 20 * np.log10(level) - below_db))
    # The 50 ms mean spreads an edge by up to 25 ms.
    assert abs(start - 8000) <= 480
    assert abs(end - 14_400) <= 480


def test_level_is_that_of_the_burst_alone() -> None:
    assert speech_level(burst(0.5, -80)) == pytest.approx(0.5 / np.sqrt(2), rel=0.08)


@pytest.mark.parametrize("length", [1, 100, 800, 16_000])
def test_silence_and_short_clips_have_a_span(length: int) -> None:
    start, end = speech_span(np.zeros(length, np.float32))
    assert 0 <= start < end <= length
