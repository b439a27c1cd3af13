"""How much the training of a phrase does, what that takes, and what it took."""

import os
import resource
from dataclasses import dataclass

# CPU seconds, measured on one core of a virtual Intel Xeon at 2.8 GHz.
STEP = 1.0  # of a step of 128 windows, composing them included
MINING = 60.0  # of an hour of other speech, each time hard negatives are looked for
SCORING = 12.0  # of an hour of validation streams, each time
DECODING = 8.0  # of an hour of recordings, once for all phrases
STARTING = 60.0  # of drawing babble, of composing validation streams, of exporting
MINED, SCORED = 2, 10  # times a seed


@dataclass(frozen=True)
class Effort:
    """`clips` of the phrase, `each` of every neighbour, three times as many of its parts."""

    clips: int
    neighbours: int
    each: int
    steps: int
    seeds: int


DEFAULT = Effort(clips=900, neighbours=60, each=5, steps=1000, seeds=2)
QUICK = Effort(clips=250, neighbours=30, each=3, steps=300, seeds=1)


def estimate(
    effort: Effort, clips: int, clip_seconds: float, hours: float, held_out: float, workers: int
) -> float:
    """Return the minutes that a run takes on this machine, if nothing else runs.

    `clips` are still to be said, `clip_seconds` CPU time each; `hours` are those of the data, and
    `held_out` those of them that validate.
    """
    cores = max(1, min(workers, len(os.sched_getaffinity(0))))
    validated = 4 * held_out  # once as recorded, three times worsened
    seed = effort.steps * STEP + MINED * MINING * hours + SCORED * SCORING * validated
    cpu = clips * clip_seconds + effort.seeds * seed + DECODING * hours + STARTING
    return cpu / cores / 60


def peak_memory(workers: int) -> float:
    """Return the most memory that this process and its children held at once at most, in GB."""
    own, child = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return (own + workers * child) * 1024 / 1e9  # as if all children were the largest one
