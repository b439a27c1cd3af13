"""Training batches: windows of sound composed from clips, and where in them the keyword ends.

```
keyword clip (or part of one, or other speech) in context -> speed, room, channel -> noise -> level
```

A batch is a function of the seed, its number and the list of hard negatives alone, so that a run
can stop and resume at any step.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from kwspot.endpoints import speech_level, speech_regions, speech_span
from kwspot.features import SAMPLE_RATE, FloatArray, FrontEnd
from kwspot.manifest import spoken
from kwspot_export import augment
from kwspot_export.acoustics import Acoustics, draw_babble
from kwspot_export.augment import Conditions
from kwspot_export.corpus import Corpus
from kwspot_export.frontend import draw_warps
from kwspot_export.recipe import Recipe, RecipeError
from kwspot_export.student import OUTPUT_HOP

WINDOW_STEPS = 30  # 2.4 s: the receptive field of 1.5 s and room to move the word
EARLY, LATE = 0.12, 0.36  # seconds around the word's end in which the model may say so
KEYWORD_SECONDS = 0.33, 1.1  # how long a keyword at the start of a sentence may be
IGNORED = 0.30  # seconds before that in which the word is nearly whole and nothing is asked


@dataclass(frozen=True)
class Batch:
    """One batch. `audio` (B, N) float32; `warp` (B,) int64; `target` (B, U) int8.

    `target` holds one value for each output (40 ms): 1 where the keyword may be reported, 0 where
    it must not, -1 where neither is asked. `certain` (B,) tells whether every 1 is known to be
    near the end of the word (frame cross-entropy needs that), or only that it is somewhere there.
    """

    audio: FloatArray
    warp: npt.NDArray[np.int64]
    target: npt.NDArray[np.int8]
    certain: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Positive:
    """A clip with the keyword: its speech, and the range in which the keyword ends, in samples.

    `alone` tells that the speech is the keyword and nothing else.
    """

    index: int
    start: int
    end: int
    end_range: tuple[int, int]
    alone: bool

    @property
    def certain(self) -> bool:
        """Tell whether the end of the word is known."""
        return self.end_range[0] == self.end_range[1]


@dataclass(frozen=True)
class Hard:
    """A place where the model was fooled: clip and sample at which the score was highest."""

    index: int
    sample: int
    score: float


@dataclass
class Pools:
    """Indices into the corpus by part played, with the probabilities to draw them."""

    positives: list[Positive]
    positive_weights: npt.NDArray[np.float64]
    negatives: npt.NDArray[np.int64]
    negative_weights: npt.NDArray[np.float64]
    confusables: npt.NDArray[np.int64]
    noises: npt.NDArray[np.int64]
    room_indices: npt.NDArray[np.int64]
    rooms: list[FloatArray]
    babble: FloatArray
    hard: list[Hard] = field(default_factory=list)


def keyword_spot(corpus: Corpus, index: int, keyword: str) -> Positive:
    """Find the keyword in a clip that is the keyword, or a sentence that starts or ends with it."""
    samples = corpus.audio(index)
    text, word = spoken(corpus.clips[index].text), spoken(keyword)
    if text == word:
        start, end = speech_span(samples)
        return Positive(index, start, end, (end, end), alone=True)
    regions = speech_regions(samples)
    start, end = regions[0][0], regions[-1][1]
    if not text.startswith(word):
        return Positive(index, start, end, (end, end), alone=False)
    shortest, longest = (round(seconds * SAMPLE_RATE) for seconds in KEYWORD_SECONDS)
    first = regions[0][1]
    if len(regions) > 1 and shortest < first - start < longest:  # a pause after the keyword
        return Positive(index, start, end, (first, first), alone=False)
    end_range = min(end, start + shortest), min(end, start + longest)
    return Positive(index, start, end, end_range, alone=False)


def draw_pools(
    corpus: Corpus,
    recipe: Recipe,
    indices: npt.NDArray[np.int64],
    positives: npt.NDArray[np.int64],
    rng: Generator,
) -> Pools:
    """Sort the clips `indices` (negatives, noises, rooms) and `positives` into pools."""

    def starting(prefixes: tuple[str, ...]) -> npt.NDArray[np.int64]:
        return np.array([i for i in indices if corpus.clips[i].name.startswith(prefixes)], np.int64)

    def weights(chosen: npt.NDArray[np.int64], groups: tuple, by_length: bool) -> npt.NDArray:
        share = np.zeros(len(chosen))
        for group in groups:
            member = np.array([corpus.clips[i].name.startswith(group.prefix) for i in chosen])
            size = np.array([corpus.length(i) if by_length else 1.0 for i in chosen]) * member
            if size.sum() > 0:
                share += group.weight * size / size.sum()
        return share / share.sum()

    data = recipe.data
    negatives = starting(tuple(group.prefix for group in data.negatives))
    speech = np.array([i for i in negatives if corpus.clips[i].name.startswith(data.babble)])
    noises = starting(data.noises)
    under = " or ".join(data.babble)
    for part, found in ((f"negatives under {under} (for babble)", speech), ("noises", noises)):
        if not len(found):
            raise RecipeError(
                f"{recipe.name}: the clips for training or those for validation hold no {part}"
            )
    spots = [keyword_spot(corpus, int(i), recipe.keyword) for i in positives]
    return Pools(
        positives=spots,
        positive_weights=weights(positives, data.positives, by_length=False),
        negatives=negatives,
        negative_weights=weights(negatives, data.negatives, by_length=True),
        confusables=starting(data.confusables),
        noises=noises,
        room_indices=starting(data.rooms),
        rooms=augment.room_responses(corpus, starting(data.rooms).tolist()),
        babble=draw_babble(corpus, speech, rng),
    )


class Composer:
    """Composes windows of sound from the pools of a corpus."""

    def __init__(
        self, corpus: Corpus, pools: Pools, front_end: FrontEnd, conditions: Conditions
    ) -> None:
        self.corpus = corpus
        self.pools = pools
        self.conditions = conditions
        self.acoustics = Acoustics(
            corpus,
            pools.rooms,
            pools.babble,
            pools.noises,
            pools.negatives,
            pools.negative_weights,
            conditions,
        )
        self.front_end = front_end
        self.lead = front_end.window - front_end.hop  # what the first frame sees before the window
        self.length = WINDOW_STEPS * 8 * front_end.hop
        self.outputs = self.length // OUTPUT_HOP
        self.keyword_alone = any(spot.alone for spot in pools.positives)

    def batch(self, size: int, rng: Generator) -> Batch:
        """Compose `size` windows, a quarter of them with the keyword."""
        audio = np.zeros((size, self.lead + self.length), np.float32)
        target = np.zeros((size, self.outputs), np.int8)
        certain = np.ones(size, np.bool_)
        for row in range(size):
            if row < size // 4:
                dry, target[row], certain[row] = self._positive(rng)
            else:
                dry = self._negative(rng)
            audio[row, self.lead :] = self.acoustics.worsen(dry, rng)
        return Batch(audio, draw_warps(size, rng), target, certain)

    def _positive(self, rng: Generator) -> tuple[FloatArray, npt.NDArray[np.int8], bool]:
        spot = self.pools.positives[
            rng.choice(len(self.pools.positives), p=self.pools.positive_weights)
        ]
        word, speed = self._at_speed(self.corpus.audio(spot.index), rng)
        start, end = (round(x / speed) for x in (spot.start, spot.end))
        first, last = (round(x / speed) for x in spot.end_range)
        at = int(rng.uniform(1.1, 2.1) * SAMPLE_RATE)  # where the word ends in the window
        window = np.zeros(self.length, np.float32)
        _place(window, word, at - (first + last) // 2)
        level = speech_level(word)
        shift = at - (first + last) // 2
        if rng.random() < 0.5:
            gap = int(rng.uniform(0.02, 0.4) * SAMPLE_RATE)
            self._context(window, level, rng, before=shift + start - gap)
        if rng.random() < 0.4 and spot.certain:
            gap = int(rng.uniform(0.05, 0.5) * SAMPLE_RATE)
            self._context(window, level, rng, after=shift + end + gap)
        return window, self._target(shift + first, shift + last), spot.certain

    def _target(self, first: int, last: int) -> npt.NDArray[np.int8]:
        heard = (np.arange(self.outputs) + 1) * OUTPUT_HOP / SAMPLE_RATE
        first_s, last_s = first / SAMPLE_RATE, last / SAMPLE_RATE
        target = np.zeros(self.outputs, np.int8)
        target[(heard > first_s - EARLY - IGNORED) & (heard < last_s + LATE + IGNORED)] = -1
        target[(heard > first_s - EARLY) & (heard < last_s + LATE)] = 1
        return target

    def _context(
        self,
        window: FloatArray,
        level: float,
        rng: Generator,
        before: int | None = None,
        after: int | None = None,
    ) -> None:
        """Add other speech up to sample `before`, or from sample `after` on."""
        index = int(rng.choice(self.pools.negatives, p=self.pools.negative_weights))
        length = before if before is not None else len(window) - int(after or 0)
        if length <= 0:
            return
        speech = self.corpus.crop(index, min(length, self.length), rng)
        gain = level / speech_level(speech) * 10 ** (rng.uniform(-9, 3) / 20)
        position = before - len(speech) if before is not None else int(after or 0)
        _place(window, speech * np.float32(gain), position)

    def _negative(self, rng: Generator) -> FloatArray:
        kind = rng.random()
        if kind < 0.04:
            return np.zeros(self.length, np.float32)
        if kind < 0.13 and self.keyword_alone:
            return self._part_of_keyword(rng)
        window = np.zeros(self.length, np.float32)
        if kind < 0.35 and self.pools.hard:
            hard = self.pools.hard[int(rng.integers(len(self.pools.hard)))]
            clip, speed = self._at_speed(self.corpus.audio(hard.index), rng)
            at = int(rng.uniform(1.2, 2.2) * SAMPLE_RATE)
            _place(window, clip, at - round(hard.sample / speed))
            return window
        position = -int(rng.uniform(0, 0.5) * SAMPLE_RATE)
        level = None
        while position < self.length:
            if rng.random() < 0.22 and len(self.pools.confusables):
                index = int(rng.choice(self.pools.confusables))
            else:
                index = int(rng.choice(self.pools.negatives, p=self.pools.negative_weights))
            clip, _ = self._at_speed(self.corpus.crop(index, self.length - position, rng), rng)
            now = speech_level(clip)
            level = level or now
            _place(window, clip * np.float32(level / now), position)
            position += len(clip) + int(rng.uniform(-0.1, 0.3) * SAMPLE_RATE)
        return window

    def _part_of_keyword(self, rng: Generator) -> FloatArray:
        """Only the first or the last part of the keyword, or its parts in the wrong order."""
        spots = self.pools.positives
        spot = spots[rng.choice(len(spots), p=self.pools.positive_weights)]
        while not spot.alone:
            spot = spots[int(rng.integers(len(spots)))]
        word, _ = self._at_speed(
            self.corpus.audio(spot.index, spot.start, spot.end - spot.start), rng
        )
        fade = np.minimum(1, np.arange(len(word)) / 160).astype(np.float32)
        cut = int(len(word) * rng.uniform(0.35, 0.6))
        head, tail = word[:cut] * fade[:cut][::-1], word[cut:] * fade[: len(word) - cut]
        part = (head, tail, np.concatenate([tail, head]))[int(rng.integers(3))]
        window = np.zeros(self.length, np.float32)
        at = int(rng.uniform(0.8, 2.1) * SAMPLE_RATE)
        _place(window, part, at - len(part))
        if rng.random() < 0.5:
            gap = int(rng.uniform(0.0, 0.3) * SAMPLE_RATE)
            self._context(window, speech_level(part), rng, before=at - len(part) - gap)
        if rng.random() < 0.5:
            gap = int(rng.uniform(0.0, 0.3) * SAMPLE_RATE)
            self._context(window, speech_level(part), rng, after=at + gap)
        return window

    def _at_speed(self, samples: FloatArray, rng: Generator) -> tuple[FloatArray, float]:
        if rng.random() >= self.conditions.speed_share:
            return samples, 1.0
        speed = float(rng.uniform(*self.conditions.speed))
        return augment.change_speed(samples, speed), speed


def _place(window: FloatArray, clip: FloatArray, position: int) -> None:
    """Add a clip to a window from sample `position` on; what sticks out is dropped."""
    begin, end = max(position, 0), min(position + len(clip), len(window))
    if end > begin:
        window[begin:end] += clip[begin - position : end - position]
