import numpy as np
import pytest
from kwspot_export import augment
from toy import corpus_of, room, silence

from kwspot.features import SAMPLE_RATE, FloatArray

SECOND = SAMPLE_RATE


def rms(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def tone(hz: float, seconds: float = 1.0) -> FloatArray:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.1 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def pitch(samples: FloatArray) -> float:
    """The strongest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / len(samples)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
@pytest.mark.parametrize("noise_level", [1e-3, 0.7])
def test_noise_is_added_at_the_ratio_asked_for(snr_db: float, noise_level: float) -> None:
    signal = tone(440)
    noise = np.random.default_rng(0).standard_normal(SECOND, np.float32) * np.float32(noise_level)
    added = augment.add_at_snr(signal, noise, snr_db, rms(signal)) - signal
    measured = 20 * np.log10(rms(signal) / rms(added))
    assert measured == pytest.approx(snr_db, abs=0.01)  # dB; float32 sums


def test_silent_noise_adds_nothing() -> None:
    signal = tone(440)
    np.testing.assert_array_equal(augment.add_at_snr(signal, silence(1.0), 0.0, 0.1), signal)


@pytest.mark.parametrize("factor", [0.85, 0.97, 1.18])
def test_speed_changes_length_and_pitch_alike(factor: float) -> None:
    played = augment.change_speed(tone(1000), factor)
    assert played.dtype == np.float32
    assert len(played) == pytest.approx(SECOND / factor, abs=1)
    assert pitch(played) == pytest.approx(1000 * factor, abs=2)  # Hz; a bin is about 1 Hz wide


def test_a_room_keeps_the_time_of_the_direct_sound() -> None:
    rng = np.random.default_rng(0)
    (response,) = augment.room_responses(corpus_of(("rooms/0", room(rng))), [0])
    click = silence(1.0)
    click[4000] = 1.0
    heard = augment.room_and_channel(click, response, None)
    assert len(heard) == len(click)
    # The response is cut 1 ms before its direct sound, whatever delay was recorded before.
    assert int(np.argmax(np.abs(heard))) == 4000 + 16
    assert not heard[:3900].any() or np.abs(heard[:3900]).max() < 1e-6  # rounding of the transform


def test_room_responses_have_unit_energy_and_no_more_than_is_used() -> None:
    rng = np.random.default_rng(0)
    long = np.concatenate([room(rng), silence(2.0)])
    corpus = corpus_of(("rooms/0", room(rng)), ("rooms/1", long))
    for response in augment.room_responses(corpus, [0, 1]):
        assert len(response) <= augment.ROOM_SAMPLES
        assert np.sum(response**2) == pytest.approx(1.0, rel=1e-5)  # float32


def test_the_tail_of_a_room_is_cut_off_and_not_wrapped_around() -> None:
    rng = np.random.default_rng(0)
    (response,) = augment.room_responses(corpus_of(("rooms/0", room(rng))), [0])
    click = silence(1.0)
    click[-100] = 1.0
    heard = augment.room_and_channel(click, response, None)
    assert np.abs(heard[: SECOND // 2]).max() < 1e-6  # rounding of the transform


def test_no_room_and_no_channel_is_the_sound_itself() -> None:
    signal = tone(440)
    same = augment.room_and_channel(signal, None, None)
    np.testing.assert_allclose(same, signal, atol=1e-6)  # there and back through float32 FFTs


def test_a_channel_colours_and_never_delays() -> None:
    rng = np.random.default_rng(0)
    click = silence(1.0)
    click[4000] = 1.0
    for _ in range(10):
        heard = augment.room_and_channel(click, None, rng)
        assert int(np.argmax(np.abs(heard))) == 4000
        assert not np.allclose(heard, click)


def test_coloured_noise_has_unit_level_and_falls_with_frequency() -> None:
    slopes = []
    for seed in range(12):
        noise = augment.coloured_noise(2 * SECOND, np.random.default_rng(seed))
        assert noise.shape == (2 * SECOND,) and noise.dtype == np.float32
        assert rms(noise) == pytest.approx(1.0, rel=1e-4)  # float32
        power = np.abs(np.fft.rfft(noise)) ** 2
        low, high = power[200:2000].mean(), power[-4000:].mean()
        slopes.append(10 * np.log10(low / high))
    assert min(slopes) > -1.0, "noise is white at its brightest"  # dB; averages of 1800 bins
    assert max(slopes) - min(slopes) > 10.0, "and of many colours"


@pytest.mark.parametrize("talkers", [1, 3, 8])
def test_babble_mixes_that_many_talkers_at_unit_level_without_a_pause(talkers: int) -> None:
    # A clip that never stops has level 1 once levelled, so n of them add up to n / sqrt(n).
    corpus = corpus_of(*((f"speech/{i}", np.full(3000, 0.1 * (i + 1))) for i in range(3)))
    mixed = augment.babble(corpus, [0, 1, 2], talkers, SECOND, np.random.default_rng(0))
    np.testing.assert_allclose(mixed, np.sqrt(talkers), rtol=1e-4)  # int16 and float32


def test_babble_of_independent_talkers_has_unit_level() -> None:
    rng = np.random.default_rng(0)
    corpus = corpus_of(*((f"speech/{i}", 0.1 * rng.standard_normal(9000)) for i in range(9)))
    mixed = augment.babble(corpus, range(9), 4, 2 * SECOND, rng)
    assert rms(mixed) == pytest.approx(1.0, abs=0.1)  # now and then two talkers say the same
