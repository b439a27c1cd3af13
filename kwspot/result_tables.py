"""The results of an evaluation as tables of text; the first row of each is its heading."""

from collections.abc import Sequence

from kwspot.evaluation import Evaluation, FalseAlarm, Recall, Voice
from kwspot.intervals import Interval

LISTED = 20  # false alarms and confusable texts, highest first, that are shown; JSON has all
WORST = 10  # speakers

Table = list[list[str]]


def recall_table(result: Evaluation) -> Table:
    """Recall and latency in each condition, as a user gets them."""
    heading = ["condition", "clips", "speakers", "recall, %", "95 % by clip", "95 % by speaker"]
    heading += ["latency median / p90, ms", "repeats", "false alarms"]
    return [heading, *map(_recall_row, result.recalls)]


def missed_table(result: Evaluation) -> Table:
    """False rejection rates at matched false alarms, a column a rate, a row a condition."""
    matched = result.matched
    rows = [["", *(f"{m.per_hour:g} an hour" for m in matched)]]
    rows.append(
        ["threshold", *("none" if m.threshold is None else f"{m.threshold:.3f}" for m in matched)]
    )
    rows.append(["false alarms found", *(str(m.false_alarms) for m in matched)])
    for number, recall in enumerate(result.recalls):
        cells = [
            _share(m.missed[number])
            + ("" if (i := m.intervals[number]) is None else f" ({percent(i)})")
            for m in matched
        ]
        rows.append([recall.condition, *cells])
    return rows


def preset_table(result: Evaluation) -> Table:
    """What each sensitivity promises and does, a column a sensitivity."""
    presets = result.presets
    rows = [["", *(p.sensitivity for p in presets)]]
    rows.append(["threshold", *(f"{p.threshold:.3f}" for p in presets)])
    rows.append(["false alarms an hour, promised", *(f"{p.promised:g}" for p in presets)])
    rows.append(["measured", *(f"{p.per_hour:.2f}" for p in presets)])
    rows.append(["95 %", *(f"{p.interval.low:.2f} to {p.interval.high:.2f}" for p in presets)])
    rows.append(
        ["measured / promised", *("?" if p.ratio is None else f"{p.ratio:.2f}" for p in presets)]
    )
    for number, recall in enumerate(result.recalls):
        shares = [_share(p.hits[number] / recall.clips) for p in presets]
        rows.append([f"recall, %, {recall.condition}", *shares])
    return rows


def alarm_table(result: Evaluation) -> Table:
    """The false alarms with the highest scores."""
    rows = [
        [_clock(event.time), f"{event.score:.3f}", event.text[:40] or "?", event.clip]
        for event in highest(result)
    ]
    return [["at", "score", "text", "clip"], *rows]


def highest(result: Evaluation) -> list[FalseAlarm]:
    """Return the LISTED false alarms with the highest scores."""
    return sorted(result.false_alarms.events, key=lambda event: -event.score)[:LISTED]


def confusable_table(result: Evaluation) -> Table:
    """The texts that come nearest to the keyword."""
    rows = [
        [c.text, str(c.clips), f"{c.score:.3f}", str(c.false_alarms)]
        for c in result.confusables[:LISTED]
    ]
    return [["text", "clips", "highest score", "false alarms"], *rows]


def voice_table(voices: Sequence[Voice], result: Evaluation, what: str) -> Table:
    """Recall of each speaker or group in the first condition and in all of them."""
    conditions = len(result.recalls)
    heading = [what, "clips", f"recall, %, {result.recalls[0].condition}"]
    rows = [
        [v.name, str(v.clips), _share(v.hits[0] / v.clips)]
        + ([_share(sum(v.hits) / v.clips / conditions)] if conditions > 1 else [])
        for v in voices
    ]
    return [heading + (["all conditions"] if conditions > 1 else []), *rows]


def percent(interval: Interval | None) -> str:
    """Write an interval of a share in per cent."""
    return "?" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _recall_row(recall: Recall) -> list[str]:
    return [
        recall.condition,
        str(recall.clips),
        str(recall.speakers or "?"),
        _share(recall.recall),
        percent(recall.interval),
        percent(recall.speaker_interval),
        f"{_whole(recall.latency_median_ms)} / {_whole(recall.latency_p90_ms)}",
        str(recall.repeats),
        str(len(recall.false_alarms)),
    ]


def _share(share: float) -> str:
    return f"{100 * share:.1f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _clock(seconds: float) -> str:
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{minutes // 60}:{minutes % 60:02d}:{tenths / 10:04.1f}"
