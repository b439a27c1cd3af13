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

FloatArray = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
INT16_SCALE = 32_768.0  # Kaldi's filter banks are defined on samples in the int16 range.


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

    Blocks of one length always run the same arithmetic, so that equal samples give equal bits; the
    detector feeds it blocks of one model step only.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end
        self._window = povey_window(front_end.window) * np.float32(INT16_SCALE)
        # One row for the real and one for the imaginary part of each bin, divided by the floor.
        filters = mel_filters(front_end) * np.float32(np.exp(-front_end.floor))
        self._filters = np.repeat(filters, 2, axis=0)
        self._padded = np.zeros((0, front_end.fft), np.float32)

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Compute every whole frame of `samples`: float32 (N,) in [-1, 1] -> float32 (T, F).

        T is 1 + (N - window) // hop; the samples must be contiguous.
        """
        window, keep = self._front_end.window, np.float32(1 - self._front_end.preemphasis)
        count = 1 + (len(samples) - window) // self._front_end.hop
        if len(self._padded) != count:
            self._padded = np.zeros((count, self._front_end.fft), np.float32)
        padded, frames = self._padded, self._frames(samples, count, window)
        # Kaldi takes each frame's mean off first; after pre-emphasis, 1 - 0.97 of it is left.
        mean = np.add.reduce(frames, axis=1, keepdims=True) * (keep / np.float32(window))
        emphasised = samples[1:] - (1 - keep) * samples[:-1]
        np.subtract(self._frames(emphasised, count, window - 1), mean, out=padded[:, 1:window])
        # Kaldi repeats the first sample as its own predecessor.
        padded[:, 0] = keep * frames[:, 0] - mean[:, 0]
        padded[:, :window] *= self._window
        parts = np.fft.rfft(padded).astype(np.complex64, copy=False).view(np.float32)
        np.multiply(parts, parts, out=parts)
        mel = parts @ self._filters
        np.maximum(mel, np.float32(1), out=mel)
        return cast(FloatArray, np.log(mel, out=mel))

    def _frames(self, samples: FloatArray, count: int, length: int) -> FloatArray:
        """Return overlapping frames as a view; numpy's sliding_window_view costs half the rest."""
        strides = (self._front_end.hop * samples.itemsize, samples.itemsize)
        return np.ndarray((count, length), np.float32, samples, 0, strides)
