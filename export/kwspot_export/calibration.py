"""Scores as probabilities: Platt scaling on validation peaks, folded into the last layer.

```
peaks of keywords and of other sound -> slope, offset -> head: weight * slope, bias * slope + offset
```

The map of Platt (1999), a temperature (Guo et al. 2017, arXiv 1706.04599) and an offset, is affine
in the logit, so a folded net costs what it did before and puts its outputs in the same order. A
score then means: of 2 s stretches that peak here, this share holds the keyword, if one in ten of
all stretches did (PRIOR). In a stream where keywords are rarer, so is being right: thresholds, not
probabilities, promise false alarms an hour.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from kwspot_export.student import FrameNet
from kwspot_export.validation import Score

log = logging.getLogger(__name__)

# Share of stretches that hold the keyword. No stream has it; at a half, thresholds would crowd
# just below 1, where an 8-bit score has few values left.
PRIOR = 0.1
LEAST_SLOPE = 0.1  # a flatter map says that scores tell next to nothing
ROUNDS = 2  # the first fit takes a peak for one output's; the second mends what averaging bends


@dataclass(frozen=True)
class Platt:
    """A map from logit to logit, `slope` times it plus `offset`; the slope is above 0."""

    slope: float = 1.0
    offset: float = 0.0

    def after(self, first: "Platt") -> "Platt":
        """Return the map that does `first`, then this one."""
        return Platt(self.slope * first.slope, self.slope * first.offset + self.offset)


@dataclass(frozen=True)
class Calibrated:
    """A net whose scores are probabilities, the map that made it, and how it does."""

    net: FrameNet
    platt: Platt
    score: Score


def calibrated(net: FrameNet, score: Callable[[FrameNet], Score]) -> Calibrated:
    """Fit a net of one keyword to what `score` finds in validation streams; `net` stays as it is.

    Trials and streams count as they are worsened, all together. Where the fit would turn scores
    round, or nearly flatten them, the net is returned with the scores it had, and the log says so.
    """
    found = Calibrated(net, Platt(), score(net))
    for _ in range(ROUNDS):
        fit = fit_platt(found.score.hits, found.score.alarms)
        if fit.slope < LEAST_SLOPE:
            log.warning(
                "scores are not calibrated: those of the keyword are hardly above those of other "
                "sound in the validation streams"
            )
            break
        platt = fit.after(found.platt)
        fitted = folded(net, [platt])
        found = Calibrated(fitted, platt, score(fitted))
    return found


def fit_platt(hits: npt.NDArray[np.floating], alarms: npt.NDArray[np.floating]) -> Platt:
    """Fit probabilities to peaks: scores (P,) of the keyword and (N,) of other sound.

    Least cross-entropy, both kinds weighing as PRIOR says however many there are. Targets are
    Platt's, (n + 1) / (n + 2) instead of 1, so that few peaks that are far apart do not make a
    step of the map. The slope may come out as anything.
    """
    logits = [
        torch.logit(torch.as_tensor(scores, dtype=torch.float64), eps=1e-6).numpy()[:, None]
        for scores in (hits, alarms)
    ]
    (slope,), offset = fit_logistic(logits[0], logits[1], len(alarms))
    return Platt(slope, offset)


def fit_logistic(
    positives: npt.NDArray[np.floating], negatives: npt.NDArray[np.floating], stretches: int
) -> tuple[list[float], float]:
    """Fit the logit of a probability to features (P, F) and (N, F); return F slopes, an offset.

    `negatives` are those of so many `stretches` of other sound that can be mistaken at all.
    """
    features = torch.as_tensor(np.concatenate([positives, negatives]), dtype=torch.float64)
    yes, no = len(positives), len(negatives)
    targets = torch.tensor([(yes + 1) / (yes + 2)] * yes + [1 / (no + 2)] * no, dtype=torch.float64)
    weights = torch.tensor(
        [PRIOR / yes] * yes + [(1 - PRIOR) / stretches] * no, dtype=torch.float64
    )
    start = [1.0 / features.shape[1]] * features.shape[1] + [0.0]
    fitted = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([fitted], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(
            features @ fitted[:-1] + fitted[-1], targets, weights, reduction="sum"
        )
        value.backward()
        return value

    optimizer.step(loss)
    *slopes, offset = fitted.tolist()
    return slopes, offset


def folded(net: FrameNet, platts: Sequence[Platt]) -> FrameNet:
    """Return a copy of a net whose logits are mapped, by one map for each keyword."""
    mapped = copy.deepcopy(net)
    head = mapped.head
    slopes = head.weight.new_tensor([platt.slope for platt in platts])
    offsets = head.bias.new_tensor([platt.offset for platt in platts])
    with torch.no_grad():
        head.weight.mul_(slopes[:, None, None])
        head.bias.mul_(slopes).add_(offsets)
    return mapped
