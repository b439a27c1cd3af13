"""Run kwspot as a 64-bit Raspberry Pi would, under emulation, and hold it against this machine.

```
python benchmarks/boards/run.py             same detections, same scores? exit status 1 if not
python benchmarks/boards/run.py --count     counts instructions as well, for an estimate of cost
python benchmarks/boards/run.py --render FILE.json    writes FILE.md again
```

Debian's Python for arm64, the aarch64 wheels and this checkout's kwspot are put into a folder
(`--cache`) and run by qemu; nothing else is changed. Needs qemu-user; counting needs gcc as well.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from arm64 import ROOT, SUITES, make_arm64
from emulator import CORES, HERE, ONE_THREAD, Core, Emulator
from estimate import BOARDS, FAST, SLOW, share
from repeat import QUIET, QUIET_SECONDS

from kwspot import AudioFile
from kwspot.bench import machine
from kwspot.errors import KwspotError
from kwspot.records import read_record

RECORDING = ROOT / "kwspot" / "demo.flac"
CACHE = ROOT / ".venv-boards"
# Largest difference of a score. Sums in another order move a float model's by some 1e-7; a
# quantised one moves by whole levels where a sum lies between two.
TOLERANCE, TOLERANCE_INT8 = 1e-5, 0.05
SAME = ("numpy", "onnxruntime")  # of the same version here and there
TWICE = 2  # how much more is heard in the longer of two runs, whose difference is counted
HEARD = {"speech, gate off": ("off", str(RECORDING)), "quiet, gate webrtc": ("webrtc", QUIET)}


@dataclass(frozen=True)
class Comparison:
    """One model on one core against this machine.

    `detections` and `gated` count what was detected here without and with the gate;
    `difference` is the largest between two scores. `refused` says why there is nothing to compare.
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
        return self.refused is not None or (
            self.same_detections and self.difference <= self.tolerance
        )


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
    """What was run, where, and what came out."""

    host: str
    kwspot: str
    date: str
    emulator: str
    debian: str
    packages: dict[str, str]
    recording: str
    seconds: float
    comparisons: tuple[Comparison, ...]
    counts: tuple[Count, ...]


