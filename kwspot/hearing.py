"""What a detector makes of the streams of an evaluation: what a user gets, and every score.

```
positives, a stream a condition -|-> KeywordDetector as the user sets it -> detections
negatives, one long stream      -|-> KeywordDetector without a gate      -> scores
```
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kwspot.conditions import Condition
from kwspot.detector import Detection, KeywordDetector
from kwspot.errors import KwspotError, ModelError
from kwspot.features import SAMPLE_RATE
from kwspot.manifest import Clip
from kwspot.material import choose_material
from kwspot.model import Model
from kwspot.modelfile import ModelInfo
from kwspot.streams import Place, Stream, negative_stream, positive_stream
from kwspot.thresholds import Scores, fire

CHUNK = SAMPLE_RATE  # samples a call of the detector; any other number gives the same detections
NEGATIVES = "other sound"

Progress = Callable[[str, int, int], None]  # stream, places heard, places in all


@dataclass(frozen=True)
class Options:
    """What to judge: the role's clips and the conditions, and the detector as a user sets it."""

    role: str = "test"
    keyword: str | None = None  # None: the model's first
    conditions: tuple[Condition, ...] = (Condition(),)
    threshold: float | dict[str, float] | None = None  # dictionaries by word
    sensitivity: str | dict[str, str] = "medium"
    vad: str = "webrtc"
    refractory: float | None = None
    seed: int = 0
    verify: bool = True


@dataclass(frozen=True)
class Heard:
    """What was heard in one stream: as a user gets it, and every score without a gate."""

    name: str
    places: tuple[Place, ...]
    detections: tuple[Detection, ...]
    scores: Scores  # (U,)

    @property
    def hours(self) -> float:
        """Hours of the clips alone: the pauses between them would flatter a detector."""
        lengths = (place.word[1] - place.word[0] for place in self.places)
        return sum(lengths) / SAMPLE_RATE / 3600

    @property
    def times(self) -> list[int]:
        """When the detections were, in samples."""
        return [round(hit.end * SAMPLE_RATE) for hit in self.detections]


@dataclass(frozen=True)
class Hearing:
    """All streams as one model heard them: `positives` in the order of the conditions."""

    info: ModelInfo
    keyword: str
    threshold: float
    positives: tuple[Heard, ...]
    negatives: Heard


def hear(
    model: Model,
    clips: Sequence[Clip],
    options: Options,
    progress: Progress = lambda stream, heard, places: None,
) -> Hearing:
    """Compose the streams of one role's clips and let the model hear them.

    Raises ManifestError for a role without the clips that are needed, AudioError for a clip that
    cannot be read, ModelError for a keyword that the model does not have, and ValueError as
    KeywordDetector does.
    """
    keyword = choose_keyword(model.info, options.keyword)
    detector = _detector(model, options)
    threshold = detector.thresholds[keyword]
    material = choose_material(clips, keyword, options.role)
    streams = [(str(c), positive_stream(material, c, options.seed)) for c in options.conditions]

    def listen(name: str, stream: Stream, places: int) -> Heard:
        return _hear(
            model, keyword, threshold, options, name, stream, lambda n: progress(name, n, places)
        )

    positives = [listen(name, stream, len(material.positives)) for name, stream in streams]
    others = negative_stream(material, options.seed)
    negatives = listen(NEGATIVES, others, len(material.negatives))
    return Hearing(detector.info, keyword, threshold, tuple(positives), negatives)


def choose_keyword(info: ModelInfo, label: str | None) -> str:
    """Return `label`, or the model's first; raise ModelError for one that it does not have."""
    labels = [keyword.label for keyword in info.keywords]
    if label is not None and label not in labels:
        raise ModelError(f"{info.name} has no keyword {label!r}: it has {', '.join(labels)}")
    return label or labels[0]


def save_scores(hearing: Hearing, path: Path) -> None:
    """Write every score of every stream, without a gate, as numpy's .npz file.

    `streams` (S,) are the conditions, then "other sound". Of stream i, `scores_i` (U,) are the
    smoothed scores, the u-th of them that of the audio up to sample (u + 1) * `output_samples` at
    16 kHz; `clips_i` (P,) are the manifest's paths and `places_i` (P, 4) where each clip is, in
    samples: begin and end with its silence, begin and end of its word. `keyword` is the label.
    Raises KwspotError where the file cannot be written.
    """
    streams = (*hearing.positives, hearing.negatives)
    arrays = {
        "streams": np.array([heard.name for heard in streams]),
        "keyword": np.array(hearing.keyword),
        "output_samples": np.array(hearing.info.output_samples),
    }
    for number, heard in enumerate(streams):
        arrays[f"scores_{number}"] = heard.scores
        arrays[f"clips_{number}"] = np.array([place.clip.name for place in heard.places])
        arrays[f"places_{number}"] = np.array([(p.begin, p.end, *p.word) for p in heard.places])
    try:
        with path.open("wb") as file:  # given a name, numpy would add a suffix to it
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise KwspotError(f"cannot write {path}: {error.strerror}") from error


def _detector(model: Model, options: Options) -> KeywordDetector:
    return KeywordDetector(
        model,
        threshold=options.threshold,
        sensitivity=options.sensitivity,
        vad=options.vad,
        refractory=options.refractory,
        verify=options.verify,
    )


def _hear(
    model: Model,
    keyword: str,
    threshold: float,
    options: Options,
    name: str,
    stream: Stream,
    progress: Callable[[int], None],
) -> Heard:
    ungated = KeywordDetector(model, vad="off", verify=options.verify)
    # Without a gate and other words, detections follow from the scores: one detector is enough.
    alone = options.vad == "off" and len(model.info.keywords) == 1
    gated = None if alone else _detector(model, options)
    column = list(ungated.scores).index(keyword)
    places: list[Place] = []
    detections: list[Detection] = []
    parts = []
    for place, samples in stream:
        places.append(place)
        for begin in range(0, len(samples), CHUNK):
            chunk = samples[begin : begin + CHUNK]
            parts.append(ungated.score(chunk)[:, column])
            if gated is not None:
                detections += [hit for hit in gated.process(chunk) if hit.keyword == keyword]
        progress(len(places))
    scores = np.concatenate(parts)
    if gated is None:
        detections = _detections(scores, threshold, model.info, column, options.refractory)
    return Heard(name, tuple(places), tuple(detections), scores)


def _detections(
    scores: Scores, threshold: float, info: ModelInfo, column: int, refractory: float | None
) -> list[Detection]:
    keyword, found = info.keywords[column], []
    for time in fire(scores, threshold, info, refractory):
        score, end = float(scores[time // info.output_samples - 1]), time / SAMPLE_RATE
        found.append(Detection(keyword.label, score, max(0.0, end - keyword.seconds), end))
    return found
