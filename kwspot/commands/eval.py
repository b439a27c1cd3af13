"""Measure a model on the recordings of manifests: recall, false alarms an hour, latency."""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import importlib.resources
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import kwspot
from kwspot import evaluation, streams, thresholds
from kwspot.commands.listen import add_detector_arguments
from kwspot.errors import KwspotError
from kwspot.evaluation import Evaluation, Options, Recall, evaluate
from kwspot.intervals import Interval
from kwspot.manifest import ROLES, read_manifests
from kwspot.model import load_model

HELP = "measure recall and false alarms on recordings"
CONDITIONS = ("clean", "babble:10", "babble:5")
LISTED = 20  # false alarms that are printed; --output has all
MATCHED = "matched false alarms, chosen on this very stream: for comparing engines only"

Table = list[list[str]]  # the first row is the heading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot eval`."""
    add = parser.add_argument
    add("--model", required=True, help="model file, or name of an installed model")
    add("--manifest", nargs="+", required=True, metavar="CSV", help="lists of recordings")
    add("--role", choices=ROLES, default="test", help="whose clips (default: %(default)s)")
    add("--keyword", metavar="LABEL", help="(default: the model's first)")
    add(
        "--condition",
        action="append",
        metavar="clean|babble:SNR|noise:SNR",
        help=f"what is added to the keywords, SNR in dB; repeat it (default: {' '.join(CONDITIONS)})",
    )
    add("--seed", type=_seed, default=0, help="of silence, babble and bootstrap (default: 0)")
    add("--output", type=Path, metavar="FILE.json", help="write all results and their origin")
    add("--markdown", type=Path, metavar="FILE.md", help="write the tables for a model card")
    add_detector_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables and write the files that are asked for."""
    options = Options(
        role=args.role,
        keyword=args.keyword,
        conditions=tuple(map(streams.parse_condition, args.condition or CONDITIONS)),
        threshold=args.threshold,
        sensitivity=args.sensitivity,
        vad=args.vad,
        refractory=args.refractory,
        seed=args.seed,
    )
    for path in (args.output, args.markdown):
        if path is not None and not path.parent.is_dir():
            raise KwspotError(f"cannot write {path}: there is no folder {path.parent}")
    model = load_model(args.model)
    clips = read_manifests(args.manifest)
    try:
        result = evaluate(model, clips, options, _progress)
    finally:
        _progress("", 0, 0)
    origin = _origin(args.model, model.info.name)
    print(text_report(result, options, origin))
    if args.output is not None:
        _write(args.output, json_report(result, options, origin, args.manifest))
    if args.markdown is not None:
        _write(args.markdown, markdown_report(result, options, origin))
    return 0


@dataclasses.dataclass(frozen=True)
class Origin:
    """What made a result: the model file, kwspot, and the machine."""

    model: str
    model_sha256: str
    kwspot: str
    commit: str | None
    machine: str
    system: str
    python: str
    onnxruntime: str
    numpy: str


def text_report(result: Evaluation, options: Options, origin: Origin) -> str:
    """Write the results for a terminal."""
    alarms = result.false_alarms
    parts = [
        _settings(result, options, origin),
        _aligned(_recall_table(result)),
        _false_alarm_line(result),
    ]
    if alarms.events:
        rows = [["at", "score", "text", "clip"]]
        for event in alarms.events[:LISTED]:
            rows.append(
                [_clock(event.time), f"{event.score:.3f}", event.text[:40] or "?", event.clip]
            )
        more = len(alarms.events) - LISTED
        parts.append(
            _aligned(rows, left=2) + (f"\n... and {more} more: see --output" if more > 0 else "")
        )
        parts.append("what fired: " + _fired(result))
    parts.append(f"{MATCHED} (recall in %, no gate)\n" + _aligned(_matched_table(result)))
    return "\n\n".join(parts)


def markdown_report(result: Evaluation, options: Options, origin: Origin) -> str:
    """Write the results for a README or a model card."""
    parts = [_settings(result, options, origin), _piped(_recall_table(result))]
    parts.append(_false_alarm_line(result))
    if result.false_alarms.events:
        parts.append("What fired: " + _fired(result) + ".")
    parts.append(f"{MATCHED[0].upper()}{MATCHED[1:]} (recall in %, no gate):")
    parts.append(_piped(_matched_table(result)))
    parts.append(_protocol())
    return "\n\n".join(parts) + "\n"


def json_report(
    result: Evaluation, options: Options, origin: Origin, manifests: list[str]
) -> str:
    """Write all that is known of a result, as JSON."""
    settings: dict[str, Any] = dataclasses.asdict(options)
    settings["conditions"] = [str(condition) for condition in options.conditions]
    protocol = {
        "silence_before_s": streams.BEFORE,
        "silence_after_s": streams.AFTER,
        "silence_between_negatives_s": streams.GAP,
        "silence_dbfs": streams.SILENCE_DB,
        "babble_talkers": streams.TALKERS,
        "hit_until_after_word_s": evaluation.GRACE,
        "false_alarm_event_s": thresholds.EVENT,
    }
    report = {
        "origin": dataclasses.asdict(origin),
        "settings": settings | {"manifests": manifests},
        "protocol": protocol,
        "result": dataclasses.asdict(result),
    }
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _settings(result: Evaluation, options: Options, origin: Origin) -> str:
    return (
        f"{result.keyword} by {origin.model} (sha256 {origin.model_sha256[:12]}), "
        f"threshold {result.threshold:.3f}, gate {options.vad}, role {options.role}, "
        f"seed {options.seed}, kwspot {origin.kwspot}"
    )


def _protocol() -> str:
    return (
        f"One continuous stream, no reset: {streams.BEFORE:g} s before and {streams.AFTER:g} s "
        f"after each keyword of white noise at {streams.SILENCE_DB:g} dBFS, {streams.GAP:g} s "
        f"between other clips. A hit is a detection from the word's start to "
        f"{evaluation.GRACE:g} s after its end; latency counts from its end. babble:SNR adds "
        f"{streams.TALKERS} talkers at that SNR in dB. False alarms less than "
        f"{thresholds.EVENT:g} s apart are one. Intervals are 95 %: Wilson over clips, bootstrap "
        "over speakers, exact Poisson."
    )


def _recall_table(result: Evaluation) -> Table:
    heading = ["condition", "clips", "speakers", "recall %", "95 % by clip", "95 % by speaker"]
    rows = [[*heading, "latency median, ms", "p90", "repeats", "false alarms"]]
    return rows + [_recall_row(recall) for recall in result.recalls]


def _recall_row(recall: Recall) -> list[str]:
    return [
        recall.condition,
        str(recall.clips),
        str(recall.speakers or "?"),
        f"{100 * recall.recall:.1f}",
        _percent(recall.interval),
        _percent(recall.speaker_interval),
        _whole(recall.latency_median_ms),
        _whole(recall.latency_p90_ms),
        str(recall.repeats),
        str(len(recall.false_alarms)),
    ]


def _matched_table(result: Evaluation) -> Table:
    heading = ["at most, an hour", "found", "threshold"]
    rows = [heading + [recall.condition for recall in result.recalls]]
    for matched in result.matched:
        threshold = "none" if matched.threshold is None else f"{matched.threshold:.3f}"
        recalls = [
            f"{100 * hits / recall.clips:.1f}"
            for hits, recall in zip(matched.hits, result.recalls, strict=True)
        ]
        rows.append([f"{matched.per_hour:g}", str(matched.false_alarms), threshold, *recalls])
    return rows


def _false_alarm_line(result: Evaluation) -> str:
    alarms = result.false_alarms
    noun = "false alarm" if len(alarms.events) == 1 else "false alarms"
    return (
        f"{len(alarms.events)} {noun} in {alarms.hours:.2f} h of other sound ({alarms.clips} clips): "
        f"{alarms.per_hour:.2f} an hour, 95 % {alarms.interval.low:.2f} to {alarms.interval.high:.2f}"
    )


def _fired(result: Evaluation) -> str:
    fired = result.false_alarms.fired
    words = [f"{text[:40] or '(text unknown)'} {count}" for text, count in fired[:LISTED]]
    return ", ".join(words) + (", ..." if len(fired) > LISTED else "")


def _aligned(table: Table, left: int = 1) -> str:
    """Set a table in columns, numbers to the right; the first `left` and all texts to the left."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if number < 1 or left == 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _piped(table: Table) -> str:
    rule = ["---"] + ["---:"] * (len(table[0]) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [table[0], rule, *table[1:]])


def _percent(interval: Interval | None) -> str:
    return "?" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02d}:{rest:04.1f}"
