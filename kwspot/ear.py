"""The latest samples of a stream, for nets that hear them again: a ring of them."""

import numpy as np

from kwspot.features import FloatArray


class Ear:
    """Keeps the latest `length` samples of a stream, before which there is silence."""

    def __init__(self, length: int) -> None:
        self._ring = np.zeros(length, np.float32)
        self._at = 0  # where the oldest sample is, and the next one goes

    def clear(self) -> None:
        """Forget: a new stream begins."""
        self._ring[:] = 0

    def hear(self, samples: FloatArray) -> None:
        """Take the next samples of the stream, (N,)."""
        ring = self._ring
        samples = samples[-len(ring) :]
        first = min(len(samples), len(ring) - self._at)
        ring[self._at : self._at + first] = samples[:first]
        ring[: len(samples) - first] = samples[first:]
        self._at = (self._at + len(samples)) % len(ring)

    def latest(self, count: int, later: int = 0) -> FloatArray:
        """Return the `count` samples that ended `later` samples before the newest, a copy."""
        end = len(self._ring) - later
        ordered: FloatArray = np.roll(self._ring, -self._at)[end - count : end]
        return ordered
