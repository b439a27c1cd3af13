"""From scores to error rates: equal error rate, recall at a share of false accepts, misses at a
rate of false alarms. All in percent.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kwspot.modelfile import FORMAT, Decision, ModelInfo, Provenance
from kwspot.thresholds import threshold_for

Scores = npt.NDArray[np.floating]  # (N,)

# Students put out two values for 8 frames. Armed again at once below the threshold: an untrained
# student's scores hardly vary, and with hysteresis it would fire once and never again.
_DETECTOR = ModelInfo(
    format=FORMAT,
    name="student",
    keywords=(),
    frames_per_step=8,
    outputs_per_step=2,
    receptive_field=1,
    states=(),
    provenance=Provenance("", "", "", {}),
    decision=Decision(smoothing=3, release=1.0, refractory=1.0),
)
SMOOTHING = _DETECTOR.decision.smoothing
OUTPUT_SAMPLES = _DETECTOR.output_samples


def equal_error_rate(targets: Scores, others: Scores) -> float:
    """Return where false rejects equal false accepts, in %, on the line between two thresholds.

    Scores at a threshold are accepted. Equal scores throughout give 50.
    """
    thresholds = np.unique(np.concatenate([targets, others]))
    misses = np.searchsorted(np.sort(targets), thresholds) / len(targets)
    accepts = 1 - np.searchsorted(np.sort(others), thresholds) / len(others)
    misses, accepts = np.append(misses, 1.0), np.append(accepts, 0.0)  # above all scores
    gap = misses - accepts  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return 100 * float(accepts[after - 1] + share * (accepts[after] - accepts[after - 1]))


def recall_at(positives: Scores, negatives: Scores, accepted: float) -> float:
    """Return the share of positives (%) above the lowest threshold that accepts few negatives.

    `accepted` is the share of negatives, in [0, 1), that may be above the threshold.
    """
    threshold = np.sort(negatives)[::-1][int(accepted * len(negatives))]
    return 100 * float(np.mean(positives > threshold))


def thresholds_at(rates: Sequence[float], scores: Scores, hours: float) -> list[float]:
    """Return the lowest thresholds with at most `rates` false alarms an hour in a stream.

    `scores` (U,) are smoothed posteriors, one for each 40 ms. A false alarm is a rise to the
    threshold, 1 s after the last one at least; those in 2 s are one event, as in `kwspot eval`.
    """
    exact = np.asarray(scores, np.float64)
    return [threshold_for(int(rate * hours), exact, _DETECTOR) for rate in rates]


def miss_rates(hits: Scores, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Return the share of positives (%) whose best score is below each threshold."""
    return tuple(100 * float(np.mean(hits < threshold)) for threshold in thresholds)
