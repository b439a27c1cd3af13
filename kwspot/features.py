"""The front end: log-mel filter banks as Kaldi computes them, in numpy.

```
samples -> 25 ms frames every 10 ms -> no DC, pre-emphasis, window -> |FFT|^2 -> mel -> log
```

Letters in shapes: N samples, T frames, F mel bands.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from kwspot.spectrum import FilteredSpectrum

FloatArray = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
INT16_SCALE = 32_768.0  # Kaldi's filter banks are defined on samples in the int16 range.

_FLOOR = np.float32(1)  # of mel energies that are divided by the front end's floor


@dataclass(frozen=True)
class FrontEnd:
    """Parameters of the log-mel front end, stored in every model file. Lengths in samples.

    `floor` is in natural logarithms of Kaldi's mel energies: what is below is silence. Features are
    counted from it, so that silence is 0, as in the fresh state of a model.
    """

    sample_rate: int = SAMPLE_RATE
    window: int = 400  # 25 ms at 16 kHz
    hop: int = 160  # 10 ms at 16 kHz
    fft: int = 512
    mels: int = 40
    low_hz: float = 20.0
    high_hz: float = 7600.0
    preemphasis: float = 0.97
    floor: float = 5.0  # noise at about -90 dBFS; speech reaches 22


def povey_window(length: int) -> FloatArray:
    """Return Kaldi's default window, a Hann window to the power 0.85. Shape (length,)."""
    phase = 2 * np.pi * np.arange(length) / (length - 1)
    return ((0.5 - 0.5 * np.cos(phase)) ** 0.85).astype(np.float32)


def mel_filters(front_end: FrontEnd, warp: float = 1.0) -> FloatArray:
    """Return triangular filters on Kaldi's mel scale, 1127 ln(1 + f / 700): (fft // 2 + 1, F).

    `warp` scales the frequency axis of the filters: vocal-tract-length perturbation
    (Jaitly and Hinton 2013) for training; 1.0 at run time.
    """

    def mel(hz: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    bins_hz = np.arange(front_end.fft // 2 + 1) * front_end.sample_rate / front_end.fft
    edges = np.linspace(mel(front_end.low_hz), mel(front_end.high_hz), front_end.mels + 2)
    position = mel(bins_hz * warp)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (position - left) / (centre - left)
    falling = (right - position) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[-1] = 0.0  # Kaldi leaves the Nyquist bin out.
    return filters.astype(np.float32)


class LogMel:
    """Turns a block of samples into log-mel frames above the floor.

    Blocks of one length always run the same arithmetic in the same memory, so that equal samples
    give equal bits; the detector feeds it blocks of one model step only.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end
        # The window is 0 at both ends: the first sample, which Kaldi repeats as its own
        # predecessor, never counts, and frames begin at the second.
        self._window = povey_window(front_end.window)[1:] * np.float32(INT16_SCALE)
        # Kaldi takes each frame's mean off first; after pre-emphasis, 1 - 0.97 of it is left.
        keep = np.float32(1 - front_end.preemphasis)
        self._previous = 1 - keep
        self._mean = np.full(front_end.window, keep / np.float32(front_end.window), np.float32)
        self._filters = mel_filters(front_end) * np.float32(np.exp(-front_end.floor))
        self._samples = np.zeros(0, np.float32)

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Compute every whole frame of `samples`: float32 (N,) in [-1, 1] -> float32 (T, F).

        T is 1 + (N - window) // hop.
        """
        if len(samples) != len(self._samples):
            self._reserve(len(samples))
        self._samples[:] = samples
        emphasised, frames = self._emphasised, self._spectrum.frames
        np.multiply(self._samples[:-1], self._previous, emphasised)
        np.subtract(self._samples[1:], emphasised, emphasised)
        mean = self._whole_frames.dot(self._mean)
        np.subtract(self._emphasised_frames, mean[:, None], frames)
        np.multiply(frames, self._window, frames)
        mel = self._spectrum()
        np.maximum(mel, _FLOOR, out=mel)
        return cast(FloatArray, np.log(mel, mel))

    def _reserve(self, length: int) -> None:
        """Make the memory for blocks of `length` samples."""
        front_end = self._front_end
        count = 1 + (length - front_end.window) // front_end.hop
        self._samples = np.zeros(length, np.float32)
        self._emphasised = np.zeros(length - 1, np.float32)
        self._whole_frames = _frames(self._samples, count, front_end.window, front_end.hop)
        self._emphasised_frames = _frames(
            self._emphasised, count, front_end.window - 1, front_end.hop
        )
        self._spectrum = FilteredSpectrum(count, front_end.window - 1, front_end.fft, self._filters)


def _frames(samples: FloatArray, count: int, length: int, hop: int) -> FloatArray:
    """Return overlapping frames as a view, (count, length)."""
    return np.lib.stride_tricks.sliding_window_view(samples, length)[::hop][:count]
