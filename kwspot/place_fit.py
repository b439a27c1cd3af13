"""Thresholds fitted to the sound of a place.

```
background -> KeywordDetector, no gate -> scores -> peaks -> refit -> Place
```
"""

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kwspot.calibration import BLOCK, Refit, block_peaks, refit
from kwspot.detector import KeywordDetector
from kwspot.errors import CalibrationError
from kwspot.features import SAMPLE_RATE
from kwspot.model import Model, sha256_of
from kwspot.place import FORMAT, Place
from kwspot.sources import Source
from kwspot.verifier import verifier_digest

LEAST_SECONDS = 60.0  # of background; a minute still tells a place that fires all the time
SILENCE_PEAK = 1e-4  # -80 dBFS; the noise of any open microphone is louder


@dataclass(frozen=True)
class Suspect:
    """A moment of the background at which a model would fire even at sensitivity "low"."""

    name: str
    keyword: str
    time: float  # seconds after the beginning of `name`
    score: float


@dataclass(frozen=True)
class Fit:
    """What a background says: thresholds by keyword and sensitivity, and where the keyword may be.

    `suspects` are sorted, the highest score first.
    """

    hours: float
    refits: dict[str, dict[str, Refit]]
    suspects: tuple[Suspect, ...]


def fit_place(model: Model, backgrounds: Iterable[tuple[str, Source]], verify: bool = True) -> Fit:
    """Refit a model's thresholds to the sound of a place, `backgrounds` by name.

    The gate is off: what it keeps from the model can only be less. Raises AudioError for what
    cannot be read, and CalibrationError for less than a minute and for silence.
    """
    detector = KeywordDetector(model, vad="off", verify=verify)
    info = detector.info
    peaks: list[list[npt.NDArray[np.float64]]] = [[] for _ in info.keywords]
    suspects: list[Suspect] = []
    seconds, loudest = 0.0, 0.0
    for name, source in backgrounds:
        scores, samples, level = _heard(detector, source)
        seconds, loudest = seconds + samples / SAMPLE_RATE, max(loudest, level)
        for column, keyword in enumerate(info.keywords):
            highest = block_peaks(
                scores[:, column], round(BLOCK * SAMPLE_RATE / info.output_samples)
            )
            peaks[column].append(highest)
            strict = keyword.operating_points["low"].threshold
            for block in np.flatnonzero(highest >= strict).tolist():
                score = float(highest[block])
                suspects.append(Suspect(name, keyword.label, block * BLOCK, score))
    if seconds < LEAST_SECONDS:
        raise CalibrationError(
            f"{seconds:.0f} s of background say nothing about false alarms an hour: record "
            "ten minutes or more of what the place sounds like"
        )
    if loudest < SILENCE_PEAK:
        raise CalibrationError(
            "the background is silent: was the microphone muted, or the wrong one?"
        )
    refits = {
        keyword.label: refit(keyword.operating_points, np.concatenate(peaks[column]))
        for column, keyword in enumerate(info.keywords)
    }
    suspects.sort(key=lambda suspect: -suspect.score)
    return Fit(seconds / 3600, refits, tuple(suspects))


def highest_scores(
    model: Model, keyword: str, clips: Iterable[Source], verify: bool = True
) -> npt.NDArray[np.float64]:
    """Return the highest score of `keyword` in each clip, heard in silence and without a gate."""
    detector = KeywordDetector(model, vad="off", verify=verify)
    column = list(detector.scores).index(keyword)
    before = np.zeros(model.info.receptive_field * model.info.front_end.hop, np.float32)
    highest = []
    for clip in clips:
        detector.reset()
        scores = [detector.score(block)[:, column] for block in (before, *clip, before)]
        highest.append(np.concatenate(scores).max())
    return np.array(highest)


def place_of(model: Model, fit: Fit, verify: bool = True) -> Place:
    """Put together what the file of a place says."""
    return Place(
        FORMAT,
        model.path.name,
        sha256_of(model),
        round(fit.hours, 3),
        importlib.metadata.version("kwspot"),
        {
            label: {sensitivity: found.threshold for sensitivity, found in refits.items()}
            for label, refits in fit.refits.items()
        },
        verifier_digest(model) if verify else "",
    )


def _heard(detector: KeywordDetector, source: Source) -> tuple[npt.NDArray[np.float64], int, float]:
    """Score a source from its first sample on: scores (U, K), its samples, its highest level."""
    detector.reset()
    parts: list[npt.NDArray[np.float64]] = []
    samples, level = 0, 0.0
    for block in source:
        parts.append(detector.score(block))
        samples += len(block)
        level = max(level, float(np.abs(block).max()))
    scores = np.concatenate(parts)
    # Until the model has heard its receptive field nothing counts; zeros keep the time right.
    missing = samples // detector.info.output_samples - len(scores)
    return np.pad(scores, ((missing, 0), (0, 0))), samples, level
