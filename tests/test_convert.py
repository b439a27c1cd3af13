from itertools import pairwise

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from kwspot.convert import MAX_CHANNELS, Converter, to_float
from kwspot.errors import AudioError


def noise(samples: int, channels: int = 1) -> np.ndarray:
    values = np.random.default_rng(1).normal(0, 0.2, (samples, channels))
    return values.astype(np.float32)[:, 0] if channels == 1 else values.astype(np.float32)


def converted(audio: np.ndarray, rate: int, channels: int, block: int) -> np.ndarray:
    converter = Converter(rate, channels)
    blocks = [
        converter.convert(audio[start : start + block]) for start in range(0, len(audio), block)
    ]
    return np.concatenate([*blocks, converter.convert(audio[:0], last=True)])


def test_every_int16_value_and_its_float_give_the_same_bits():
    values = np.arange(-32768, 32768, dtype=np.int16)
    single = values.astype(np.float32) / 32768
    for same in (single, single.astype(np.float64), values.astype(">i2"), single.astype(">f4")):
        result = to_float(same)
        assert result.dtype == np.float32 and result.dtype.isnative
        assert result.tobytes() == to_float(values).tobytes()
    assert to_float(values)[0] == -1.0


def test_float32_is_not_copied_and_nothing_is_fine():
    samples = noise(100)
    assert to_float(samples) is samples
    assert to_float(samples[:0]).shape == (0,)
    assert to_float(np.zeros(0, np.int16)).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [0, 57, 99])
def test_nan_and_infinity_are_refused_with_their_place(bad: float, dtype: type, index: int):
    samples = noise(100).astype(dtype)
    samples[index] = bad
    with pytest.raises(AudioError, match=f"sample {index} of 100 is (nan|-?inf)"):
        to_float(samples)


@pytest.mark.parametrize("peak", [12000.0, -12000.0, 1e300])
def test_int16_values_passed_as_floats_are_refused_with_advice(peak: float):
    with pytest.raises(AudioError, match=r"far outside \[-1, 1\]: .*32768.* int16"):
        to_float(np.array([0.0, peak]))


def test_a_hot_recording_is_accepted():
    assert to_float(np.array([1.5, -2.0], np.float32)).max() == 1.5


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((10, 2), np.int16), r"shape \(10, 2\).*one channel"),
        (np.zeros((10, 1), np.float32), r"shape \(10, 1\)"),
        (np.float32(0.0) * np.zeros((), np.float32), "float32, but a numpy array"),
        (np.zeros((), np.float32), r"shape \(\)"),
        (np.zeros(10, np.int32), "int32"),
        (np.zeros(10, np.uint8), "uint8"),
        (np.zeros(10, np.float16), "float16"),
        (np.zeros(10, complex), "complex128"),
        (np.zeros(10, bool), "bool"),
        (np.array(["a"]), "<U1"),
        ([0.0, 0.1], "list.*np.asarray"),
        (b"\0\0", "bytes.*np.frombuffer"),
        (None, "NoneType"),
    ],
)
def test_other_types_and_shapes_are_refused_by_name(samples: object, message: str):
    with pytest.raises(AudioError, match=message):
        to_float(samples)


def test_at_16_khz_mono_nothing_is_resampled():
    samples = noise(1000)
    assert Converter(16_000, 1).convert(samples).tobytes() == samples.tobytes()


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_streamed_resampling_equals_resampling_at_once(rate: int):
    audio = noise(rate // 2)
    at_once = soxr.resample(audio, rate, 16_000)
    assert abs(len(at_once) - 8_000) <= 1
    for block in (1, 160, 997, len(audio)):
        # soxr.resample is another code path for long audio: a float32 rounding step is allowed.
        np.testing.assert_allclose(converted(audio, rate, 1, block), at_once, atol=1e-6)


@given(cuts=st.lists(st.integers(0, 2000), max_size=8), rate=st.sampled_from([16_000, 44_100]))
def test_any_cutting_of_stereo_gives_the_same_bits(cuts: list[int], rate: int):
    audio = noise(2000, channels=2)
    edges = sorted([0, 2000, *cuts])
    converter = Converter(rate, 2)
    blocks = [converter.convert(audio[a:b]) for a, b in pairwise(edges)]
    blocks.append(converter.convert(audio[:0], last=True))
    whole = converted(audio, rate, 2, len(audio))
    assert np.concatenate(blocks).tobytes() == whole.tobytes()


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_mono_is_the_mean_of_the_channels_interleaved_or_not(channels: int):
    audio = noise(500, channels)
    stacked = Converter(16_000, channels).convert(audio)
    interleaved = Converter(16_000, channels).convert(audio.reshape(-1))
    np.testing.assert_allclose(stacked, audio.mean(axis=1), atol=1e-7)
    assert stacked.tobytes() == interleaved.tobytes()


def test_every_sample_format_has_the_same_full_scale():
    for samples in (
        np.array([0, 64, 128, 192, 255], np.uint8),
        np.array([-(2**15), -(2**14), 0, 2**14, 2**15 - 1], np.int16),
        np.array([-(2**31), -(2**30), 0, 2**30, 2**31 - 1], np.int32),
        np.array([-1.0, -0.5, 0.0, 0.5, 1.0]),
    ):
        result = Converter(16_000, 1).convert(samples)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result[:4], [-1.0, -0.5, 0.0, 0.5])
        assert 0.99 < result[4] <= 1.0


def test_a_bad_sample_is_named_by_its_second_in_the_stream():
    converter = Converter(8_000, 2)
    converter.convert(noise(8_000, channels=2))
    block = noise(8_000, channels=2)
    block[4_000, 1] = np.nan
    with pytest.raises(AudioError, match=r"at 1\.50 s is nan"):
        converter.convert(block)


@pytest.mark.parametrize("shape", [(10, 3), (11,), (2, 10), (5, 2, 1), ()])
def test_blocks_that_do_not_fit_the_channels_are_refused(shape: tuple[int, ...]):
    with pytest.raises(AudioError, match="the stream has 2 channels"):
        Converter(16_000, 2).convert(np.zeros(shape, np.float32))


def test_blocks_of_other_types_are_refused():
    with pytest.raises(AudioError, match="int64"):
        Converter(16_000, 1).convert(np.zeros(10, np.int64))
    with pytest.raises(AudioError, match="list"):
        Converter(16_000, 1).convert([0.0])


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (-1, 1), (10**7, 1), (16_000, 0)])
def test_impossible_rates_and_channels_are_refused(rate: int, channels: int):
    with pytest.raises(AudioError, match="is not between"):
        Converter(rate, channels)
    with pytest.raises(AudioError, match="shape"):
        Converter(16_000, MAX_CHANNELS + 1)


def test_a_stream_of_nothing_converts_to_nothing():
    nothing = np.zeros(0, np.float32)
    assert Converter(48_000, 1).convert(nothing, last=True).shape == (0,)
