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
LOG_FLOOR = np.float32(1.1920929e-07)  # float32 epsilon, Kaldi's floor below the logarithm


@dataclass(frozen=True)
class FrontEnd:
    """Parameters of the log-mel front end, stored in every model file. Lengths in samples."""

    sample_rate: int = SAMPLE_RATE
    window: int = 400  # 25 ms at 16 kHz
    hop: int = 160  # 10 ms at 16 kHz
    fft: int = 512
    mels: int = 40
    low_hz: float = 20.0
    high_hz: float = 7600.0
    preemphasis: float = 0.97


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
    """Turns a block of samples into log-mel frames.

    Blocks of one length always run the same arithmetic, so that equal samples give equal bits; the
    detector feeds it blocks of one model step only.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end
        self._window = povey_window(front_end.window)
        self._filters = mel_filters(front_end)

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Compute every whole frame of `samples`: float32 (N,) in [-1, 1] -> float32 (T, F).

        T is 1 + (N - window) // hop; the samples must be contiguous.
        """
        front_end = self._front_end
        # Overlapping frames as a view; numpy's own sliding_window_view costs half of all the rest.
        shape = (1 + (len(samples) - front_end.window) // front_end.hop, front_end.window)
        strides = (front_end.hop * samples.itemsize, samples.itemsize)
        frames = np.ndarray(shape, np.float32, samples, 0, strides) * np.float32(INT16_SCALE)
        frames -= np.add.reduce(frames, axis=1, keepdims=True) / np.float32(front_end.window)
        # Kaldi repeats the first sample as its own predecessor.
        emphasised = np.empty_like(frames)
        emphasised[:, 0] = frames[:, 0] * (1 - np.float32(front_end.preemphasis))
        emphasised[:, 1:] = frames[:, 1:] - np.float32(front_end.preemphasis) * frames[:, :-1]
        emphasised *= self._window
        spectrum = np.fft.rfft(emphasised, front_end.fft)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
        mel = power @ self._filters
        np.maximum(mel, LOG_FLOOR, out=mel)
        return cast(FloatArray, np.log(mel, out=mel))
