"""Filtered power spectra of a few short frames, by matrix products alone.

```
frame[n], n = N2 n1 + n2  -over n1->  (k1, n2)  -over n2->  bin k1 + N1 k2  -square, over bins->  F
```

Cooley and Tukey's transform (1965) with fft = N1 N2. For the eight frames of a step its two
products take half as long as numpy's FFT, most of whose time is not spent transforming; and numpy
before 2.0 knows no FFT in single precision.

Letters in shapes: T frames, F filters.
"""

import math
from typing import cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class FilteredSpectrum:
    """Filters `count` frames of `length` samples, transformed with zeros up to `fft` samples.

    Write the samples into `frames`, (T, length), then call. `filters`: (fft // 2 + 1, F).
    """

    def __init__(self, count: int, length: int, fft: int, filters: Array) -> None:
        fold = max(n for n in range(1, math.isqrt(fft) + 1) if fft % n == 0)  # N1, 16 for 512
        columns = fft // fold
        rows, half = -(-length // columns), fold // 2 + 1  # k1 and N1 - k1 mirror each other

        real, imag = _turns(np.outer(np.arange(half), np.arange(rows)), fold)  # (k1, n1)
        self._first = np.stack([real, imag], axis=1).reshape(2 * half, rows)
        k1, n2, k2 = np.ogrid[:half, :columns, :columns]
        real, imag = _turns(n2 * (k1 + fold * k2), fft)
        self._second = np.block([[real, imag], [-imag, real]])

        # Each bin is found once: where it is, or where its mirror image is.
        bins = np.arange(fft // 2 + 1)
        bins = np.where(bins % fold < half, bins, fft - bins)
        weights = np.zeros((half, 2, columns, filters.shape[1]), np.float32)
        weights[bins % fold, :, bins // fold % columns] = filters[:, None]
        # In Fortran's order, the product takes three quarters of the time.
        self._weights = np.asfortranarray(weights.reshape(-1, filters.shape[1]))

        self._padded = np.zeros((count, rows, columns), np.float32)
        self.frames = self._padded.reshape(count, -1)[:, :length]
        self._folded = np.zeros((count, 2 * half, columns), np.float32)
        self._parts = np.zeros((count, half * 2 * columns), np.float32)
        by_k1 = (count, half, 2 * columns)
        self._folded_by_k1 = self._folded.reshape(by_k1).transpose(1, 0, 2)
        self._parts_by_k1 = self._parts.reshape(by_k1).transpose(1, 0, 2)

    def __call__(self) -> Array:
        """Return the filters' sums of |X|^2: float32 (T, F)."""
        np.matmul(self._first, self._padded, out=self._folded)
        np.matmul(self._folded_by_k1, self._second, out=self._parts_by_k1)
        np.multiply(self._parts, self._parts, self._parts)
        return cast(Array, self._parts.dot(self._weights))


def _turns(steps: npt.NDArray[np.int64], circle: int) -> tuple[Array, Array]:
    """Return the real and the imaginary part of exp(-2 pi i steps / circle)."""
    angle = (-2 * np.pi / circle) * (steps % circle)  # small, so that it is exact to the end
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
