"""From posteriors to detections: moving average, threshold with hysteresis, refractory time."""

from collections import deque

from kwspot.features import FloatArray

Scores = list[list[float]]  # U outputs of K keywords each


class Smoother:
    """Moving average of the last `outputs` posteriors of each of K keywords (Chen et al. 2014).

    Works in Python's own numbers: for the two or three of a step, numpy takes several times longer.
    """

    def __init__(self, outputs: int, keywords: int) -> None:
        self._outputs, self._keywords = outputs, keywords
        self.reset()

    def reset(self) -> None:
        """Forget all posteriors."""
        silence = [[0.0] * self._keywords] * self._outputs
        self._past = deque(silence, maxlen=self._outputs)

    def __call__(self, posteriors: FloatArray) -> Scores:
        """Take the outputs of a step, (U, K), and return their smoothed scores."""
        past, count, scores = self._past, self._outputs, []
        for output in posteriors.tolist():
            past.append(output)
            # Always summed from the oldest on, so that no bit depends on how steps fell.
            scores.append([sum(column) / count for column in zip(*past, strict=True)])
        return scores


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
