import numpy as np
import pytest

from kwspot.endpoints import speech_level, speech_regions, speech_span


def burst(level: float, noise_db: float) -> np.ndarray:
    """0.5 s of noise, 0.4 s of a 1.5 kHz tone, 0.6 s of noise."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(24_000) * 10 ** (noise_db / 20)
    samples[8000:14_400] += level * np.sin(2 * np.pi * 1500 * np.arange(6400) / 16000)
    return samples.astype(np.float32)


def assert_near(span: tuple[int, int], start: int, end: int) -> None:
    # The 50 ms mean spreads an edge by up to 25 ms.
    assert abs(span[0] - start) <= 480
    assert abs(span[1] - end) <= 480


@pytest.mark.parametrize("level", [0.5, 0.01])
@pytest.mark.parametrize("below_db", [60, 25])
def test_finds_a_burst_in_noise_at_any_level(level: float, below_db: float) -> None:
    assert_near(speech_span(burst(level, 20 * np.log10(level) - below_db)), 8000, 14_400)


def test_padding_with_digital_silence_hides_no_noise() -> None:
    padded = np.pad(burst(0.1, -45), (8000, 16_000))
    assert_near(speech_span(padded), 16_000, 22_400)


def test_a_click_is_no_word() -> None:
    samples = burst(0.1, -60)
    samples[2000:2200] = 0.9
    assert_near(speech_span(samples), 8000, 14_400)


def test_hum_is_no_speech() -> None:
    samples = burst(0.1, -60)
    samples += 0.1 * np.sin(2 * np.pi * 50 * np.arange(len(samples)) / 16000).astype(np.float32)
    assert_near(speech_span(samples), 8000, 14_400)


def test_a_pause_parts_regions_and_a_closure_does_not() -> None:
    word = burst(0.1, -80)[8000:14_400]

    def after(pause: int) -> int:
        return len(speech_regions(np.concatenate([word, np.zeros(pause, np.float32), word])))

    assert after(1600) == 1
    assert after(6400) == 2


def test_level_is_that_of_the_burst_alone() -> None:
    assert speech_level(burst(0.5, -80)) == pytest.approx(0.5 / np.sqrt(2), rel=0.08)


@pytest.mark.parametrize("length", [1, 100, 800, 16_000])
def test_silence_and_short_clips_have_a_span(length: int) -> None:
    assert speech_regions(np.zeros(length, np.float32)) == [(0, length)]
