"""How much the training of a phrase does, what that takes, and what it took."""

import os
import resource
from dataclasses import dataclass

# CPU seconds, measured on one core of a virtual Intel Xeon at 2.8 GHz.
STEP = 0.5  # of a step of 64 windows, composing them included
MINING = 12.0  # of an hour of other speech, each time hard negatives are looked for
SCORING = 2.0  # of an hour of validation streams, each time
COMPOSING = 11.0  # of an hour of validation streams, once
DECODING = 6.0  # of an hour of recordings, once for all phrases
STARTING = 20.0  # of each seed, mostly babble
ENDING = 60.0  # of exporting, of the report
SCORED = 6  # times a seed
HEARING = 0.033  # of a window, by the verifier's net
FOOLING = 14.0  # of an hour of other speech, each time a verifier's negatives are looked for
VERIFYING = 22.0  # of an hour of validation streams, composing them included
LEARNING = 0.05  # of a step of a verifier's head


@dataclass(frozen=True)
class Verifying:
    """`composed` windows and `mined` ones at most, from `passes` over the sound; `steps` of 64."""

    composed: int = 5000
    mined: int = 5000
    passes: int = 2
    steps: int = 1200


@dataclass(frozen=True)
class Effort:
    """`clips` of the phrase, `each` of every neighbour, three times as many of its parts.

    Hard negatives are looked for `minings` times a seed; validation sound is heard as recorded and
    `worsened` times worsened.
    """

    clips: int
    neighbours: int
    each: int
    steps: int
    seeds: int
    minings: int
    worsened: int = 3
    verifying: Verifying = Verifying()

    @property
    def training(self) -> str:
        """Say how long is trained: «1 seed of 4000 steps»."""
        return f"{self.seeds} seed{'s' * (self.seeds > 1)} of {self.steps} steps"


DEFAULT = Effort(clips=600, neighbours=60, each=4, steps=4000, seeds=1, minings=2)
QUICK = Effort(150, 20, 3, 450, 1, minings=1, worsened=1, verifying=Verifying(1600, 800, 1, 300))


def estimate(
    effort: Effort, clips: int, clip_seconds: float, hours: float, held_out: float, workers: int
) -> float:
    """Return the minutes that a run takes on this machine, if nothing else runs.

    `clips` are still to be said, `clip_seconds` CPU time each; `hours` of the data are trained on
    and `held_out` validate. All is shared out over the cores, but for a student's scores, a
    verifier's steps and the export.
    """
    cores = max(1, min(workers, len(os.sched_getaffinity(0))))
    validated = (1 + effort.worsened) * held_out
    verifying = effort.verifying
    shared = clips * clip_seconds + effort.seeds * effort.steps * STEP
    shared += DECODING * (hours + held_out) + COMPOSING * validated
    shared += verifying.passes * FOOLING * hours + VERIFYING * validated
    shared += (verifying.composed + verifying.mined) * HEARING
    seed = STARTING + effort.minings * MINING * hours + SCORED * SCORING * validated
    once = effort.seeds * seed + verifying.steps * LEARNING + ENDING
    return (shared / cores + once) / 60


def peak_memory(workers: int) -> float:
    """Return the most memory that this process and its children held at once at most, in GB."""
    own, child = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return (own + workers * child) * 1024 / 1e9  # as if all children were the largest one
