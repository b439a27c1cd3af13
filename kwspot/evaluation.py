"""Judge a detector on composed streams: recall, false alarms, latency, and how sure they are.

```
positives, a stream a condition -> KeywordDetector -> detections -> hits, misses, latency
negatives, one long stream      -> KeywordDetector -> detections -> false alarms an hour
both, without a gate            -> scores -> Trigger at other thresholds -> matched false alarms
```

A hit is a detection from the start of a word to 1 s after its end. Detections elsewhere are false
alarms; those less than 2 s after the last one counted are the same event.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng

from kwspot.detector import Detection, KeywordDetector
from kwspot.errors import ModelError
from kwspot.features import SAMPLE_RATE
from kwspot.intervals import Interval, by_speaker, garwood, wilson
from kwspot.manifest import Clip
from kwspot.model import Model
from kwspot.modelfile import ModelInfo
from kwspot.streams import (
    Condition,
    Place,
    Stream,
    choose_material,
    negative_stream,
    positive_stream,
)
from kwspot.thresholds import Scores, fire, separate, threshold_for

GRACE = 1.0  # seconds after a word's end in which its detection counts
MATCHED_RATES = (0.0, 0.5, 1.0, 2.0)  # false alarms an hour at which engines are compared
CHUNK = SAMPLE_RATE  # samples a call of the detector; any other number gives the same detections
_SPEAKER_SEED = 3  # streams use 1 and 2

Progress = Callable[[str, int, int], None]  # stream, places heard, places in all


@dataclass(frozen=True)
class Options:
    """What to judge: the role's clips and the conditions, and the detector as a user sets it."""

    role: str = "test"
    keyword: str | None = None  # None: the model's first
    conditions: tuple[Condition, ...] = (Condition("clean"),)
    threshold: float | dict[str, float] | None = None  # dictionaries by word
    sensitivity: str | dict[str, str] = "medium"
    vad: str = "webrtc"
    refractory: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class FalseAlarm:
    """A detection without a keyword: the clip that played or had just ended, and when.

    `time` is in seconds of the stream, `offset` in seconds after the start of the clip, or of the
    silence before it among the positives.
    """

    clip: str
    text: str
    time: float
    offset: float
    score: float


@dataclass(frozen=True)
class Recall:
    """One positive stream. `interval` is Wilson's, which takes the clips as independent.

    `speaker_interval` is the percentile bootstrap over speakers, None where some are unknown, there
    is only one, or all clips went alike. Latencies are from the word's end to the end of the model
    step that heard it, which is when a live stream tells; None without hits. `repeats` counts
    further detections of a word that was hit.
    """

    condition: str
    clips: int
    speakers: int
    hits: int
    recall: float
    interval: Interval
    speaker_interval: Interval | None
    latency_median_ms: float | None
    latency_p90_ms: float | None
    repeats: int
    missed: tuple[str, ...]
    false_alarms: tuple[FalseAlarm, ...]


@dataclass(frozen=True)
class FalseAlarms:
    """The negative stream. `hours` are those of its clips, without the pauses between them.

    `interval` is Garwood's, exact for independent events. `fired` counts events by the text of
    their clip, the most frequent first.
    """

    clips: int
    hours: float
    events: tuple[FalseAlarm, ...]
    per_hour: float
    interval: Interval
    fired: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Matched:
    """Hits in each condition at the threshold with at most `per_hour` false alarms, no gate.

    `threshold` is None where even 1 gives more.
    """

    per_hour: float
    threshold: float | None
    false_alarms: int
    hits: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """All results; `matched` has thresholds chosen on the negatives they are reported on."""

    keyword: str
    threshold: float
    recalls: tuple[Recall, ...]
    false_alarms: FalseAlarms
    matched: tuple[Matched, ...]


@dataclass(frozen=True)
class _Heard:
    """What was heard in one stream: as a user gets it, and every score without a gate."""

    places: list[Place]
    detections: list[Detection]
    scores: Scores  # (U,)


def evaluate(
    model: Model,
    clips: Sequence[Clip],
    options: Options,
    progress: Progress = lambda stream, heard, places: None,
) -> Evaluation:
    """Judge a model on the clips of one role.

    Raises ManifestError for a role without the clips that are needed, AudioError for a clip that
    cannot be read, ModelError for a keyword that the model does not have, and ValueError as
    KeywordDetector does.
    """
    keyword = choose_keyword(model.info, options.keyword)
    threshold = _detector(model, options).thresholds[keyword]
    material = choose_material(clips, keyword, options.role)

    named = [(str(c), positive_stream(material, c, options.seed)) for c in options.conditions]

    def hear(name: str, stream: Stream, clips: Sequence[Clip]) -> _Heard:
        return _hear(model, keyword, options, stream, lambda n: progress(name, n, len(clips)))

    positives = [hear(name, stream, material.positives) for name, stream in named]
    others = hear("other sound", negative_stream(material, options.seed), material.negatives)
    step = model.info.step_samples
    return Evaluation(
        keyword,
        threshold,
        tuple(
            _recall(name, heard, step, options.seed)
            for (name, _), heard in zip(named, positives, strict=True)
        ),
        _false_alarms(others),
        _match(positives, others, model.info, options.refractory),
    )


