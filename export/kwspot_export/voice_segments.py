"""Segments for learning voices: windows at several speeds, each speed another voice.

Pitch and formants move with the speed, so a person at 0.9 and at 1.1 of it are two people to a net
that tells voices apart: three to five times as many as were recorded (Yamamoto et al. 2019).

The teacher hears more than the student does: the whole clip, or three seconds of a long one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from kwspot.endpoints import speech_span
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot_export.augment import change_speed
from kwspot_export.corpus import Corpus
from kwspot_export.recipe import Group
from kwspot_export.segments import WINDOW, Segments, draw_segments

WORD_ENDS = 1.1, 1.55  # seconds into the segment: what is detected has just been said
LONGEST = 4 * SAMPLE_RATE  # of clips that are one utterance: their end matters
CONTEXT = 3 * SAMPLE_RATE  # what the teacher hears of longer ones


@dataclass(frozen=True)
class VoiceSegments(Segments):
    """Segments, each played at one of `speeds` (N,). Starts are in samples of the clip as it is."""

    speeds: npt.NDArray[np.float64]

    def audio(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """Return the sound of some segments: (B,) -> (B, 25600)."""
        return np.stack([self._window(int(row)) for row in rows])

    def utterance(self, row: int) -> FloatArray:
        """Return what the teacher hears of a segment: (N,)."""
        begin, length = self._heard(row)
        samples = self.corpus.audio(int(self.clips[row]), begin, length)
        return change_speed(samples, float(self.speeds[row]))

    def utterance_name(self, row: int) -> tuple[int, int, float]:
        """Tell utterances apart: segments of one short clip at one speed share theirs."""
        return int(self.clips[row]), self._heard(row)[0], float(self.speeds[row])

    @cached_property
    def key(self) -> str:
        """A name for this choice of segments, for caches."""
        own = f"{super().key} {self.speeds.tolist()}"
        return hashlib.sha256(own.encode()).hexdigest()[:16]

    def _window(self, row: int) -> FloatArray:
        clip, start, speed = int(self.clips[row]), int(self.starts[row]), float(self.speeds[row])
        length = round(WINDOW * speed)
        found = self.corpus.audio(clip, max(0, start), length + min(0, start))
        before = max(0, -start)
        heard = np.pad(found, (before, length - before - len(found)))
        played = change_speed(heard, speed)[:WINDOW]
        return np.pad(played, (0, WINDOW - len(played)))

    def _heard(self, row: int) -> tuple[int, int]:
        """Return where in its clip the teacher begins to hear, and how many samples it hears."""
        length = self.corpus.length(int(self.clips[row]))
        if length <= LONGEST:
            return 0, length
        middle = int(self.starts[row]) + WINDOW // 2
        return int(np.clip(middle - CONTEXT // 2, 0, length - CONTEXT)), CONTEXT


def draw_voice_segments(
    corpus: Corpus, groups: Sequence[Group], count: int, speeds: Sequence[float], rng: Generator
) -> VoiceSegments:
    """Draw `count` segments as `draw_segments` does, each at one of `speeds`.

    What is one utterance ends shortly before its segment does, as at a detection.
    """
    drawn = draw_segments(corpus, groups, count, rng)
    played = rng.choice(speeds, len(drawn))
    starts = drawn.starts.copy()
    for row, clip in enumerate(drawn.clips.tolist()):
        length, window = corpus.length(clip), round(WINDOW * played[row])
        if length <= LONGEST:
            _, end = speech_span(corpus.audio(clip))
            starts[row] = end - round(rng.uniform(*WORD_ENDS) * SAMPLE_RATE * played[row])
        else:
            starts[row] = min(starts[row], length - window)
    return VoiceSegments(corpus, drawn.clips, starts, played)
