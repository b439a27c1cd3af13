"""Judge a detector on composed streams: recall, false alarms, latency, and how sure they are.

```
clips, model -> hear -> detections, scores -> judge -> Evaluation
```

A hit is a detection from the start of a word to 1 s after its end. Detections elsewhere are false
alarms; those less than 2 s after the last one counted are the same event.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng

from kwspot.confusables import Confusable, confusables
from kwspot.detector import Detection
from kwspot.features import SAMPLE_RATE
from kwspot.hearing import Heard, Hearing, Options, Progress, hear
from kwspot.hits import assign, heard_words
from kwspot.intervals import Interval, by_speaker, garwood, wilson
from kwspot.manifest import Clip
from kwspot.model import Model
from kwspot.operating import SPEAKER_SEED, Det, Matched, Preset, det, match, presets
from kwspot.thresholds import separate


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
class Voice:
    """A speaker or a group of them: the keyword's clips, and how many each condition's hits are."""

    name: str
    clips: int
    hits: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """All results; `matched` has thresholds chosen on the negatives they are reported on.

    `speakers` and `groups` begin with the one that is heard least, and are empty where the
    manifest knows none. `confusables` begin with the highest score.
    """

    keyword: str
    threshold: float
    recalls: tuple[Recall, ...]
    false_alarms: FalseAlarms
    matched: tuple[Matched, ...]
    det: Det
    presets: tuple[Preset, ...]
    speakers: tuple[Voice, ...]
    groups: tuple[Voice, ...]
    confusables: tuple[Confusable, ...]


def evaluate(
    model: Model,
    clips: Sequence[Clip],
    options: Options,
    progress: Progress = lambda stream, heard, places: None,
) -> Evaluation:
    """Judge a model on the clips of one role. Raises what `hear` does."""
    return judge(hear(model, clips, options, progress), options)


def judge(hearing: Hearing, options: Options) -> Evaluation:
    """Judge what a model heard with these options."""
    step, refractory = hearing.info.step_samples, options.refractory
    alarms = _false_alarms(hearing.negatives)
    return Evaluation(
        keyword=hearing.keyword,
        threshold=hearing.threshold,
        recalls=tuple(_recall(heard, step, options.seed) for heard in hearing.positives),
        false_alarms=alarms,
        matched=match(hearing, refractory, options.seed),
        det=det(hearing, refractory),
        presets=presets(hearing, refractory),
        speakers=_voices(hearing.positives, lambda clip: clip.speaker),
        groups=_voices(hearing.positives, lambda clip: clip.group),
        confusables=confusables(
            hearing.negatives, hearing.info, (event.text for event in alarms.events)
        ),
    )


def _recall(heard: Heard, step: int, seed: int) -> Recall:
    times = heard.times
    rng = default_rng((seed, SPEAKER_SEED))
    inside, elsewhere = assign(heard.places, times)
    clips = [place.clip for place in heard.places]
    late_ms = [
        (-(-times[indices[0]] // step) * step - place.word[1]) / SAMPLE_RATE * 1000
        for place, indices in zip(heard.places, inside, strict=True)
        if indices
    ]
    speakers = [clip.speaker for clip in clips]
    return Recall(
        condition=heard.name,
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


def _false_alarms(heard: Heard) -> FalseAlarms:
    events = _events(heard, heard.detections)
    hours = heard.hours
    mean = garwood(len(events))
    return FalseAlarms(
        clips=len(heard.places),
        hours=hours,
        events=events,
        per_hour=len(events) / hours,
        interval=Interval(mean.low / hours, mean.high / hours),
        fired=tuple(Counter(event.text for event in events).most_common()),
    )


def _events(heard: Heard, detections: Sequence[Detection]) -> tuple[FalseAlarm, ...]:
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


def _voices(positives: Sequence[Heard], name: Callable[[Clip], str]) -> tuple[Voice, ...]:
    """Count hits by what `name` calls a clip; those that it does not name are left out."""
    names = [name(place.clip) for place in positives[0].places]
    clips = Counter(filter(None, names))
    found = [
        Counter(n for n, hit in zip(names, heard_words(h.places, h.times), strict=True) if hit)
        for h in positives
    ]
    voices = [
        Voice(name, count, tuple(hits[name] for hits in found)) for name, count in clips.items()
    ]
    return tuple(sorted(voices, key=lambda voice: (sum(voice.hits) / voice.clips, voice.name)))
