"""From posteriors to detections: moving average, threshold with hysteresis, refractory time."""

from collections import deque
from collections.abc import Sequence

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
        ready = self.ready(score, time)
        if ready:
            self.fire(time)
        return ready

    def ready(self, score: float, time: int) -> bool:
        """Take the score at sample `time`; tell whether this may be a detection."""
        if score < self._release:
            self._armed = True
        return score >= self.threshold and self._armed and time >= self._quiet_until

    def fire(self, time: int) -> int:
        """Count what was ready as a detection; return the sample at which its wait is over."""
        self._armed = False
        self._quiet_until = time + self._refractory
        return self._quiet_until


class Contest:
    """Lets one of several words win: after a detection every word waits for its refractory time.

    Of the words that are ready at one output, that with the highest share of its threshold is
    detected, the first of equals. No detection waits for a better one, and none is taken back.
    """

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self._triggers = triggers
        self.reset()

    def reset(self) -> None:
        """Arm all triggers."""
        self._quiet_until = 0
        for trigger in self._triggers:
            trigger.reset()

    def __call__(self, scores: Sequence[float], time: int) -> int | None:
        """Take the words' scores at sample `time`; return the number of the word detected."""
        winner, highest = None, 0.0
        for number, score in enumerate(scores):
            trigger = self._triggers[number]
            if trigger.ready(score, time) and score / trigger.threshold > highest:
                winner, highest = number, score / trigger.threshold
        if winner is None or time < self._quiet_until:
            return None
        self._quiet_until = self._triggers[winner].fire(time)
        return winner
