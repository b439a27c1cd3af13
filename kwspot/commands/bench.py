"""Measure what models cost on this machine: CPU, time a call, start and memory.

Every run is a fresh process, and models, gates, sounds and chunks take turns. Without options, a
model is heard with and without its gate through a minute at home, most of it silence.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from kwspot.bench import (
    Case,
    Report,
    Result,
    Spread,
    benchmark,
    dump_report,
    kwspot_engine,
    parse_report,
)
from kwspot.bench_plot import plot, require_matplotlib
from kwspot.commands.numbers import count, positive
from kwspot.commands.outputs import check_outputs
from kwspot.comparison import Change, compare
from kwspot.errors import KwspotError
from kwspot.gate import VOICES
from kwspot.scenes import SCENES

HELP = "measure CPU, latency, start-up and memory of models"

# Title and digits after the point of each figure, in the order of the table.
FIGURES = {
    "cpu_ms_per_s": ("CPU, ms per s of audio", 2),
    "rtf": ("real-time factor", 4),
    "p50_us": ("call p50, us", 0),
    "p99_us": ("call p99, us", 0),
    "start_ms": ("process start to first score, ms", 0),
    "cold_start_ms": ("the same from disk, ms", 0),
    "peak_rss_mib": ("peak RSS, MiB", 1),
}
PLOTTED = ("cpu_ms_per_s", "p99_us", "start_ms", "cold_start_ms", "peak_rss_mib")
GATES = ("off", "webrtc")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot bench`."""
    what = parser.add_argument_group("what is measured; each can be repeated, and all combine")
    what.add_argument(
        "--model", action="append", metavar="M", help="model file or name (default: alexa)"
    )
    what.add_argument(
        "--together", action="store_true", help="all models in one detector, as one case"
    )
    what.add_argument(
        "--vad", action="append", choices=VOICES, help=f"gate (default: {' and '.join(GATES)})"
    )
    what.add_argument(
        "--scene", action="append", choices=SCENES, help="synthetic sound (default: home)"
    )
    what.add_argument("--input", action="append", metavar="FILE", help="recording")
    what.add_argument(
        "--chunk",
        action="append",
        type=_chunk,
        metavar="MS",
        help="milliseconds of audio a call (default: a step of the model)",
    )
    what.add_argument(
        "--threads",
        action="append",
        type=count,
        metavar="N",
        help="threads that numpy may use; models always have one (default: 1)",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--seconds",
        type=positive,
        metavar="S",
        default=60.0,
        help="audio to hear a run, at most (default: 60)",
    )
    how.add_argument(
        "--runs", type=count, metavar="N", default=5, help="processes a case (default: 5)"
    )
    how.add_argument(
        "--cold",
        action="store_true",
        help="also start with files read from disk, as after power-up (Linux)",
    )
    results = parser.add_argument_group("results")
    results.add_argument("--json", action="store_true", help="print JSON instead of the table")
    results.add_argument("--output", metavar="FILE", type=Path, help="write the JSON to a file")
    results.add_argument(
        "--plot", metavar="FILE.png", type=Path, help="draw bars; needs matplotlib"
    )
    results.add_argument(
        "--compare",
        nargs=2,
        metavar=("A.json", "B.json"),
        type=Path,
        help="measure nothing: say what changed from one result to another, and what is noise",
    )


def run(args: argparse.Namespace) -> int:
    """Measure or compare, and print."""
    if args.compare:
        before, after = map(_read, args.compare)
        print("\n".join(_comparison(before, after)))
        return 0
    check_outputs(args.output, args.plot)
    if args.plot:
        require_matplotlib()  # now, not after minutes
    models = args.model or ["alexa"]
    cases = [
        Case(kwspot_engine(" + ".join(heard), heard, vad, chunk), audio, vad, threads)
        for audio, heard, chunk, threads, vad in itertools.product(
            [*(args.scene or ()), *(args.input or ())] or ["home"],
            [models] if args.together else [[model] for model in models],
            args.chunk or [None],
            args.threads or [1],
            args.vad or GATES,
        )
    ]
    report = benchmark(cases, seconds=args.seconds, runs=args.runs, cold=args.cold)
    text = dump_report(report)
    if args.output:
        try:
            args.output.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise KwspotError(f"cannot write {args.output}: {error.strerror}") from error
    print(text if args.json else "\n".join([*conditions(report), "", *_table(report)]))
    if args.plot:
        plot(report, {figure: FIGURES[figure][0] for figure in PLOTTED}, args.plot)
    return 0


