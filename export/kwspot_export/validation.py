"""Long streams of validation speech, and how a student does on them while it learns.

Negatives: all validation clips end to end, once clean and several times worsened. Positives: each
validation keyword in silence, as it is and in babble. Features are computed once; a student is
then scored on hours of sound in seconds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor

from kwspot import calibration
from kwspot.calibration import BLOCK, threshold_at
from kwspot.endpoints import speech_level
from kwspot.features import SAMPLE_RATE, FloatArray, FrontEnd
from kwspot_export import augment
from kwspot_export.batches import Composer, keyword_spot
from kwspot_export.corpus import Corpus
from kwspot_export.frontend import LogMel
from kwspot_export.sharing import share_out
from kwspot_export.student import OUTPUT_HOP, SUBSAMPLING, FrameNet

STREAM_SECONDS = 20  # negatives are worsened in pieces of this length
STRETCH = 400  # clips of a stream that are composed together
BEFORE, AFTER = 1.5, 1.0  # seconds of low noise around a positive
SILENCE_DB = -72.0
BABBLE_SNRS = (None, 10.0, 5.0)


@dataclass(frozen=True)
class ValidationSound:
    """What validation streams are composed from: the negatives once as recorded, `copies` worsened.

    Every stretch and every positive has random numbers of its own, so that processes can compose
    them, in any order, to the same samples.
    """

    corpus: Corpus
    composer: Composer
    keyword: str
    negatives: tuple[int, ...]
    positives: tuple[int, ...]
    copies: int
    seed: int

    @cached_property
    def stretches(self) -> list[tuple[int, list[int]]]:
        """The streams in stretches: which copy, 0 as recorded, and its clips in their order."""
        found = []
        for copy in range(1 + self.copies):
            order = self._rng(0, copy).permutation(np.array(self.negatives)).tolist()
            found += [(copy, order[i : i + STRETCH]) for i in range(0, len(order), STRETCH)]
        return found

    def stretch(self, number: int) -> FloatArray:
        """Compose a stretch: (N,)."""
        copy, clips = self.stretches[number]
        rng = self._rng(1, number)
        samples, _ = string_together(self.corpus, clips, rng)
        if not copy:
            return samples
        return worsened(augment.change_speed(samples, rng.uniform(0.9, 1.1)), self.composer, rng)

    def trials(self, number: int) -> Iterator[tuple[FloatArray, float]]:
        """Compose a positive in silence, as it is and in babble: (N,), and its end in seconds.

        Yields none where the end of the word is not known.
        """
        index, rng = self.positives[number], self._rng(2, number)
        spot = keyword_spot(self.corpus, index, self.keyword)
        if not spot.certain:
            return
        clip = self.corpus.audio(index)
        for snr in BABBLE_SNRS:
            for _ in range(1 if snr is None else 2):
                trial = _in_silence(clip, snr, self.composer, rng)
                yield trial, BEFORE + spot.end_range[1] / SAMPLE_RATE

    def _rng(self, kind: int, number: int) -> Generator:
        return np.random.default_rng([self.seed, 5 << 40, kind, number])


@dataclass(frozen=True)
class Trials:
    """Validation features, float16. `negatives`: long streams (T, F); `positives`: (P, T, F).

    The first of the negatives is as recorded, the others are worsened. `ends` (P,) is where each
    positive's word ends, in seconds; `hours` is the length of all negatives.
    """

    negatives: list[Tensor]
    positives: Tensor
    ends: npt.NDArray[np.float64]
    hours: float

    @property
    def recorded(self) -> "Trials":
        """The same with only the negatives as recorded."""
        stream = self.negatives[0]
        hours = len(stream) * OUTPUT_HOP / SUBSAMPLING / SAMPLE_RATE / 3600
        return replace(self, negatives=[stream], hours=hours)


@dataclass(frozen=True)
class Score:
    """How a student does: recall at some false alarms an hour, and the peaks behind it."""

    recall: dict[float, float]
    hits: npt.NDArray[np.float32]  # best score of each positive
    alarms: npt.NDArray[np.float32]  # best score of each 2 s of negatives
    hours: float
    recorded: int  # how many of the alarms, the first ones, are of sound as recorded

    @property
    def merit(self) -> float:
        """One number to choose a checkpoint by: recall at few false alarms, averaged."""
        return float(np.mean(list(self.recall.values())))

    def threshold(self, per_hour: float) -> float:
        """Return the lowest threshold that gives at most `per_hour` false alarms an hour."""
        ranked = np.sort(self.alarms)[::-1]
        allowed = int(per_hour * self.hours)
        return float(np.nextafter(ranked[min(allowed, len(ranked) - 1)], np.float32(2)))

    def calibrated(self, per_hour: float) -> float:
        """Return the threshold for `per_hour` false alarms an hour in sound as recorded.

        The worsened copies tell how fast its highest peaks fall.
        """
        return threshold_at(per_hour, self.alarms[: self.recorded], self.alarms)


def string_together(
    corpus: Corpus, indices: Sequence[int], rng: Generator, pause: float = 0.3
) -> tuple[FloatArray, list[tuple[int, int]]]:
    """Join clips in random order: samples (N,), and (clip, first sample) of each."""
    parts, places, position = [], [], 0
    for index in rng.permutation(np.asarray(indices)):
        clip = corpus.audio(int(index))
        places.append((int(index), position))
        gap = np.zeros(int(rng.uniform(0.5, 1.5) * pause * SAMPLE_RATE), np.float32)
        parts += [clip, gap]
        position += len(clip) + len(gap)
    return np.concatenate(parts), places


def worsened(samples: FloatArray, composer: Composer, rng: Generator) -> FloatArray:
    """Worsen a long stream piece by piece, each piece in conditions of its own."""
    size = STREAM_SECONDS * SAMPLE_RATE
    pieces = [
        composer.acoustics.worsen(samples[i : i + size], rng) for i in range(0, len(samples), size)
    ]
    return np.concatenate(pieces)


def features_of(samples: FloatArray, front_end: FrontEnd, warp: Tensor | None = None) -> Tensor:
    """Compute the features of a stream as the runtime does: (N,) -> float16 (T, F)."""
    log_mel = _log_mel(front_end)
    lead = np.zeros(front_end.window - front_end.hop, np.float32)
    samples = np.concatenate([lead, samples])
    block, parts = 60 * SAMPLE_RATE, []
    for start in range(0, len(samples) - front_end.window + 1, block):
        piece = torch.from_numpy(samples[start : start + block + len(lead)])
        if len(piece) >= front_end.window:
            parts.append(log_mel(piece[None], warp)[0].half())
    return torch.cat(parts)


def draw_trials(sound: ValidationSound, workers: int) -> Trials:
    """Compose validation streams, and compute their features."""
    front_end = sound.composer.front_end
    work = partial(_features_of_stretch, sound)
    streams: dict[int, list[Tensor]] = {}
    hours = 0.0
    parts = share_out(work, len(sound.stretches), workers)
    for (copy, _), (features, length) in zip(sound.stretches, parts, strict=True):
        streams.setdefault(copy, []).append(features)
        hours += length / SAMPLE_RATE / 3600
    drawn = [trial for number in range(len(sound.positives)) for trial in sound.trials(number)]
    longest = max(len(trial) for trial, _ in drawn)
    longest += -longest % (SUBSAMPLING * front_end.hop)
    padded = [np.pad(trial, (0, longest - len(trial))) for trial, _ in drawn]
    stacked = torch.stack([features_of(trial, front_end) for trial in padded])
    joined = [torch.cat(stream) for stream in streams.values()]
    return Trials(joined, stacked, np.array([end for _, end in drawn]), hours)


def _features_of_stretch(sound: ValidationSound, number: int) -> tuple[Tensor, int]:
    samples = sound.stretch(number)
    return features_of(samples, sound.composer.front_end), len(samples)


@cache
def _log_mel(front_end: FrontEnd) -> LogMel:
    return LogMel(front_end)


def _in_silence(
    clip: FloatArray, snr: float | None, composer: Composer, rng: Generator
) -> FloatArray:
    before, after = int(BEFORE * SAMPLE_RATE), int(AFTER * SAMPLE_RATE)
    samples = np.pad(clip, (before, after))
    samples += rng.standard_normal(len(samples), np.float32) * np.float32(10 ** (SILENCE_DB / 20))
    if snr is None:
        return samples
    babble = composer.pools.babble
    start = int(rng.integers(len(babble) - len(samples)))
    noise = babble[start : start + len(samples)]
    return augment.add_at_snr(samples, noise, snr, speech_level(clip))


@torch.no_grad()
def in_pieces(
    run: Callable[[Tensor], Tensor], features: Tensor, receptive_field: int
) -> npt.NDArray[np.float32]:
    """Run a net over a long stream, a minute at a time: (T, F) -> (U, ...).

    `run` maps (1, T, F) to (U, ...) and depends on `receptive_field` frames of the past.
    """
    history = receptive_field + -receptive_field % SUBSAMPLING
    block, parts = 6000, []
    for start in range(0, len(features), block):
        begin = max(0, start - history)
        outputs = run(features[begin : start + block].float()[None])
        parts.append(outputs[(start - begin) // SUBSAMPLING :].cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def smoothed_scores(net: FrameNet, features: Tensor, smoothing: int) -> npt.NDArray:
    """Score a stream as the runtime would: (T, F) -> smoothed posteriors float32 (U,)."""
    device = next(net.parameters()).device
    scores = in_pieces(
        lambda x: torch.sigmoid(net(x.to(device)))[0, :, 0], features, net.receptive_field
    )
    return smoothed(scores, smoothing)


def smoothed(scores: npt.NDArray, smoothing: int) -> npt.NDArray:
    """Average each score of one keyword and those before it as the runtime does: (U,) -> (U,)."""
    kernel = np.full(smoothing, 1 / smoothing, np.float32)
    return np.convolve(scores, kernel)[: len(scores)]


@torch.no_grad()
def validate(
    net: FrameNet,
    trials: Trials,
    smoothing: int,
    rates: Sequence[float] = (0.3, 0.5, 1.0, 2.0),
) -> Score:
    """Score a student on validation streams."""
    net.eval()
    return score_trials(lambda features: smoothed_scores(net, features, smoothing), trials, rates)


def score_trials(
    score: Callable[[Tensor], npt.NDArray],
    trials: Trials,
    rates: Sequence[float] = (),
) -> Score:
    """Score what puts out smoothed scores (U,) for a stream (T, F), on validation streams.

    A hit is within the word to 1 s after its end.
    """
    alarms = [block_peaks(score(stream)) for stream in trials.negatives]
    hits = []
    for features, end in zip(trials.positives, trials.ends, strict=True):
        scores = score(features)
        heard = (np.arange(len(scores)) + 1) * OUTPUT_HOP / SAMPLE_RATE
        hits.append(scores[(heard > end - 1.0) & (heard < end + 1.0)].max())
    found = Score({}, np.array(hits), np.concatenate(alarms), trials.hours, len(alarms[0]))
    for rate in rates:
        found.recall[rate] = float(np.mean(found.hits >= found.threshold(rate)))
    return found


def block_peaks(scores: npt.NDArray) -> npt.NDArray:
    """Return the highest score of each BLOCK of a stream: (U,) -> (blocks,)."""
    return calibration.block_peaks(scores, int(BLOCK * SAMPLE_RATE / OUTPUT_HOP))
