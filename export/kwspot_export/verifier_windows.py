"""What a verifier learns from: the last two seconds at moments like those it will be asked about.

```
composed windows, a fifth of them with the keyword      -\
training sound end to end -> model -> where it is fooled -+-> samples (W, N), labels (W,)
```
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from kwspot.detector import KeywordDetector
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.model import Model
from kwspot_export.batches import Composer, Hard
from kwspot_export.student import OUTPUT_HOP
from kwspot_export.train import Run
from kwspot_export.validation import BLOCK, string_together, worsened

LEAST_SCORE = 0.003  # of a place that a verifier learns from; it is asked about far higher ones
HARD_SCORE, MOST_HARD = 0.02, 1500  # of clips that composed windows hold
PER_STREAM = 2000  # clips strung together at a time, to bound memory
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
    run: Run, model: Model, length: int, composed: int, mined: int, passes: int
) -> Windows:
    """Compose `composed` windows of `length` samples and mine `mined` at most.

    All training sound is heard `passes` times: once as recorded, then worsened.
    """
    rng = np.random.default_rng([run.recipe.seed, 4 << 40])
    places, hard = _mine(run, model, length, passes, rng)
    places.sort(key=lambda place: -place[0])
    samples = [window for _, window in places[:mined]]
    labels = [0.0] * len(samples)
    hard.sort(key=lambda place: -place.score)
    run.composer.pools.hard = hard[:MOST_HARD]
    for window, label in _compose(run.composer, model, length, composed, rng):
        samples.append(_int16(window))
        labels.append(label)
    return Windows(np.stack(samples), np.array(labels, np.float32))


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


def _mine(
    run: Run, model: Model, length: int, passes: int, rng: Generator
) -> tuple[list[tuple[float, npt.NDArray[np.int16]]], list[Hard]]:
    composer = run.composer
    pools, block = composer.pools, int(BLOCK * SAMPLE_RATE / OUTPUT_HOP)
    found: list[tuple[float, npt.NDArray[np.int16]]] = []
    hard: list[Hard] = []
    for number in range(passes):
        confusables = [pools.confusables] * CONFUSED
        indices = rng.permutation(np.concatenate([pools.negatives, *confusables]))
        for first in range(0, len(indices), PER_STREAM):
            chosen = indices[first : first + PER_STREAM].tolist()
            stream, places = string_together(run.corpus, chosen, rng, pause=0.1)
            if number:
                stream = worsened(stream, composer, rng)
            scores = scores_of(model, stream)
            for start in range(0, len(scores), block):
                peak = start + int(scores[start : start + block].argmax())
                if scores[peak] >= LEAST_SCORE:
                    end = min(_after(peak, rng), len(stream))
                    window = _int16(ending_at(stream, end, length))
                    found.append((float(scores[peak]), window))
            for index, start in places:
                end = start + run.corpus.length(index)
                heard = scores[start // OUTPUT_HOP : end // OUTPUT_HOP + 1]
                if len(heard) and heard.max() > HARD_SCORE:
                    sample = int(heard.argmax()) * OUTPUT_HOP
                    hard.append(Hard(index, sample, float(heard.max())))
    return found, hard


def _compose(
    composer: Composer, model: Model, length: int, count: int, rng: Generator
) -> Iterator[tuple[FloatArray, float]]:
    """Yield composed windows: with the keyword just whole, with it unfinished, and without.

    Those without end where the model is fooled most, as mined ones do.
    """
    for _ in range(-(-count // 64)):
        batch = composer.batch(64, rng)
        for audio, target, certain in zip(batch.audio, batch.target, batch.certain, strict=True):
            sound, reported = audio[composer.lead :], np.flatnonzero(target == 1)
            if not len(reported):
                end = _after(int(scores_of(model, sound).argmax()), rng)
                yield ending_at(sound, min(end, len(sound)), length), 0.0
            elif certain:
                whole = int(rng.choice(reported[WHOLE:]))
                yield ending_at(sound, (whole + 1) * OUTPUT_HOP, length), 1.0
                if rng.random() < UNFINISHED_SHARE:
                    early = int(reported[0]) + int(rng.integers(*UNFINISHED))
                    yield ending_at(sound, (early + 1) * OUTPUT_HOP, length), 0.0


def _after(peak: int, rng: Generator) -> int:
    """Return a sample at or soon after the output of a peak: a verifier is asked more than once."""
    return (peak + 1 + int(rng.integers(0, 4))) * OUTPUT_HOP


def _int16(samples: FloatArray) -> npt.NDArray[np.int16]:
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)