def _chunk(text: str) -> float:
    milliseconds = positive(text)
    if milliseconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 up")
    return milliseconds


def conditions(report: Report) -> list[str]:
    """Say in a few lines what was measured, how and where."""
    machine, runs = report.machine, len(report.results[0].runs)
    kwspot = f"kwspot {machine.kwspot}" + (f" at {machine.commit}" if machine.commit else "")
    litert = f", LiteRT {machine.litert}" if machine.litert else ""
    heard = dict.fromkeys((r.audio, r.seconds) for r in report.results)
    sounds = [
        f"{audio}: {seconds:g} s of {SCENES.get(audio, 'a file')}" for audio, seconds in heard
    ]
    return [
        f"{machine.cpu}, {machine.cores} cores, {machine.system}",
        f"{kwspot}, Python {machine.python}, numpy {machine.numpy}, "
        f"onnxruntime {machine.onnxruntime}{litert}, {machine.date}",
        *sounds,
        "with the gate off every step is heard; one thread for everything where not said otherwise",
        f"median (range) of {runs} runs, each in a fresh process" if runs > 1 else "a single run",
    ]


def cells(result: Result, figures: Sequence[str]) -> list[str]:
    """Write figures of one case, as `median (lowest-highest)` if there are several runs."""
    return [
        _cell(result.summary.get(figure), FIGURES[figure][1], len(result.runs))
        for figure in figures
    ]


def _cell(spread: Spread | None, digits: int, runs: int) -> str:
    if spread is None:
        return "-"
    median, low, high = (f"{v:.{digits}f}" for v in (spread.median, spread.lowest, spread.highest))
    return median if runs == 1 else f"{median} ({low}-{high})"


def measured(report: Report) -> list[str]:
    """Return the figures that any case of a report has, in the order of the table."""
    return [f for f in FIGURES if any(f in result.summary for result in report.results)]


def _table(report: Report) -> list[str]:
    """Lay out a row a figure and a column a case."""
    figures = measured(report)
    titles = ["", "sound", "gate", "chunk, ms", "threads", *(FIGURES[f][0] for f in figures)]
    columns = [
        [r.name, r.audio, r.vad, f"{r.chunk_ms:g}", str(r.threads), *cells(r, figures)]
        for r in report.results
    ]
    return _aligned([titles, *columns])


def _comparison(before: Report, after: Report) -> list[str]:
    """Lay out what changed, a block a case."""
    lines = []
    for number, report in enumerate((before, after)):
        machine = report.machine
        lines.append(f"{'AB'[number]}: {machine.cpu}, kwspot {machine.commit}, {machine.date}")
    if before.machine.cpu != after.machine.cpu:
        lines.append("the machines differ: what changed need not be kwspot's doing")
    changes = [c for c in compare(before, after) if c.figure in FIGURES]
    for case, group in itertools.groupby(changes, key=lambda change: change.case):
        rows = [["", "A", "B", "B - A", ""], *map(_change_row, group)]
        lines += ["", case, *_aligned([list(column) for column in zip(*rows, strict=True)])]
    return [*lines, "", "noise: the ranges of all runs touch"]


def _change_row(change: Change) -> list[str]:
    title, digits = FIGURES[change.figure]
    before, after = (_cell(spread, digits, 2) for spread in (change.before, change.after))
    return [title, before, after, f"{change.percent:+.1f} %", change.verdict]


def _aligned(columns: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


def _read(path: Path) -> Report:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KwspotError(f"cannot read {path}: {error}") from error
    return parse_report(text, path.name)
