"""Segments: windows of 1.6 s cut from long clips or laid around short ones.

Teacher and student hear the same segments: the teacher clean, once, for the cache; the student in
rooms and noise. Letters in shapes: N segments, B those of a batch.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot_export.corpus import Corpus
from kwspot_export.recipe import Group, RecipeError
from kwspot_export.student import OUTPUT_HOP

WINDOW = 40 * OUTPUT_HOP  # 1.6 s: a second to average over, and what a word needs before that
WINDOW_OUTPUTS = WINDOW // OUTPUT_HOP


@dataclass(frozen=True)
class Segments:
    """`clips` (N,) of a corpus; `starts` (N,): where in its clip a segment begins, in samples.

    A negative start leaves silence before the clip.
    """

    corpus: Corpus
    clips: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.clips)

    def audio(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """Return the sound of some segments: (B,) -> (B, 25600)."""
        audio = np.zeros((len(rows), WINDOW), np.float32)
        for out, row in zip(audio, rows, strict=True):
            start = int(self.starts[row])
            clip = self.corpus.audio(int(self.clips[row]), max(0, start), WINDOW + min(0, start))
            before = max(0, -start)
            out[before : before + len(clip)] = clip
        return audio

    @cached_property
    def key(self) -> str:
        """A name for this choice of segments, for caches."""
        digest = hashlib.sha256()
        for clip, start in zip(self.clips.tolist(), self.starts.tolist(), strict=True):
            entry = f"{self.corpus.clips[clip].name} {self.corpus.length(clip)} {start}\n"
            digest.update(entry.encode())
        return digest.hexdigest()[:16]


def draw_segments(corpus: Corpus, groups: Sequence[Group], count: int, rng: Generator) -> Segments:
    """Draw `count` segments; a group has its share of them by weight, each clip by its length.

    Raises RecipeError for a group without clips.
    """
    clips: list[int] = []
    total = sum(group.weight for group in groups)
    for group in groups:
        members = [i for i, c in enumerate(corpus.clips) if c.name.startswith(group.prefix)]
        if not members:
            raise RecipeError(f"the manifests hold no clips for training under {group.prefix!r}")
        windows = [i for i in members for _ in range(max(1, corpus.length(i) // WINDOW))]
        wanted = round(count * group.weight / total)
        clips += np.resize(rng.permutation(windows), wanted).tolist()
    starts = [_anywhere(corpus.length(clip), rng) for clip in clips]
    return Segments(corpus, np.array(clips, np.int64), np.array(starts, np.int64))


def ending_at(end: int, time: float) -> int:
    """Return the start that puts sample `end` of a clip at `time` seconds of its segment."""
    return end - round(time * SAMPLE_RATE)


def _anywhere(length: int, rng: Generator) -> int:
    spare = length - WINDOW
    return int(rng.integers(spare + 1)) if spare >= 0 else -int(rng.integers(-spare + 1))
