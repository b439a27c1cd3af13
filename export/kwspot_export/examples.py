"""Examples for fine-tuning: segments with the word that each ends with, and who speaks.

Letters in shapes: N examples.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from kwspot.endpoints import speech_span
from kwspot.features import SAMPLE_RATE
from kwspot_export.corpus import Corpus
from kwspot_export.distill_recipe import FinetuneRecipe
from kwspot_export.recipe import RecipeError
from kwspot_export.segments import WINDOW, Segments, draw_segments, ending_at

BACKGROUND = "_silence_", "_unknown_"  # the labels that come before the words
SILENCE, UNKNOWN = range(2)
WORD_ENDS = 1.1, 1.55  # seconds into the segment: the mean of its last second holds the word
SILENT_SHARE = 0.03  # of the segments; half of them are nothing at all


@dataclass(frozen=True)
class Examples:
    """`labels` (N,): indices into `names`; `speakers` (N,): indices, -1 where not asked."""

    segments: Segments
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.int64]

    @property
    def speaker_count(self) -> int:
        """How many speakers there are to tell apart."""
        return int(self.speakers.max()) + 1

    def draw_words(
        self, size: int, unknown_share: float, silence_share: float, rng: Generator
    ) -> npt.NDArray[np.int64]:
        """Draw rows, all words alike often."""
        words = len(self.names) - len(BACKGROUND)
        each = (1 - unknown_share - silence_share) / words
        shares = np.array([silence_share, unknown_share, *[each] * words])
        counts = np.bincount(self.labels, minlength=len(self.names))
        weights = (shares / counts)[self.labels]
        return rng.choice(len(self.labels), size, p=weights / weights.sum())

    def draw_voices(self, size: int, rng: Generator) -> npt.NDArray[np.int64]:
        """Draw rows, all speakers alike often."""
        known = np.flatnonzero(self.speakers >= 0)
        weights = 1 / np.bincount(self.speakers[known])[self.speakers[known]]
        return known[rng.choice(len(known), size, p=weights / weights.sum())]


def draw_examples(corpus: Corpus, recipe: FinetuneRecipe, rng: Generator) -> Examples:
    """Draw the recipe's examples: words at the end of their segments, other speech anywhere.

    Raises RecipeError for a word that no clip says, and for too few speakers.
    """
    sound, words = recipe.sound, recipe.keywords.words
    labels = [_label(corpus, i, words) for i in range(len(corpus))]
    segments = draw_segments(corpus, sound.speech, sound.segments, rng)
    starts = segments.starts.copy()
    for row, clip in enumerate(segments.clips.tolist()):
        # Unknown words end where words end, or the place would tell.
        if labels[clip] != UNKNOWN or corpus.length(clip) <= WINDOW:
            _, end = speech_span(corpus.audio(clip))
            starts[row] = ending_at(end, rng.uniform(*WORD_ENDS))
    usable = np.array([labels[clip] is not None for clip in segments.clips])
    clips, starts = segments.clips[usable], starts[usable]
    silence = _silences(corpus, sound.noises, round(SILENT_SHARE * sound.segments), rng)
    joined = Segments(
        corpus,
        np.concatenate([clips, silence.clips]),
        np.concatenate([starts, silence.starts]),
    )
    targets = [*(labels[clip] for clip in clips), *[SILENCE] * len(silence)]
    examples = Examples(
        joined, (*BACKGROUND, *words), np.array(targets, np.int64), _speakers(joined, recipe)
    )
    for label, name in enumerate(examples.names):
        if label not in examples.labels:
            raise RecipeError(f"{recipe.name}: no clip for training says {name!r}")
    if recipe.speakers and examples.speaker_count < 2:
        raise RecipeError(f"{recipe.name}: the clips of [speakers] name fewer than two speakers")
    return examples


def _label(corpus: Corpus, index: int, words: tuple[str, ...]) -> int | None:
    """Return the label of a clip; None where a word is only part of what it says."""
    clip = corpus.clips[index]
    for number, word in enumerate(words):
        if clip.says(word):
            return len(BACKGROUND) + number
    return None if any(clip.mentions(word) for word in words) else UNKNOWN


def _silences(corpus: Corpus, noises: tuple[str, ...], count: int, rng: Generator) -> Segments:
    """Draw segments of noise, and as many that begin after the end of a noise: nothing."""
    found = [i for i, clip in enumerate(corpus.clips) if clip.name.startswith(noises)]
    clips = rng.choice(found, count)
    starts = [
        corpus.length(int(clip)) if row % 2 else int(rng.integers(SAMPLE_RATE))
        for row, clip in enumerate(clips)
    ]
    return Segments(corpus, clips.astype(np.int64), np.array(starts, np.int64))


def _speakers(segments: Segments, recipe: FinetuneRecipe) -> npt.NDArray[np.int64]:
    """Number the speakers that have more than one clip."""
    if recipe.speakers is None:
        return np.full(len(segments), -1, np.int64)
    clips = [segments.corpus.clips[i] for i in segments.clips]
    prefixes = recipe.speakers.clips
    asked = [clip.speaker if clip.name.startswith(prefixes) else "" for clip in clips]
    several = Counter(
        speaker for speaker, _ in {(s, c.name) for s, c in zip(asked, clips, strict=True)}
    )
    names = sorted(name for name, count in several.items() if name and count > 1)
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(speaker, -1) for speaker in asked], np.int64)
