"""A live line on a terminal: how loud it is, and the keyword nearest to its threshold."""

import logging
import sys

import numpy as np

from kwspot.detector import KeywordDetector
from kwspot.features import SAMPLE_RATE, FloatArray

WIDTH = 24  # characters a bar
QUIETEST_DB = -60.0
REDRAW_SAMPLES = SAMPLE_RATE // 10  # ten times a second is lively enough


class Meter:
    """Draws level and score on standard error, over and over in one line."""

    def __init__(self, detector: KeywordDetector) -> None:
        self._detector = detector
        self._peak, self._heard = 0.0, 0
        self._drawn = False

    def update(self, samples: FloatArray) -> None:
        """Take the samples just heard, and redraw if it is time."""
        if len(samples):
            self._peak = max(self._peak, float(np.abs(samples).max()))
        self._heard += len(samples)
        if self._heard < REDRAW_SAMPLES:
            return
        level_db = 20 * np.log10(max(self._peak, 1e-5))
        parts = [f"level {_bar(1 - level_db / QUIETEST_DB)} {level_db:4.0f} dB"]
        scores, thresholds = self._detector.scores, self._detector.thresholds
        # A line has room for one word.
        label = max(scores, key=lambda word: scores[word] / thresholds[word])
        parts.append(f"{label} {_bar(scores[label], thresholds[label])} {scores[label]:.2f}")
        sys.stderr.write("\r\x1b[K" + "  ".join(parts))
        sys.stderr.flush()
        self._peak, self._heard, self._drawn = 0.0, 0, True

    def clear(self) -> None:
        """Give the line back to whoever wants to print."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False


class MeterHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Logs to standard error without tearing the meter's line."""

    def __init__(self, meter: Meter | None) -> None:
        super().__init__()
        self._meter = meter
        self.setFormatter(logging.Formatter("kwspot: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record on a line of its own."""
        if self._meter is not None:
            self._meter.clear()
        super().emit(record)


def _bar(value: float, mark: float | None = None) -> str:
    filled = round(min(max(value, 0.0), 1.0) * WIDTH)
    bar = ["█"] * filled + ["·"] * (WIDTH - filled)
    if mark is not None:
        bar[min(int(mark * WIDTH), WIDTH - 1)] = "|"
    return "".join(bar)
