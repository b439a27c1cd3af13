"""The results of an evaluation as a text for people, as Markdown for model cards, and as JSON."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kwspot import evaluation, streams, thresholds
from kwspot.bench import Machine
from kwspot.evaluation import Evaluation, Options, Recall
from kwspot.intervals import Interval

LISTED = 20  # false alarms, highest first, and texts that are printed; JSON has all
MATCHED = "matched false alarms, chosen on this very stream: for comparing engines only"

Table = list[list[str]]  # the first row is the heading


@dataclass(frozen=True)
class Origin:
    """What made a result: the model's name and the hash of its file, and the machine."""

    model: str
    sha256: str
    machine: Machine


def text_report(result: Evaluation, options: Options, origin: Origin) -> str:
    """Write the results for a terminal."""
    parts = [
        _settings(result, options, origin),
        _aligned(_recall_table(result)),
        _false_alarm_line(result),
    ]
    events = sorted(result.false_alarms.events, key=lambda event: -event.score)
    if events:
        rows = [
            [_clock(event.time), f"{event.score:.3f}", event.text[:40] or "?", event.clip]
            for event in events[:LISTED]
        ]
        parts.append(_aligned([["at", "score", "text", "clip"], *rows], texts=(2, 3)))
        if len(events) > LISTED:
            parts.append(f"... and {len(events) - LISTED} with lower scores: --output writes all")
        parts.append(f"what fired: {_fired(result)}")
    parts.append(f"{MATCHED} (recall in %, no gate)\n{_aligned(_matched_table(result))}")
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
    result: Evaluation, options: Options, origin: Origin, manifests: Sequence[str]
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
        "settings": settings | {"manifests": list(manifests)},
        "protocol": protocol,
        "result": dataclasses.asdict(result),
    }
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _settings(result: Evaluation, options: Options, origin: Origin) -> str:
    return (
        f"{result.keyword} by {origin.model} (sha256 {origin.sha256[:12]}), "
        f"threshold {result.threshold:.3f}, gate {options.vad}, role {options.role}, "
        f"seed {options.seed}, kwspot {origin.machine.kwspot}"
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
    heading = ["condition", "clips", "speakers", "recall, %", "95 % by clip", "95 % by speaker"]
    heading += ["latency median / p90, ms", "repeats", "false alarms"]
    return [heading, *map(_recall_row, result.recalls)]


def _recall_row(recall: Recall) -> list[str]:
    return [
        recall.condition,
        str(recall.clips),
        str(recall.speakers or "?"),
        f"{100 * recall.recall:.1f}",
        _percent(recall.interval),
        _percent(recall.speaker_interval),
        f"{_whole(recall.latency_median_ms)} / {_whole(recall.latency_p90_ms)}",
        str(recall.repeats),
        str(len(recall.false_alarms)),
    ]


def _matched_table(result: Evaluation) -> Table:
    heading = ["at most an hour", "found", "threshold"]
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
    alarms, interval = result.false_alarms, result.false_alarms.interval
    noun = "false alarm" if len(alarms.events) == 1 else "false alarms"
    return (
        f"{len(alarms.events)} {noun} in {alarms.hours:.2f} h of other sound: "
        f"{alarms.per_hour:.2f} an hour, 95 % {interval.low:.2f} to {interval.high:.2f}"
    )


def _fired(result: Evaluation) -> str:
    fired = result.false_alarms.fired
    words = [f"{text[:40] or '(text unknown)'} {count}" for text, count in fired[:LISTED]]
    return ", ".join(words) + (", ..." if len(fired) > LISTED else "")


def _aligned(table: Table, texts: Sequence[int] = (0,)) -> str:
    """Set a table in columns: those of `texts` to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column in texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def _piped(table: Table) -> str:
    rule = ["---"] + ["---:"] * (len(table[0]) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [table[0], rule, *table[1:]])


def _percent(interval: Interval | None) -> str:
    return "?" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _clock(seconds: float) -> str:
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{minutes // 60}:{minutes % 60:02d}:{tenths / 10:04.1f}"
