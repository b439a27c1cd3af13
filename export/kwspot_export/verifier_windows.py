"""What a verifier learns from: the last two seconds at moments like those it will be asked about.

```
composed windows, a fifth of them with the keyword      -\
training sound end to end -> model -> where it is fooled -+-> samples (W, N), labels (W,)
```
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from kwspot.detector import KeywordDetector
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.loader import load_model
from kwspot.model import Model
from kwspot_export.batches import Composer, Hard
from kwspot_export.corpus import Corpus
from kwspot_export.sharing import share_out
from kwspot_export.student import OUTPUT_HOP
from kwspot_export.train import Run
from kwspot_export.validation import BLOCK, string_together, worsened

LEAST_SCORE = 0.003  # of a place that a verifier learns from; it is asked about far higher ones
HARD_SCORE, MOST_HARD = 0.02, 1500  # of clips that composed windows hold
STRETCH, BATCH = 500, 64  # clips strung together, and windows composed, at a time
# Outputs (40 ms) from the first at which a model may report the keyword, 0.12 s before its end: a
# verifier says yes from WHOLE on, a moment after it, for only then «alexa» is no longer «a Lexus».
# Before, within UNFINISHED, it says no, in this share of the windows.
WHOLE, UNFINISHED, UNFINISHED_SHARE = 5, (-8, 2), 0.4
CONFUSED = 3  # times that a pass hears what sounds like the keyword
CHUNK = 10 * SAMPLE_RATE


@dataclass(frozen=True)
class Windows:
    """Samples int16 (W, N) and labels float32 (W,): 1 where the keyword has just ended."""

    samples: npt.NDArray[np.int16]
    labels: FloatArray


def draw_windows(
    run: Run,
    model: Model,
    length: int,
    composed: int,
    mined: int,
    passes: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Windows:
    """Compose `composed` windows of `length` samples and mine `mined` at most.

    All training sound is heard `passes` times: once as recorded, then worsened.
    """
    mining = _Mining(model.path, length, run.corpus, run.composer, passes, run.recipe.seed)
    composing = _Composing(model.path, length, run.composer, run.recipe.seed)
    stretches, batches = len(mining.stretches), -(-composed // BATCH)
    places: list[tuple[float, npt.NDArray[np.int16]]] = []
    hard: list[Hard] = []
    for done, (found, fooling) in enumerate(share_out(mining, stretches, run.workers), 1):
        places += found
        hard += fooling
        report(done, stretches + batches)
    places.sort(key=lambda place: -place[0])
    samples = [window for _, window in places[:mined]]
    labels = [0.0] * len(samples)
    hard.sort(key=lambda place: -place.score)
    run.composer.pools.hard = hard[:MOST_HARD]
    for done, made in enumerate(share_out(composing, batches, run.workers), 1):
        for window, label in made:
            samples.append(window)
            labels.append(label)
        report(stretches + done, stretches + batches)
    return Windows(np.stack(samples), np.array(labels, np.float32))


@dataclass
class Listener:
    """What hears with a model: every process opens one of its own, for sessions cannot be shared.

    `path` is the model's file.
    """

    path: Path

    @cached_property
    def model(self) -> Model:
        """The model."""
        return load_model(self.path)


def scores_of(model: Model, samples: FloatArray) -> npt.NDArray[np.float64]:
    """Score a stream as the runtime does, not verified: (N,) -> (U,), zeros at the beginning."""
    detector = KeywordDetector(model, vad="off", verify=False)
    parts = [detector.score(samples[i : i + CHUNK])[:, 0] for i in range(0, len(samples), CHUNK)]
    scores = np.concatenate(parts)
    # Until the model has heard its receptive field there are none.
    whole = len(samples) // model.info.step_samples * model.info.outputs_per_step
    return np.pad(scores, (whole - len(scores), 0))


def ending_at(samples: FloatArray, end: int, length: int) -> FloatArray:
    """Return the `length` samples of a stream up to `end`, zeros before its beginning."""
    window = samples[max(0, end - length) : end]
    return np.pad(window, (length - len(window), 0))


@dataclass
class _Mining(Listener):
    """Where a model is fooled by a stretch of the training sound."""

    length: int
    corpus: Corpus
    composer: Composer
    passes: int
    seed: int

    @cached_property
    def stretches(self) -> list[tuple[int, list[int]]]:
        """Which pass, and the clips of the stretch in their order."""
        pools, found = self.composer.pools, []
        indices = np.concatenate([pools.negatives, *[pools.confusables] * CONFUSED])
        for nth in range(self.passes):
            order = np.random.default_rng([self.seed, 4 << 40, 0, nth]).permutation(indices)
            parts = range(0, len(order), STRETCH)
            found += [(nth, order[first : first + STRETCH].tolist()) for first in parts]
        return found

    def __call__(self, number: int) -> tuple[list[tuple[float, npt.NDArray[np.int16]]], list[Hard]]:
        """Return scores and windows of the places, and the clips that hold them."""
        rng = np.random.default_rng([self.seed, 4 << 40, 1, number])
        nth, clips = self.stretches[number]
        stream, places = string_together(self.corpus, clips, rng, pause=0.1)
        if nth:
            stream = worsened(stream, self.composer, rng)
        scores = scores_of(self.model, stream)
        found, hard = [], []
        block = int(BLOCK * SAMPLE_RATE / OUTPUT_HOP)
        for start in range(0, len(scores), block):
            peak = start + int(scores[start : start + block].argmax())
            if scores[peak] >= LEAST_SCORE:
                end = min(_after(peak, rng), len(stream))
                found.append((float(scores[peak]), _int16(ending_at(stream, end, self.length))))
        for index, start in places:
            end = start + self.corpus.length(index)
            heard = scores[start // OUTPUT_HOP : end // OUTPUT_HOP + 1]
            if len(heard) and heard.max() > HARD_SCORE:
                hard.append(Hard(index, int(heard.argmax()) * OUTPUT_HOP, float(heard.max())))
        return found, hard


@dataclass
class _Composing(Listener):
    """A batch of windows: with the keyword just whole, with it unfinished, and without.

    Those without end where the model is fooled most, as mined ones do.
    """

    length: int
    composer: Composer
    seed: int

    def __call__(self, number: int) -> list[tuple[npt.NDArray[np.int16], float]]:
        """Return windows and labels."""
        rng = np.random.default_rng([self.seed, 4 << 40, 2, number])
        made: list[tuple[npt.NDArray[np.int16], float]] = []

        def add(sound: FloatArray, end: int, label: float) -> None:
            window = ending_at(sound, min(end, len(sound)), self.length)
            made.append((_int16(window), label))

        batch = self.composer.batch(BATCH, rng)
        for audio, target, certain in zip(batch.audio, batch.target, batch.certain, strict=True):
            sound, reported = audio[self.composer.lead :], np.flatnonzero(target == 1)
            if not len(reported):
                add(sound, _after(int(scores_of(self.model, sound).argmax()), rng), 0.0)
            elif certain:
                add(sound, (int(rng.choice(reported[WHOLE:])) + 1) * OUTPUT_HOP, 1.0)
                if rng.random() < UNFINISHED_SHARE:
                    early = int(reported[0]) + int(rng.integers(*UNFINISHED))
                    add(sound, (early + 1) * OUTPUT_HOP, 0.0)
        return made


def _after(peak: int, rng: Generator) -> int:
    """Return a sample at or soon after the output of a peak: a verifier is asked more than once."""
    return (peak + 1 + int(rng.integers(0, 4))) * OUTPUT_HOP


def _int16(samples: FloatArray) -> npt.NDArray[np.int16]:
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)
