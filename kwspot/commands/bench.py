"""Measure what models cost on this machine, each run in a fresh process on one core."""

import argparse
import math
from pathlib import Path

from kwspot.bench import Report, Result, benchmark, dump_report, kwspot_engine
from kwspot.errors import KwspotError
from kwspot.gate import VOICES

HELP = "measure CPU, latency, start-up and memory of models"

# Title and digits after the point of each figure, in the order of the table.
FIGURES = {
    "cpu_ms_per_s": ("CPU, ms per s of audio", 2),
    "rtf": ("real-time factor", 4),
    "p50_us": ("step p50, us", 0),
    "p99_us": ("step p99, us", 0),
    "start_ms": ("process start to first score, ms", 0),
    "peak_rss_mib": ("peak RSS, MiB", 1),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot bench`."""
    parser.add_argument(
        "--model", action="append", required=True, help="model file or name; several take turns"
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=60.0, help="audio to hear, at most (default: 60)"
    )
    parser.add_argument(
        "--vad", choices=VOICES, default="off", help="the gate (default: off, every step is heard)"
    )
    parser.add_argument("--runs", type=_count, default=5, help="processes a model (default: 5)")
    parser.add_argument(
        "--input", metavar="FILE", help="a recording (default: synthetic speech, half of it pauses)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the JSON to a file, too")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.output and not args.output.parent.is_dir():
        raise KwspotError(f"cannot write {args.output}: there is no folder {args.output.parent}")
    engines = [kwspot_engine(model, model, args.vad) for model in args.model]
    report = benchmark(
        engines, audio=args.input, seconds=args.seconds, vad=args.vad, runs=args.runs
    )
    text = dump_report(report)
    if args.output:
        try:
            args.output.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise KwspotError(f"cannot write {args.output}: {error.strerror}") from error
    print(text if args.json else "\n".join([*conditions(report), "", *_table(report)]))
    return 0


def conditions(report: Report) -> list[str]:
    """Say in a few lines what was measured, how and where."""
    machine, runs = report.machine, len(report.results[0].runs)
    gate = "off, so every step is heard" if report.vad == "off" else report.vad
    kwspot = f"kwspot {machine.kwspot}" + (f" at {machine.commit}" if machine.commit else "")
    return [
        f"{machine.cpu}, {machine.cores} cores, {machine.system}",
        f"{kwspot}, Python {machine.python}, numpy {machine.numpy}, "
        f"onnxruntime {machine.onnxruntime}, {machine.date}",
        f"{report.seconds:g} s of {report.audio}; gate {gate}",
        "one thread, also for numpy (OPENBLAS_NUM_THREADS=1), which then starts faster",
        f"median (range) of {runs} runs, each in a fresh process" if runs > 1 else "a single run",
    ]


def cells(result: Result) -> list[str]:
    """Write the figures of one engine, as `median (lowest-highest)` if there are several runs."""
    row = []
    for figure, (_, digits) in FIGURES.items():
        spread = result.summary.get(figure)
        if spread is None:
            row.append("-")
        elif len(result.runs) == 1:
            row.append(f"{spread.median:.{digits}f}")
        else:
            low, high = f"{spread.lowest:.{digits}f}", f"{spread.highest:.{digits}f}"
            row.append(f"{spread.median:.{digits}f} ({low}-{high})")
    return row


def _table(report: Report) -> list[str]:
    """Lay out a row a figure and a column a model."""
    titles = ["", "step, ms", *(title for title, _ in FIGURES.values())]
    columns = [[r.name, f"{r.runs[0].step_ms:.0f}", *cells(r)] for r in report.results]
    widths = [max(map(len, column)) for column in (titles, *columns)]
    rows = zip(titles, *columns, strict=True)
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)
