import numpy as np
import pytest

from kwspot.spectrum import FilteredSpectrum


@pytest.mark.parametrize(("length", "fft"), [(399, 512), (512, 512), (1, 16), (300, 400), (30, 37)])
def test_filtered_spectra_are_those_of_numpy(length: int, fft: int) -> None:
    rng = np.random.default_rng(length)
    filters = rng.random((fft // 2 + 1, 6), np.float32)
    spectrum = FilteredSpectrum(3, length, fft, filters)
    for _ in range(2):
        spectrum.frames[:] = frames = rng.standard_normal((3, length), np.float32)
        expected = np.abs(np.fft.rfft(frames.astype(np.float64), fft)) ** 2 @ filters
        # Hundreds of terms in single precision.
        np.testing.assert_allclose(spectrum(), expected, rtol=2e-5)


def test_a_quiet_bin_is_not_drowned_by_a_loud_one() -> None:
    filters = np.eye(257, dtype=np.float32)
    spectrum = FilteredSpectrum(1, 512, 512, filters)
    time = np.arange(512)
    spectrum.frames[:] = np.cos(2 * np.pi * 20 * time / 512) + 1e-5 * np.cos(np.pi * time / 2)
    power = spectrum()[0] / 256**2
    np.testing.assert_allclose(power[[20, 128]], [1, 1e-10], rtol=0.05)
    assert np.delete(power, [20, 128]).max() < 1e-12