def main() -> None:
    """Compare, count, render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for all that is made")
    parser.add_argument("--suite", choices=SUITES, default="bookworm", help="Debian release")
    parser.add_argument("--mirror", help="mirror of Debian (default: that of this machine's apt)")
    parser.add_argument("--count", action="store_true", help="count instructions as well")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="JSON; the page goes next (default: in CACHE)"
    )
    parser.add_argument("--render", type=Path, metavar="FILE", help="only write a page again")
    args = parser.parse_args()
    output = args.render or args.output or args.cache / "boards.json"
    try:
        if not args.render:
            report = examine(args.cache, args.suite, args.mirror, args.count)
            output.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
        values = json.loads(output.read_text(encoding="utf-8"))
        report = read_record(Report, values, output.name, KwspotError)
        page = render(report)
        output.with_suffix(".md").write_text(page, encoding="utf-8")
    except (KwspotError, OSError, ValueError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    print(page, end="")
    if not report.comparisons or not all(comparison.good for comparison in report.comparisons):
        sys.exit("not the same as on this machine: see the first table")


def examine(cache: Path, suite: str, mirror: str | None, count: bool) -> Report:
    """Make the arm64 folder, run every model in it on every core, and on this machine."""
    models = sorted(p.name for p in (ROOT / "models").iterdir() if p.suffix in (".onnx", ".tflite"))
    same = list(SAME)
    if any(name.endswith(".tflite") for name in models):
        same.append("ai-edge-litert")
    packages = {name: version for name in same if (version := _version(name))}
    pinned = [f"{name}=={version}" for name, version in packages.items()]
    arm64 = make_arm64(cache, suite, mirror, pinned)
    emulator = Emulator(arm64)
    comparisons: list[Comparison] = []
    counts: list[Count] = []
    seconds = sum(len(block) for block in AudioFile(RECORDING)) / 16_000
    for name in models:
        file = arm64.models / name
        try:
            here = _hear_here(name)
        except KwspotError as error:
            comparisons.append(Comparison(name, "", refused=str(error)))
            continue
        for core in CORES:
            arguments = (str(HERE / "hear.py"), str(file), str(RECORDING))
            there = json.loads(emulator.run(core, arguments))
            comparisons.append(compare(name, core.name, here, there))
            if count:
                counts += [_count(emulator, core, file, heard, seconds) for heard in HEARD]
    where = machine()
    return Report(
        host=f"{where.cpu}, {where.system}",
        kwspot=f"{where.kwspot} at {where.commit}",
        date=where.date,
        emulator=emulator.version,
        debian=f"{suite}, Python {SUITES[suite].python}",
        packages=packages,
        recording=RECORDING.name,
        seconds=seconds,
        comparisons=tuple(comparisons),
        counts=tuple(counts),
    )


def compare(model: str, core: str, here: dict[str, list], there: dict[str, list]) -> Comparison:  # type: ignore[type-arg]
    """Hold what hear.py printed there against what it printed here."""
    detections = ("without_gate", "with_gate")
    same = all(here[kind] == there[kind] for kind in detections)
    scores = list(zip(here["scores"], there["scores"], strict=False))
    return Comparison(
        model=model,
        core=core,
        detections=len(here["without_gate"]),
        gated=len(here["with_gate"]),
        same_detections=same and len(here["scores"]) == len(there["scores"]) > 0,
        scores=len(scores),
        difference=max((abs(a - b) for a, b in scores), default=0.0),
        tolerance=TOLERANCE_INT8 if "int8" in model else TOLERANCE,
    )


def render(report: Report) -> str:
    """Write the page: parity, instructions, estimates, and how they were made."""
    lines = ["# kwspot on 64-bit ARM, emulated", ""]
    lines += _table(
        ["model", "core", "detections, gate off / webrtc", "the same", "scores",
         "largest difference", "tolerance"],
        [_comparison_row(comparison) for comparison in report.comparisons],
    )  # fmt: skip
    if report.counts:
        parts = sorted({part for count in report.counts for part in count.parts})
        lines += ["", "Million instructions a second of audio, one thread:", ""]
        rows = [
            [c.model, c.core, c.heard, f"{c.instructions / 1e6:.2f}"]
            + [f"{c.parts.get(part, 0) / 1e6:.2f}" for part in parts]
            for c in report.counts
        ]
        lines += _table(["model", "core", "audio", "all", *parts], rows)
        lines += ["", "**Estimated, not measured**: share of one core of the board, in %:", ""]
        lines += _table(
            ["board", "model", *HEARD],
            [_estimate_row(report, board, model) for model in _counted(report) for board in BOARDS],
        )
    packages = ", ".join(f"{name} {version}" for name, version in report.packages.items())
    notes = [
        f"kwspot {report.kwspot}, {packages}, here and there; {report.date}",
        f"there: Debian {report.debian}, {report.emulator}; here: {report.host}",
        f"{report.seconds:.1f} s of {report.recording}; every score compared, gate off",
    ]
    if report.counts:
        notes += [
            "instructions: the difference of a run that hears the audio once and one that hears it "
            f"{1 + TWICE} times, so that start and loading cancel; user mode, without the kernel's; "
            f"quiet is {QUIET_SECONDS} s of noise at -70 dBFS",
            "estimate: instructions / (clock x instructions a cycle), with the clock as sold "
            f"({', '.join(f'{b.name} {b.clock_hz / 1e9:g} GHz' for b in BOARDS)}) and between "
            f"{FAST:g} and {SLOW:g} of the instructions that the core decodes a cycle at best "
            "(Cortex-A53 2, A72 3, A76 4). This range is assumed. Waiting for memory and the "
            "microphone's driver are not in it.",
        ]
    command = "Made by `python benchmarks/boards/run.py --count --output FILE.json`."
    return "\n".join([*lines, "", *(f"* {note}" for note in notes), "", command]) + "\n"


def _hear_here(model: str) -> dict[str, list]:  # type: ignore[type-arg]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = ONE_THREAD | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = (sys.executable, "-P", HERE / "hear.py", ROOT / "models" / model, RECORDING)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    if done.returncode == 2:
        raise KwspotError(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{model} ended with {done.returncode} here:\n{done.stderr}")
    heard: dict[str, list] = json.loads(done.stdout)  # type: ignore[type-arg]
    return heard


def _count(emulator: Emulator, core: Core, model: Path, heard: str, seconds: float) -> Count:
    vad, audio = HEARD[heard]
    once, more = (
        emulator.count(core, (str(HERE / "repeat.py"), str(model), vad, audio, str(times)))
        for times in (1, 1 + TWICE)
    )
    length = TWICE * (QUIET_SECONDS if audio == QUIET else seconds)
    parts = {part: (more[part] - once[part]) / length for part in more}
    return Count(model.name, core.name, heard, parts)


def _comparison_row(comparison: Comparison) -> list[str]:
    if comparison.refused is not None:
        return [comparison.model, f"not compared: {comparison.refused}", "", "", "", "", ""]
    return [
        comparison.model,
        comparison.core,
        f"{comparison.detections} / {comparison.gated}",
        "yes" if comparison.same_detections else "**no**",
        str(comparison.scores),
        f"{comparison.difference:.1e}" + ("" if comparison.good else " **too large**"),
        f"{comparison.tolerance:g}",
    ]


def _estimate_row(report: Report, board, model: str) -> list[str]:  # type: ignore[no-untyped-def]
    cells = []
    for heard in HEARD:
        (count,) = (
            c for c in report.counts if (c.model, c.core, c.heard) == (model, board.core, heard)
        )
        estimate = share(board, count.instructions)
        cells.append(f"{100 * estimate.best:.2g} to {100 * estimate.worst:.2g}")
    return [board.name, model, *cells]


def _counted(report: Report) -> list[str]:
    return list(dict.fromkeys(count.model for count in report.counts))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
