"""The threshold for voices: few words of other people pass, and few of the own do not.

```
clips that several people say -> embeddings -> own words against profiles of four or five others
                                            -> the same words of other people against them
```

A voice is enrolled and recognised by one word, so that profile, own word and the words of others
are all of one text: other words would make strangers seem stranger than they are. Clips of one
source, recorded alike, are a kind, and all kinds count alike: thousands of one-second clips of one
session would say little of a wake word from many rooms.

The threshold is where as many of the own words are rejected as of other people's accepted, which
leaves room on both sides where rooms are other ones; or higher, where that would be more than 5 %.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from kwspot.features import FloatArray
from kwspot.likeness import Likeness, pack, unpack
from kwspot.manifest import Clip, spoken
from kwspot.modelfile import VoicePoint
from kwspot.voices import mean_voice

ENROLLED = 5  # clips that `kwspot enroll` asks for
LEAST_CLIPS = 4  # by one person, of one word: three to enroll and one to recognise
LEAST_SPEAKERS = 5  # with so many clips, below which a share of other people says little
ACCEPTED = 0.05  # of other people's words, at most: one in twenty
STRANGERS = 400  # voices that others are compared with


@dataclass(frozen=True)
class Said:
    """Who said what, and of which kind it is: of N clips each."""

    speakers: Sequence[str]
    texts: Sequence[str]
    kinds: Sequence[str]

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> "Said":
        """Read the clips' labels; clips of one source are a kind."""
        return cls(
            [clip.speaker for clip in clips],
            [spoken(clip.text) for clip in clips],
            [clip.source for clip in clips],
        )


@dataclass(frozen=True)
class Strangers:
    """Voices (C, E) to compare with, and whose they are."""

    embeddings: FloatArray
    speakers: Sequence[str]

    def without(self, speaker: str) -> Likeness:
        """Compare with all but one."""
        others = [own != speaker for own in self.speakers]
        return Likeness(self.embeddings[others])


def draw_strangers(embeddings: FloatArray, said: Said, seed: int) -> Strangers:
    """Draw profiles of a person who says a word from clips (N, E), 400 of all kinds in turn."""
    rng = np.random.default_rng(seed)
    of_kind: dict[str, list[list[int]]] = defaultdict(list)
    for numbers in _together(said).values():
        of_kind[said.kinds[numbers[0]]].append(numbers)
    piles = [[groups[i] for i in rng.permutation(len(groups))] for groups in of_kind.values()]
    drawn: list[list[int]] = []
    while len(drawn) < STRANGERS and any(piles):
        drawn += [pile.pop() for pile in piles if pile]
    drawn = drawn[:STRANGERS]
    profiles = np.stack([mean_voice(embeddings[numbers[:ENROLLED]]) for numbers in drawn])
    kept = unpack(pack(profiles), profiles.shape[1], "strangers")  # as a file will have them
    return Strangers(kept, [said.speakers[numbers[0]] for numbers in drawn])


def repeated(said: Said) -> dict[tuple[str, str], list[int]]:
    """Return the numbers of the clips of each (speaker, text) that can be enrolled and tried."""
    groups = _together(said)
    return {who: numbers for who, numbers in groups.items() if len(numbers) >= LEAST_CLIPS}


def fit_voices(
    embeddings: FloatArray, said: Said, strangers: Strangers | None = None
) -> VoicePoint | None:
    """Choose the threshold on clips (N, E): that of equal errors, or that which accepts 5 %.

    No voice is compared with itself among the `strangers`. Returns None where fewer than five
    people say a word four times.
    """
    owners = repeated(said)
    known = {speaker for speaker, _ in owners}
    if len(known) < LEAST_SPEAKERS:
        return None
    by_text: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(said.texts):
        by_text[text].append(number)

    @cache
    def to_strangers(speaker: str) -> Likeness:
        return strangers.without(speaker) if strangers else Likeness()

    @cache
    def common(number: int) -> float:
        return to_strangers(said.speakers[number]).common(embeddings[number])

    def likeness(number: int, profile: FloatArray, owner: str) -> float:
        own = to_strangers(owner).common(profile)
        return float(embeddings[number] @ profile) - (common(number) + own) / 2

    owned: dict[str, list[float]] = defaultdict(list)
    others: dict[str, list[float]] = defaultdict(list)
    for (speaker, text), own in owners.items():
        kind = said.kinds[own[0]]
        for held in own:
            shown = [i for i in own if i != held][:ENROLLED]
            owned[kind].append(likeness(held, mean_voice(embeddings[shown]), speaker))
        profile = mean_voice(embeddings[own[:ENROLLED]])
        strange = [i for i in by_text[text] if said.speakers[i] != speaker]
        others[kind] += [likeness(i, profile, speaker) for i in strange]
    others = {kind: scores for kind, scores in others.items() if scores}
    if not others:
        return None
    threshold = _threshold(owned, others)
    (rejected,), (below,) = (_shares_below(kinds, [threshold]) for kinds in (owned, others))
    return VoicePoint(threshold, round(1 - float(below), 4), round(float(rejected), 4), len(known))


def _together(said: Said) -> dict[tuple[str, str], list[int]]:
    """Return the numbers of the clips of each (speaker, text)."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, who in enumerate(zip(said.speakers, said.texts, strict=True)):
        groups[who].append(number)
    return groups


def _threshold(owned: dict[str, list[float]], others: dict[str, list[float]]) -> float:
    """Return the lowest threshold at which others' share is small enough, all kinds alike."""
    tried = np.unique(np.concatenate(list(others.values())))
    rejected, below = _shares_below(owned, tried), _shares_below(others, tried)
    enough = (1 - below <= ACCEPTED) & (1 - below <= rejected)
    highest_too_many = tried[~enough].max()
    # Rounded up, and so above the highest that is too many.
    return min(1.0, math.floor(float(highest_too_many) * 1e4 + 1) / 1e4)


def _shares_below(kinds: dict[str, list[float]], tried: npt.ArrayLike) -> FloatArray:
    """Return the share of the scores below each of those tried (N,): (N,), all kinds' mean."""
    shares = [np.searchsorted(np.sort(scores), tried) / len(scores) for scores in kinds.values()]
    mean: FloatArray = np.mean(shares, axis=0)
    return mean
