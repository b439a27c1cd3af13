"""An evaluation as a web page: what the text report says, with plots, and sound to listen to."""

from collections.abc import Iterator, Sequence

import numpy as np

from kwspot import evaluation_plot
from kwspot import result_tables as tables
from kwspot.evaluation import Evaluation
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.hearing import Heard, Hearing, Options
from kwspot.hits import GRACE
from kwspot.manifest import Clip
from kwspot.material import Material, choose_material, read_clip
from kwspot.page import Cell, Page
from kwspot.report import (
    CONFUSABLES,
    Origin,
    false_alarm_line,
    protocol,
    settings_line,
    threshold_tables,
    voice_tables,
)
from kwspot.streams import Place, positive_stream

PLAYERS = 40  # missed words that can be listened to, shared by the conditions
AROUND = 0.5  # seconds before and after a word
BEFORE_ALARM, AFTER_ALARM = 2.0, 0.5  # seconds around a false alarm


def evaluation_page(
    result: Evaluation,
    hearing: Hearing,
    clips: Sequence[Clip],
    options: Options,
    origin: Origin,
) -> Page:
    """Make the page; it needs matplotlib, and composes streams again for the words that it plays.

    Raises AudioError for a clip that can no longer be read.
    """
    material = choose_material(clips, result.keyword, options.role)
    sounds = {clip.name: clip for clip in material.negatives}
    page = Page(f"{result.keyword} by {origin.model}")
    page.text(settings_line(result, options, origin))
    page.text(false_alarm_line(result) + ".")
    page.heading("Recall")
    page.figure(evaluation_plot.recall_plot(result), "Recall with its interval of 95 %.")
    _table(page, tables.recall_table(result))
    page.heading("Misses against false alarms")
    page.figure(
        evaluation_plot.det_plot(result),
        "Every threshold, no gate: down and left is better. Less than 0.1 is drawn at 0.1.",
    )
    for title, table in threshold_tables(result):
        page.text(_sentence(title))
        _table(page, table)
    _false_alarms(page, result, sounds)
    _misses(page, result, hearing, material, options)
    _confusables(page, result, sounds)
    for title, table in voice_tables(result):
        page.heading(_sentence(title).rstrip("."))
        _table(page, table)
    page.heading("How this was measured")
    page.text(protocol())
    machine = origin.machine
    page.text(f"{machine.cpu}, {machine.system}, {machine.date}, kwspot {machine.kwspot}.")
    return page


def _sentence(title: str) -> str:
    return f"{title[0].upper()}{title[1:]}."


def _table(page: Page, table: tables.Table) -> None:
    page.table(table[0], table[1:])


def _false_alarms(page: Page, result: Evaluation, sounds: dict[str, Clip]) -> None:
    page.heading("False alarms")
    if not result.false_alarms.events:
        page.text("There were none.")
        return
    page.text(f"The {tables.LISTED} with the highest scores at most, from 2 s before each.")
    heading, *rows = tables.alarm_table(result)
    players = []
    for event in tables.highest(result):
        sound = read_clip(sounds[event.clip])
        players.append(
            page.audio(_cut(sound, event.offset - BEFORE_ALARM, event.offset + AFTER_ALARM))
        )
    page.table(["", *heading], [[p, *row] for p, row in zip(players, rows, strict=True)])


def _misses(
    page: Page, result: Evaluation, hearing: Hearing, material: Material, options: Options
) -> None:
    page.heading("Missed words")
    share = max(1, PLAYERS // len(options.conditions))
    rows: list[list[Cell]] = []
    for condition, recall, heard in zip(
        options.conditions, result.recalls, hearing.positives, strict=True
    ):
        stream = positive_stream(material, condition, options.seed)
        for place, samples in _chosen(stream, set(recall.missed), share):
            first, last = ((edge - place.begin) / SAMPLE_RATE for edge in place.word)
            player = page.audio(_cut(samples, first - AROUND, last + AROUND))
            score = _best(heard, place, hearing.info.output_samples)
            speaker = place.clip.speaker or "?"
            rows.append([player, recall.condition, f"{score:.3f}", speaker, place.clip.name])
    if not rows:
        page.text("There were none.")
        return
    page.text(f"At most {share} of each condition; the highest score is that without a gate.")
    page.table(["", "condition", "highest score", "speaker", "clip"], rows)


def _chosen(
    stream: Iterator[tuple[Place, FloatArray]], names: set[str], count: int
) -> Iterator[tuple[Place, FloatArray]]:
    """Yield the first `count` places of a stream whose clips have one of the names."""
    left = min(count, len(names))
    for place, samples in stream if left else ():
        if place.clip.name in names:
            yield place, samples
            left -= 1
            if not left:
                return


def _confusables(page: Page, result: Evaluation, sounds: dict[str, Clip]) -> None:
    if not result.confusables:
        return
    page.heading("Confusable words")
    page.text(_sentence(CONFUSABLES) + " The clip with the highest plays.")
    heading, *rows = tables.confusable_table(result)
    shown = zip(result.confusables, rows, strict=False)
    page.table(["", *heading], [[page.audio(read_clip(sounds[c.clip])), *row] for c, row in shown])


def _best(heard: Heard, place: Place, output_samples: int) -> float:
    """Return the highest score at which a detection would have been of the place's word."""
    first = -(-place.word[0] // output_samples) - 1
    last = (place.word[1] + round(GRACE * SAMPLE_RATE)) // output_samples
    return float(np.max(heard.scores[max(0, first) : last], initial=0.0))


def _cut(samples: FloatArray, begin: float, end: float) -> FloatArray:
    """Return the samples from `begin` to `end` seconds, as far as there are any."""
    return samples[max(0, round(begin * SAMPLE_RATE)) : max(1, round(end * SAMPLE_RATE))]
