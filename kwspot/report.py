"""The results of an evaluation as a text for people, as Markdown for model cards, and as JSON."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kwspot import hits, interference, streams, thresholds
from kwspot import result_tables as tables
from kwspot.bench import Machine
from kwspot.confusables import WORDS
from kwspot.evaluation import Evaluation
from kwspot.hearing import Options
from kwspot.result_tables import Table

MATCHED = (
    "missed, in % (95 % by speaker), at matched false alarms, no gate, the threshold "
    "chosen on this very stream: for comparing engines only"
)
PRESETS = "what the model file promises, and what it does here, no gate"
CONFUSABLES = f"texts of at most {WORDS} words that come nearest, scores without a gate"


@dataclass(frozen=True)
class Origin:
    """What made a result: the model's name and the hash of its file, and the machine."""

    model: str
    sha256: str
    machine: Machine


def text_report(result: Evaluation, options: Options, origin: Origin) -> str:
    """Write the results for a terminal."""
    parts = [
        settings_line(result, options, origin),
        _aligned(tables.recall_table(result)),
        false_alarm_line(result),
    ]
    alarms = len(result.false_alarms.events)
    if alarms:
        parts.append(_aligned(tables.alarm_table(result), texts=(2, 3)))
        if alarms > tables.LISTED:
            left = alarms - tables.LISTED
            parts.append(f"... and {left} with lower scores: --output writes all")
        parts.append(f"what fired: {_fired(result)}")
    further = threshold_tables(result)
    if result.confusables:
        further.append((CONFUSABLES, tables.confusable_table(result)))
    further += voice_tables(result)
    parts += [f"{title}\n{_aligned(table)}" for title, table in further]
    return "\n\n".join(parts)


def markdown_report(result: Evaluation, options: Options, origin: Origin) -> str:
    """Write the results for a README or a model card."""
    parts = [settings_line(result, options, origin), _piped(tables.recall_table(result))]
    parts.append(false_alarm_line(result))
    if result.false_alarms.events:
        parts.append("What fired: " + _fired(result) + ".")
    for title, table in threshold_tables(result):
        parts += [f"{title[0].upper()}{title[1:]}:", _piped(table)]
    parts.append(protocol())
    return "\n\n".join(parts) + "\n"


def threshold_tables(result: Evaluation) -> list[tuple[str, Table]]:
    """Return what other thresholds would give, as tables with their titles."""
    return [(MATCHED, tables.missed_table(result)), (PRESETS, tables.preset_table(result))]


def voice_tables(result: Evaluation) -> list[tuple[str, Table]]:
    """Return who is heard how well, as far as the manifest knows, as tables with their titles."""
    worst, found = result.speakers[: tables.WORST], []
    if worst:
        found.append(("speakers heard least", tables.voice_table(worst, result, "speaker")))
    if result.groups:
        found.append(("groups", tables.voice_table(result.groups, result, "group")))
    return found


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
        "babble_talkers": interference.TALKERS,
        "hit_until_after_word_s": hits.GRACE,
        "false_alarm_event_s": thresholds.EVENT,
    }
    report = {
        "origin": dataclasses.asdict(origin),
        "settings": settings | {"manifests": list(manifests)},
        "protocol": protocol,
        "result": dataclasses.asdict(result),
    }
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def settings_line(result: Evaluation, options: Options, origin: Origin) -> str:
    """Say in one line what was judged, and how it was set."""
    return (
        f"{result.keyword} by {origin.model} (sha256 {origin.sha256[:12]}), "
        f"threshold {result.threshold:.3f}, gate {options.vad}, role {options.role}, "
        f"seed {options.seed}, kwspot {origin.machine.kwspot}"
    )


def protocol() -> str:
    """Say how the streams are made and the numbers counted."""
    return (
        f"One continuous stream, no reset: {streams.BEFORE:g} s before and {streams.AFTER:g} s "
        f"after each keyword of white noise at {streams.SILENCE_DB:g} dBFS, {streams.GAP:g} s "
        f"between other clips. A hit is a detection from the word's start to "
        f"{hits.GRACE:g} s after its end; latency counts from its end. babble:SNR adds "
        f"{interference.TALKERS} talkers at that SNR in dB, noise:SNR and music:SNR recordings; "
        "room is a measured room response, the speech as loud as before; speed:FACTOR changes "
        "pitch as well; level:DBFS is a clip's peak. False alarms less than "
        f"{thresholds.EVENT:g} s apart are one. Intervals are 95 %: Wilson over clips, bootstrap "
        "over speakers, exact Poisson."
    )


def false_alarm_line(result: Evaluation) -> str:
    """Say how many false alarms there were, and how sure that is."""
    alarms, interval = result.false_alarms, result.false_alarms.interval
    noun = "false alarm" if len(alarms.events) == 1 else "false alarms"
    return (
        f"{len(alarms.events)} {noun} in {alarms.hours:.2f} h of other sound: "
        f"{alarms.per_hour:.2f} an hour, 95 % {interval.low:.2f} to {interval.high:.2f}"
    )


def _fired(result: Evaluation) -> str:
    fired = result.false_alarms.fired
    words = [f"{text[:40] or '(text unknown)'} {count}" for text, count in fired[: tables.LISTED]]
    return ", ".join(words) + (", ..." if len(fired) > tables.LISTED else "")


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
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (table[0], rule, *table[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
