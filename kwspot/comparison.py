"""Two benchmark reports side by side: what changed, and what is noise.

A figure has changed where the ranges of both reports do not touch. Runs of one and the same thing
do so by chance too, with n and m runs in 2 of (n + m choose n) cases: 5 and 5 runs in 0.8 %.
"""

import math
from dataclasses import dataclass

from kwspot.bench import Report, Result, Spread
from kwspot.errors import KwspotError

MAX_CHANCE = 0.05  # above it, there were too few runs to tell


@dataclass(frozen=True)
class Change:
    """One figure of one case in two reports; `verdict` is one of VERDICTS."""

    case: str
    figure: str
    before: Spread
    after: Spread
    verdict: str

    @property
    def percent(self) -> float:
        """By how much the median grew, in percent; infinite where it was 0."""
        if self.before.median == 0:
            return 0.0 if self.after.median == 0 else math.inf
        return 100 * (self.after.median / self.before.median - 1)


VERDICTS = ("less", "more", "noise", "too few runs")


def compare(before: Report, after: Report) -> tuple[Change, ...]:
    """Compare the cases that both reports have, in the order of the second.

    Raises KwspotError where they have none in common.
    """
    known = {case(result): result for result in before.results}
    pairs = [(known[case(r)], r) for r in after.results if case(r) in known]
    if not pairs:
        raise KwspotError(
            "the reports have no case in common: compare runs of the same models, gates and audio"
        )
    return tuple(
        Change(case(new), figure, old.summary[figure], spread, _verdict(figure, old, new))
        for old, new in pairs
        for figure, spread in new.summary.items()
        if figure in old.summary
    )


def case(result: Result) -> str:
    """Say in a few words what was measured."""
    return (
        f"{result.name}, {result.audio}, gate {result.vad}, {result.chunk_ms:g} ms, "
        f"threads {result.threads}"
    )


def _verdict(figure: str, before: Result, after: Result) -> str:
    if 2 / math.comb(len(before.runs) + len(after.runs), len(after.runs)) > MAX_CHANCE:
        return "too few runs"
    old, new = before.summary[figure], after.summary[figure]
    if new.highest < old.lowest:
        return "less"
    return "more" if new.lowest > old.highest else "noise"