def choose_keyword(info: ModelInfo, label: str | None) -> str:
    """Return `label`, or the model's first; raise ModelError for one that it does not have."""
    labels = [keyword.label for keyword in info.keywords]
    if label is not None and label not in labels:
        raise ModelError(f"{info.name} has no keyword {label!r}: it has {', '.join(labels)}")
    return label or labels[0]


def assign(places: Sequence[Place], times: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Assign detections at `times` (samples) to words: indices a place, and those of no word."""
    grace = round(GRACE * SAMPLE_RATE)
    inside = [
        [i for i, time in enumerate(times) if place.word[0] <= time <= place.word[1] + grace]
        for place in places
    ]
    taken = {index for indices in inside for index in indices}
    return inside, [index for index in range(len(times)) if index not in taken]


def _detector(model: Model, options: Options) -> KeywordDetector:
    return KeywordDetector(
        model,
        threshold=options.threshold,
        sensitivity=options.sensitivity,
        vad=options.vad,
        refractory=options.refractory,
    )


def _hear(
    model: Model, keyword: str, options: Options, stream: Stream, progress: Callable[[int], None]
) -> _Heard:
    detector, ungated = _detector(model, options), KeywordDetector(model, vad="off")
    column = list(ungated.scores).index(keyword)
    places: list[Place] = []
    detections: list[Detection] = []
    scores: list[float] = []
    for place, samples in stream:
        places.append(place)
        for begin in range(0, len(samples), CHUNK):
            chunk = samples[begin : begin + CHUNK]
            detections += [hit for hit in detector.process(chunk) if hit.keyword == keyword]
            scores += ungated.score(chunk)[:, column].tolist()
        progress(len(places))
    return _Heard(places, detections, np.array(scores, np.float64))


def _recall(condition: str, heard: _Heard, step: int, seed: int) -> Recall:
    times = [round(hit.end * SAMPLE_RATE) for hit in heard.detections]
    rng = default_rng((seed, _SPEAKER_SEED))
    inside, elsewhere = assign(heard.places, times)
    clips = [place.clip for place in heard.places]
    late_ms = [
        (-(-times[indices[0]] // step) * step - place.word[1]) / SAMPLE_RATE * 1000
        for place, indices in zip(heard.places, inside, strict=True)
        if indices
    ]
    speakers = [clip.speaker for clip in clips]
    return Recall(
        condition=condition,
        clips=len(clips),
        speakers=len(set(speakers) - {""}),
        hits=len(late_ms),
        recall=len(late_ms) / len(clips),
        interval=wilson(len(late_ms), len(clips)),
        speaker_interval=by_speaker([bool(indices) for indices in inside], speakers, rng),
        latency_median_ms=float(np.median(late_ms)) if late_ms else None,
        latency_p90_ms=float(np.quantile(late_ms, 0.9)) if late_ms else None,
        repeats=sum(max(0, len(indices) - 1) for indices in inside),
        missed=tuple(clip.name for clip, indices in zip(clips, inside, strict=True) if not indices),
        false_alarms=_events(heard, [heard.detections[index] for index in elsewhere]),
    )


def _false_alarms(heard: _Heard) -> FalseAlarms:
    events = _events(heard, heard.detections)
    hours = _hours(heard.places)
    mean = garwood(len(events))
    return FalseAlarms(
        clips=len(heard.places),
        hours=hours,
        events=events,
        per_hour=len(events) / hours,
        interval=Interval(mean.low / hours, mean.high / hours),
        fired=tuple(Counter(event.text for event in events).most_common()),
    )


def _hours(places: Sequence[Place]) -> float:
    """Count the hours of the clips alone: the pauses between them would flatter a detector."""
    return sum(end - begin for begin, end in (place.word for place in places)) / SAMPLE_RATE / 3600


def _events(heard: _Heard, detections: Sequence[Detection]) -> tuple[FalseAlarm, ...]:
    times = [round(hit.end * SAMPLE_RATE) for hit in detections]
    ends = [place.end for place in heard.places]
    events = []
    for index in separate(times):
        # Outputs end at a sample that has been heard, so no time is past the last place.
        place = heard.places[int(np.searchsorted(ends, times[index]))]
        offset = (times[index] - place.begin) / SAMPLE_RATE
        hit = detections[index]
        events.append(FalseAlarm(place.clip.name, place.clip.text, hit.end, offset, hit.score))
    return tuple(events)


def _match(
    positives: Sequence[_Heard], negatives: _Heard, info: ModelInfo, refractory: float | None
) -> tuple[Matched, ...]:
    hours = _hours(negatives.places)
    matched = []
    for rate in MATCHED_RATES:
        threshold = threshold_for(int(rate * hours), negatives.scores, info, refractory)
        events = separate(fire(negatives.scores, threshold, info, refractory))
        hits = [
            sum(map(bool, assign(heard.places, fire(heard.scores, threshold, info, refractory))[0]))
            for heard in positives
        ]
        reachable = threshold <= 1
        matched.append(Matched(rate, threshold if reachable else None, len(events), tuple(hits)))
    return tuple(matched)
