"""How sure a measured number is: confidence intervals of 95 % for shares and for counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

TAIL = 0.025  # left out on either side: 95 % are within
NORMAL_TAIL = 1.959964  # what a standard normal variable exceeds with probability TAIL
DRAWS = 1000  # bootstrap samples; the ends then vary by a twentieth of the interval's width


@dataclass(frozen=True)
class Interval:
    """A confidence interval of 95 %."""

    low: float
    high: float


def wilson(hits: int, trials: int) -> Interval:
    """Return the interval of a share, trials being independent (Wilson 1927)."""
    share, spread = hits / trials, NORMAL_TAIL**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def by_speaker(hits: Sequence[bool], speakers: Sequence[str], rng: Generator) -> Interval | None:
    """Return the percentile bootstrap interval of a share, drawing whole speakers (Efron 1979).

    None where nothing is known of how people differ: a speaker is unknown ("") or the only one, or
    all trials went alike.
    """
    names, voice = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    if len(names) < 2 or "" in names or len(set(hits)) < 2:
        return None
    trials = np.bincount(voice)
    heard = np.bincount(voice, weights=np.asarray(hits, np.float64))
    drawn = rng.integers(len(names), size=(DRAWS, len(names)))
    shares = heard[drawn].sum(axis=1) / trials[drawn].sum(axis=1)
    return Interval(float(np.quantile(shares, TAIL)), float(np.quantile(shares, 1 - TAIL)))


def garwood(events: int) -> Interval:
    """Return the exact interval of the mean of a Poisson count (Garwood 1936)."""
    low = _poisson_mean(events - 1, 1 - TAIL) if events else 0.0
    return Interval(low, _poisson_mean(events, TAIL))


def poisson_tail(count: int, mean: float) -> float:
    """Return how likely a Poisson variable of this mean is at least `count`."""
    return 1 - _poisson_cdf(count - 1, mean) if count else 1.0


def _poisson_mean(count: int, share: float) -> float:
    """Find the mean at which a Poisson variable is at most `count` with probability `share`."""
    low, high = 0.0, 10.0 + 2.0 * count + 10.0 * math.sqrt(count + 1.0)
    for _ in range(60):  # halvings exhaust a double
        middle = (low + high) / 2
        if _poisson_cdf(count, middle) > share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _poisson_cdf(count: int, mean: float) -> float:
    log_mean = math.log(mean)
    return math.fsum(math.exp(k * log_mean - mean - math.lgamma(k + 1)) for k in range(count + 1))
