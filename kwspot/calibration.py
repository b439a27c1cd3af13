"""Thresholds from the peaks of a stream, down to rates that it is too short to count.

```
scores (U,) -> highest of each 2 s -> the ten highest -> tail -> threshold at a rate
                    more sound that falls alike -------^
                                     model's own threshold --blend--> threshold in a place
```
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kwspot.intervals import poisson_tail
from kwspot.modelfile import OperatingPoint

BLOCK = 2.0  # seconds; false alarms closer than this are one
HIGHEST_PEAKS = 10  # peaks that a threshold is calibrated on; further down the tail is another
REFUTED = 0.05  # a rate is refuted by as many peaks as it gives in fewer than this share of streams

Peaks = npt.NDArray[np.float64]  # (P,), the highest score of each BLOCK of a stream


@dataclass(frozen=True)
class Refit:
    """A threshold for one sensitivity in a place, beside the model's own.

    `share` is how much of it, 0 to 1, the place had to say; `refuted` that so many of its peaks
    reached what came of that, that the threshold was raised above them.
    """

    threshold: float
    own: OperatingPoint
    share: float
    refuted: bool


def block_peaks(scores: npt.NDArray[Any], outputs: int) -> npt.NDArray[Any]:
    """Return the highest score of each `outputs` of a stream: (U,) -> (P,)."""
    padded = np.pad(scores, (0, -len(scores) % outputs))
    peaks: npt.NDArray[Any] = padded.reshape(-1, outputs).max(axis=1)
    return peaks


def threshold_at(per_hour: float, peaks: Peaks, alike: Peaks | None = None) -> float:
    """Return the threshold that gives `per_hour` false alarms an hour in sound with such `peaks`.

    The number of peaks above a threshold falls about exponentially with its logit, which reaches
    rates that a stream is too short to count. How fast it falls is told best, with the greatest
    likelihood (Hill 1975), by how far the highest peaks lie above the lowest of them on the mean.
    A line through their logarithmic ranks hangs on the very highest, which chance moves most: for
    0.5 an hour from 1.9 h it gives 0.6 times what is wanted on the median, and in half of all
    streams between 0.3 and 1.2 times, this 1.0 and between 0.6 and 1.7 times. `peaks` (P,) are
    those of every BLOCK of the stream.

    `alike` (Q,) are peaks of more sound, `peaks` among them, such as the same clips in noise and
    rooms: there may be more of them an hour, but beyond the highest of `peaks` they are taken to
    fall alike. So fewer rates lie beyond what can be counted. Of four verified words, halves of
    whose validation clips chose the threshold for 0.1 an hour, its logit then moved by 0.3 to 0.7
    (one standard deviation) instead of 0.8 to 1.8.
    """
    wanted = per_hour * _hours(peaks)
    own = _highest(peaks)
    lowest = own[: max(HIGHEST_PEAKS, math.ceil(wanted))][-1]
    beyond = own if alike is None else _highest(alike)
    beyond = beyond[beyond >= lowest]
    wanted *= len(beyond) / np.count_nonzero(own >= lowest)
    highest = beyond[: max(HIGHEST_PEAKS, math.ceil(wanted))]
    above = highest[:-1] - highest[-1]
    if not len(above) or above[0] < 1e-6:  # nothing tells these peaks apart
        return _sigmoid(float(highest[0]))
    return _sigmoid(float(highest[-1]) + float(above.mean()) * math.log(len(highest) / wanted))


def refit(own: Mapping[str, OperatingPoint], peaks: Peaks) -> dict[str, Refit]:
    """Fit a model's `own` operating points to a place, from the peaks of its sound.

    A rate of r an hour is seen once in 1 / r hours. A background of that length or longer decides
    alone, by the tail of its highest peaks. Of a shorter one, of H hours, the tail counts
    H * r and the model's own threshold the rest, both as logits. However short it is, a threshold
    is raised above peaks that refute it: so many that a place with this rate has them in fewer
    than one of twenty such backgrounds. The lowest rate comes first. Verified scores are 0 where a
    model hears nothing like its word: with fewer peaks than a tail needs, thresholds stay.

    In worsened validation streams of alexa, thresholds for 0.5 an hour that ten minutes alone chose
    (by a line through their peaks) heard 45 % of the validation keywords instead of 78; with shares
    75, with a sixth fewer false alarms than the model's own.
    """
    found: dict[str, Refit] = {}
    least = 0.0
    # From the highest rate down: a lower rate never has a lower threshold.
    told = np.count_nonzero(peaks) >= HIGHEST_PEAKS
    for name, point in sorted(own.items(), key=lambda item: -item[1].false_alarms_per_hour):
        expected = point.false_alarms_per_hour * _hours(peaks)
        share = min(1.0, expected) if told else 0.0
        tail = threshold_at(point.false_alarms_per_hour, peaks)
        logits = _logit(np.array([tail, point.threshold]))
        mean = _sigmoid(float(np.dot([share, 1 - share], logits)))
        floor = _unrefuted(expected, peaks)
        # Rounded up: a hair lower and there would be more false alarms than promised.
        least = max(least, min(1.0, math.ceil(max(mean, floor) * 1e4) / 1e4))
        found[name] = Refit(least, point, share, floor > mean)
    return dict(reversed(found.items()))


def _unrefuted(expected: float, peaks: Peaks) -> float:
    """Return the lowest threshold that has not too many peaks above it for `expected` ones."""
    ranked = np.sort(peaks)[::-1]
    allowed = 0
    while poisson_tail(allowed + 1, expected) >= REFUTED:
        allowed += 1
    return float(np.nextafter(ranked[allowed], 2)) if allowed < len(ranked) else 0.0


def _hours(peaks: Peaks) -> float:
    return len(peaks) * BLOCK / 3600


def _highest(peaks: Peaks) -> Peaks:
    """Return peaks as logits, the highest first."""
    return _logit(np.sort(peaks.astype(np.float64))[::-1])


def _logit(scores: Peaks) -> Peaks:
    bounded = np.clip(scores, 1e-6, 1 - 1e-6)
    logits: Peaks = np.log(bounded / (1 - bounded))
    return logits


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))
