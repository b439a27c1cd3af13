"""What a threshold does to the scores of a stream, and which threshold gives how many false alarms.

```
scores -> Trigger -> times -> events, 2 s apart at least
```
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kwspot.decision import Trigger
from kwspot.features import SAMPLE_RATE
from kwspot.modelfile import ModelInfo

EVENT = 2.0  # seconds after a false alarm in which further ones are the same event

Scores = npt.NDArray[np.float64]  # (U,), of one keyword; exact for float32


def fire(
    scores: Scores, threshold: float, info: ModelInfo, refractory: float | None = None
) -> list[int]:
    """Return when a detector without a gate would fire: scores (U,) of a stream -> samples."""
    decision = info.decision
    wait = decision.refractory if refractory is None else refractory
    trigger = Trigger(threshold, decision.release, round(wait * SAMPLE_RATE))
    # Of successive scores that arm the trigger, the first does all: leave out the others.
    low = scores < decision.release * threshold
    low[1:] &= low[:-1].copy()
    return [
        time
        for time, score in zip(
            ((np.flatnonzero(~low) + 1) * info.output_samples).tolist(),
            scores[~low].tolist(),
            strict=True,
        )
        if trigger(score, time)
    ]


def threshold_for(
    allowed: int, scores: Scores, info: ModelInfo, refractory: float | None = None
) -> float:
    """Return the lowest threshold that gives at most `allowed` events, as every higher one does.

    Found by going down the peaks of the stream, so it is the lowest of these where no threshold
    gives more. Further down, where scores never fall below `release` times the threshold, there
    may be few events again, but also hardly any hits. Above 1, no detector can be set to it.
    """

    def holds(threshold: float) -> bool:
        return len(separate(fire(scores, threshold, info, refractory))) <= allowed

    lowest = next_above(float(scores.max()))
    for peak in peaks(scores, info):
        if not holds(peak):
            return next_above(peak) if holds(next_above(peak)) else lowest
        lowest = peak
    return lowest


def peaks(scores: Scores, info: ModelInfo) -> list[float]:
    """Return the highest score of each EVENT s of a stream, falling, those above 0."""
    block = round(EVENT * SAMPLE_RATE / info.output_samples)  # has one event at most
    highest = np.unique(np.maximum.reduceat(scores, np.arange(0, len(scores), block)))[::-1]
    found: list[float] = highest[highest > 0].tolist()
    return found


def next_above(score: float) -> float:
    """Return the next threshold that a score of `score` does not reach, in float32."""
    return float(np.nextafter(np.float32(score), np.float32(2)))


def separate(times: Sequence[int]) -> list[int]:
    """Return the indices of those `times` (samples, rising) that begin an event of EVENT s."""
    begun: list[int] = []
    for index, time in enumerate(times):
        if not begun or time - times[begun[-1]] >= EVENT * SAMPLE_RATE:
            begun.append(index)
    return begun
