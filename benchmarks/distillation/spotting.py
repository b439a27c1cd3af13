"""Tasks of words that networks were trained on: twelve commands in noise, and a wake word.

Letters: N clips, C conditions, T frames, F mel bands, U outputs (40 ms).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from inputs import (
    SEED,
    Features,
    StudyError,
    cached,
    clips_under,
    stream_features,
    window_at,
    window_features,
)
from kwspot_export import augment
from network import Network, batches, finite
from numpy.random import default_rng
from scoring import OUTPUT_SAMPLES, SMOOTHING, miss_rates, thresholds_at
from trials import COMMANDS

from kwspot.conditions import Condition
from kwspot.decision import Smoother
from kwspot.endpoints import speech_level
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.hits import GRACE
from kwspot.interference import Interference
from kwspot.manifest import Clip
from kwspot.material import Material, choose_material, read_clip
from kwspot.streams import negative_stream, positive_stream

SILENCE = "_silence_"
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SC12 = (SILENCE, "_unknown_", *WORDS)
BED_SECONDS = 600  # of noise, from which each clip has its own part
SNRS = (10.0, 5.0, 0.0)  # dB, after the clean condition
KEYWORD = "alexa"
KEYWORD_CONDITIONS = (Condition("clean"), Condition("babble", 10.0), Condition("babble", 5.0))
RATES = (0.5, 1.0, 2.0)  # false alarms an hour
PIECE_OUTPUTS, CONTEXT_OUTPUTS = 1500, 75  # 60 s of a stream at a time, and 3 s before


@dataclass(frozen=True)
class SpeechCommands:
    """Twelve labels, decided at the last output of a window, clean and in noise.

    `windows` is (N, C, T, F), `labels` (N,) are indices into SC12.
    """

    windows: Features
    labels: npt.NDArray[np.int64]

    @classmethod
    def open(cls, clips: Sequence[Clip], cache: Path) -> "SpeechCommands":
        """Compose the windows; raises StudyError for want of clips or an unknown folder."""
        chosen = clips_under(clips, "test", COMMANDS)
        folders = [clip.name.split("/")[2] for clip in chosen]
        unknown = sorted(set(folders) - set(SC12))
        if unknown:
            raise StudyError(f"{COMMANDS}{unknown[0]} is none of the twelve labels")
        talkers = tuple(clips_under(clips, "test", "speech/"))
        noises = tuple(clips_under(clips, "test", "noise/"))
        material = Material((), (), talkers, noises)

        def make() -> Features:
            features = window_features(in_noise(chosen, material))
            return features.reshape(len(chosen), 1 + len(SNRS), *features.shape[1:])

        windows = cached(cache, "speech-commands", [*chosen, *talkers, *noises], make)
        return cls(windows, np.array([SC12.index(folder) for folder in folders]))

    def measure(self, network: Network) -> tuple[float, ...]:
        """Return the accuracy (%) in each condition; raises as `decide`."""
        return tuple(
            100 * float(np.mean(self.decide(network, condition) == self.labels))
            for condition in range(1 + len(SNRS))
        )

    def decide(self, network: Network, condition: int) -> npt.NDArray[np.int64]:
        """Return the label of each clip, (N,), in the first (0, clean) or another condition.

        Raises StudyError for a network without one of the labels.
        """
        missing = [label for label in SC12 if label not in network.labels]
        if missing:
            raise StudyError(f"the network has no label {missing[0]!r}: it has {network.labels}")
        columns = [network.labels.index(label) for label in SC12]
        parts = batches(self.windows[:, condition])
        logits = [finite(network.logits(part)[:, -1], "logits") for part in parts]
        return np.concatenate(logits)[:, columns].argmax(axis=1)


@dataclass(frozen=True)
class Alexa:
    """A wake word in one long stream, judged as `kwspot eval` does.

    `negatives` (T, F) are all other clips of role test, `hours` without the pauses between them;
    `positives` a stream (T, F) for each condition, `words` (N, 2) where its words are, in samples.
    """

    negatives: Features
    hours: float
    positives: tuple[Features, ...]
    words: npt.NDArray[np.int64]

    @classmethod
    def open(cls, clips: Sequence[Clip], cache: Path) -> "Alexa":
        """Compose the streams; raises ManifestError for want of clips."""
        material = choose_material(clips, KEYWORD, "test")
        negatives = cached(
            cache,
            "negatives",
            material.negatives,
            lambda: stream_features(negative_stream(material, SEED)),
        )
        positives = [
            cached(
                cache,
                f"{KEYWORD}-{str(condition).replace(':', '-')}",
                [*material.positives, *material.negatives],
                lambda condition=condition: stream_features(
                    positive_stream(material, condition, SEED)
                ),
            )
            for condition in KEYWORD_CONDITIONS
        ]
        places = [place for place, _ in positive_stream(material, Condition("clean"), SEED)]
        hours = sum(clip.seconds for clip in material.negatives) / 3600
        return cls(negatives, hours, tuple(positives), np.array([p.word for p in places]))

    def measure(self, network: Network) -> tuple[tuple[float, ...], ...]:
        """Return the keywords missed (%) in each condition at each of RATES.

        A hit has its best score above the threshold, from the word's start to 1 s after its end.
        """
        thresholds = thresholds_at(RATES, smoothed_scores(network, self.negatives), self.hours)
        return tuple(
            miss_rates(self._best(smoothed_scores(network, stream)), thresholds)
            for stream in self.positives
        )

    def _best(self, scores: FloatArray) -> FloatArray:
        heard = (np.arange(len(scores)) + 1) * OUTPUT_SAMPLES
        first = np.searchsorted(heard, self.words[:, 0])
        last = np.searchsorted(heard, self.words[:, 1] + round(GRACE * SAMPLE_RATE), "right")
        return np.array([scores[a:b].max() for a, b in zip(first, last, strict=True)])


def smoothed_scores(network: Network, features: Features) -> FloatArray:
    """Score a stream (T, F): posteriors of KEYWORD among all labels, smoothed, (U,)."""
    column = network.labels.index(KEYWORD)
    parts = []
    outputs = len(features) // 4
    for start in range(0, outputs, PIECE_OUTPUTS):
        begin, end = max(0, start - CONTEXT_OUTPUTS), min(start + PIECE_OUTPUTS, outputs)
        heard = torch.from_numpy(features[4 * begin : 4 * end].astype(np.float32))
        posteriors = network.logits(heard[None])[0, start - begin :].softmax(dim=1)[:, column]
        parts.append(finite(posteriors, "logits"))
    smoothed = Smoother(SMOOTHING, 1)(np.concatenate(parts)[:, None])
    return np.array(smoothed, np.float32)[:, 0]


def in_noise(clips: Sequence[Clip], material: Material) -> Iterator[FloatArray]:
    """Make the windows of each clip in all conditions; all SNRs have the same noise.

    Where nobody speaks it is as loud as at the median word, or its loudness would tell.
    """
    words = [speech_level(read_clip(clip)) for clip in clips if SILENCE not in clip.name]
    median = float(np.median(words))
    bed = noise_bed(material)
    rng = default_rng(SEED)
    for clip in clips:
        samples = read_clip(clip)
        window = window_at(samples, len(samples))
        level = median if SILENCE in clip.name else speech_level(samples)
        start = int(rng.integers(len(bed) - len(window)))
        yield window
        for snr in SNRS:
            yield augment.add_at_snr(window, bed[start : start + len(window)], snr, level)


def noise_bed(material: Material) -> FloatArray:
    """Mix babble and recorded noise in equal parts, second by second: (N,)."""
    babble, noise = (Interference(material, kind, SEED) for kind in ("babble", "noise"))
    second = SAMPLE_RATE
    parts = [_unit(babble.take(second)) + _unit(noise.take(second)) for _ in range(BED_SECONDS)]
    return np.concatenate(parts)


def _unit(noise: FloatArray) -> FloatArray:
    return noise / np.float32(np.sqrt(np.mean(np.square(noise)) + 1e-12))
