"""The tables that cards and reports of models share: their cells as texts, and Markdown of them."""

from collections.abc import Iterable, Mapping

import numpy as np

from kwspot.modelfile import OperatingPoint
from kwspot_export.validation import Score


def source_rows(
    sources: Mapping[str, tuple[int, float]], licences: Mapping[str, str]
) -> list[list[str]]:
    """Return source, licence, clips and hours of what was trained on."""
    return [
        [source, licences[source], str(clips), f"{hours:.2f}"]
        for source, (clips, hours) in sorted(sources.items())
    ]


def point_rows(points: Mapping[str, OperatingPoint], score: Score) -> list[list[str]]:
    """Return sensitivity, threshold, false alarms an hour and recall on validation in percent."""
    return [
        [
            name,
            f"{point.threshold:.4f}",
            f"{point.false_alarms_per_hour:g}",
            f"{100 * np.mean(score.hits >= point.threshold):.1f}",
        ]
        for name, point in points.items()
    ]


def in_markdown(rows: Iterable[Iterable[str]]) -> str:
    """Write rows below the head of a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
