"""What running under emulation gave, and the page that says it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from estimate import BOARDS, FAST, SLOW, Board, share

from kwspot.errors import KwspotError
from kwspot.records import read_record

# Largest difference of a score. Sums in another order move a float model's by some 1e-7; a
# quantised one's posterior may move by a level or a few, of 1/256, where a sum lies between two.
TOLERANCE, TOLERANCE_INT8 = 1e-5, 0.02


@dataclass(frozen=True)
class Heard:
    """What hear.py prints: detections without and with the gate, and all scores without it.

    A detection is a text of keyword, start and end, exact to the bit.
    """

    without_gate: tuple[str, ...]
    with_gate: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """One model on one core against this machine.

    `detections` and `gated` count what was detected here without and with the gate; `difference` is
    the largest between two of the `scores`. `refused` says why there is nothing to compare.
    """

    model: str
    core: str
    detections: int = 0
    gated: int = 0
    same_detections: bool = False
    scores: int = 0
    difference: float = 0.0
    tolerance: float = 0.0
    refused: str | None = None

    @property
    def good(self) -> bool:
        """Tell whether nothing differs that must not."""
        close = self.difference <= self.tolerance
        return self.refused is not None or (self.same_detections and close)


@dataclass(frozen=True)
class Count:
    """Instructions a second of audio, by the part of the process that they belong to."""

    model: str
    core: str
    heard: str
    parts: dict[str, float]

    @property
    def instructions(self) -> float:
        """All of them, a second of audio."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Report:
    """What was run, where, and what came out.

    `seconds` are of the recording; `self_tests` counts those passed, all of them, by core.
    """

    host: str
    kwspot: str
    date: str
    emulator: str
    debian: str
    packages: dict[str, str]
    recording: str
    seconds: float
    quiet_seconds: float
    comparisons: tuple[Comparison, ...]
    counts: tuple[Count, ...]
    self_tests: dict[str, int]

    @property
    def good(self) -> bool:
        """Tell whether at least one model was compared, and none differs."""
        compared = any(comparison.refused is None for comparison in self.comparisons)
        return compared and all(comparison.good for comparison in self.comparisons)


def read_heard(text: str, where: str) -> Heard:
    """Read what hear.py printed `where`; raise KwspotError for anything else."""
    return read_record(Heard, _json(text, where), where, KwspotError)


def read_report(text: str, where: str) -> Report:
    """Read a report; raise KwspotError for anything else."""
    return read_record(Report, _json(text, where), where, KwspotError)


def compare(model: str, core: str, here: Heard, there: Heard) -> Comparison:
    """Hold what was heard there against what was heard here."""
    same = (here.without_gate, here.with_gate) == (there.without_gate, there.with_gate)
    as_many = len(here.scores) == len(there.scores) > 0
    differences = (abs(a - b) for a, b in zip(here.scores, there.scores, strict=False))
    return Comparison(
        model=model,
        core=core,
        detections=len(here.without_gate),
        gated=len(here.with_gate),
        same_detections=same and as_many,
        scores=len(there.scores),
        difference=max(differences, default=0.0),
        tolerance=TOLERANCE_INT8 if "int8" in model else TOLERANCE,
    )


def render(report: Report) -> str:
    """Write the page: what is the same, instructions, estimates, and how they were made."""
    lines = ["# kwspot on 64-bit ARM, emulated", "", *_comparisons(report)]
    if report.counts:
        lines += ["", "Million instructions a second of audio, one thread:", "", *_counts(report)]
        lines += ["", "**Estimated, not measured**: share of one core of the board, in %:", ""]
        lines += _estimates(report)
    command = "Made by `python benchmarks/boards/run.py --count --output FILE.json`."
    return "\n".join([*lines, "", *(f"* {note}" for note in _notes(report)), "", command]) + "\n"


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise KwspotError(f"{where} is not JSON ({error})") from error


def _comparisons(report: Report) -> list[str]:
    head = ["model", "core", "detections, gate off / webrtc", "the same", "scores"]
    rows = []
    for c in report.comparisons:
        if c.refused is not None:
            rows.append([c.model, "", f"not compared: {c.refused}", "", "", "", ""])
            continue
        same = "yes" if c.same_detections else "**no**"
        difference = f"{c.difference:.1e}" if c.difference <= c.tolerance else f"**{c.difference}**"
        counts = f"{c.detections} / {c.gated}"
        rows.append([c.model, c.core, counts, same, str(c.scores), difference, f"{c.tolerance:g}"])
    return _table([*head, "largest difference", "allowed"], rows)


def _counts(report: Report) -> list[str]:
    parts = sorted({part for count in report.counts for part in count.parts})
    rows = [
        [count.model, count.core, count.heard]
        + [f"{n / 1e6:.2f}" for n in (count.instructions, *(count.parts.get(p, 0) for p in parts))]
        for count in report.counts
    ]
    return _table(["model", "core", "audio", "all", *parts], rows)


def _estimates(report: Report) -> list[str]:
    counts = {(count.model, count.core, count.heard): count for count in report.counts}
    models = dict.fromkeys(count.model for count in report.counts)
    audio = dict.fromkeys(count.heard for count in report.counts)
    rows = [
        [board.name, model, *(_share(board, counts[model, board.core, heard]) for heard in audio)]
        for model in models
        for board in BOARDS
    ]
    return _table(["board", "model", *audio], rows)


def _share(board: Board, count: Count) -> str:
    estimate = share(board, count.instructions)
    return f"{100 * estimate.best:.2f} to {100 * estimate.worst:.2f}"


def _notes(report: Report) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in report.packages.items())
    notes = [
        f"kwspot {report.kwspot}, {packages}, here and there; {report.date}",
        f"there: Debian {report.debian}, {report.emulator}; here: {report.host}",
        f"{report.seconds:.1f} s of {report.recording}; scores compared with the gate off",
    ]
    notes += [
        f"self-tests passed on {core}: {count}, of all installed models, the voice net and the "
        "verifiers' net"
        for core, count in report.self_tests.items()
    ]
    if report.counts:
        boards = ", ".join(f"{b.name} {b.clock_hz / 1e9:g} GHz" for b in BOARDS)
        notes += [
            "instructions: counted by a plugin of the emulator while the process hears the audio a "
            "second time, so that start and loading are not in it; without the kernel's; "
            f"quiet is {report.quiet_seconds:g} s of noise at -70 dBFS",
            "estimate: instructions / (clock x instructions a cycle). Clocks as sold: "
            f"{boards}. Instructions a cycle: {FAST:g} to {SLOW:g} of what the core decodes at "
            "best (Cortex-A53 2, Cortex-A72 3, Cortex-A76 4), a wide range that is assumed, not "
            "measured. The microphone's driver and other processes are not in it",
        ]
    return notes


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
