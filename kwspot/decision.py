"""From posteriors to detections: moving average, threshold with hysteresis, refractory time."""

import numpy as np

from kwspot.features import FloatArray


class Smoother:
    """Moving average of the last `outputs` posteriors of each of K keywords (Chen et al. 2014)."""

    def __init__(self, outputs: int, keywords: int) -> None:
        self._outputs, self._keywords = outputs, keywords
        self.reset()

    def reset(self) -> None:
        """Forget all posteriors."""
        self._past = np.zeros((self._outputs - 1, self._keywords), np.float32)

    def __call__(self, posteriors: FloatArray) -> FloatArray:
        """Take the outputs of a step, (U, K), and return their smoothed scores (U, K)."""
        count = len(posteriors)
        history = np.concatenate([self._past, posteriors])
        self._past = history[count:]
        # Always summed from the oldest on, so that no bit depends on how steps fell.
        total = history[:count].copy()
        for age in range(1, self._outputs):
            total += history[age : age + count]
        total /= np.float32(self._outputs)
        return total


class Trigger:
    """Fires when a score reaches the threshold; then waits until it is allowed to fire again.

    Armed again once the score has fallen below `release` times the threshold and `refractory`
    samples have passed: one utterance, one detection.
    """

    def __init__(self, threshold: float, release: float, refractory: int) -> None:
        self.threshold = threshold
        self._release = release * threshold
        self._refractory = refractory
        self.reset()

    def reset(self) -> None:
        """Arm the trigger."""
        self._armed = True
        self._quiet_until = 0

    def __call__(self, score: float, time: int) -> bool:
        """Take the score at sample `time`; tell whether this is a detection."""
        if score < self._release:
            self._armed = True
        if score < self.threshold or not self._armed or time < self._quiet_until:
            return False
        self._armed = False
        self._quiet_until = time + self._refractory
        return True
