"""Which other words are taken for the keyword, or nearly: the best score of each text."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kwspot.hearing import Heard
from kwspot.manifest import spoken
from kwspot.modelfile import ModelInfo

WORDS = 3  # texts of more are sentences, of which no word can be blamed


@dataclass(frozen=True)
class Confusable:
    """A text of the negatives: how many clips say it, the best score, and its false alarms.

    `clip` is the one with the best score, which counts without the gate; false alarms with it.
    """

    text: str
    clips: int
    score: float
    clip: str
    false_alarms: int


def confusables(negatives: Heard, info: ModelInfo, fired: Iterable[str]) -> tuple[Confusable, ...]:
    """Judge the texts of at most WORDS words, highest score first; `fired` are those of events."""
    alarms = Counter(map(spoken, fired))
    best: dict[str, tuple[float, str]] = {}
    clips: Counter[str] = Counter()
    ends = np.arange(1, len(negatives.scores) + 1) * info.output_samples
    for place in negatives.places:
        text = spoken(place.clip.text)
        if not 0 < len(text.split()) <= WORDS:
            continue
        clips[text] += 1
        first, last = np.searchsorted(ends, (place.begin, place.end), "right")
        score = float(negatives.scores[first:last].max(initial=0.0))
        if text not in best or score > best[text][0]:
            best[text] = score, place.clip.name
    return tuple(
        Confusable(text, clips[text], score, clip, alarms[text])
        for text, (score, clip) in sorted(best.items(), key=lambda item: -item[1][0])
    )
