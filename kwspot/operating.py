"""What other thresholds would give, from scores without a gate.

```
negatives -> threshold with so many false alarms an hour -> misses     matched, DET curve
model file -> threshold of a sensitivity -> false alarms, hits         presets
```
"""

from dataclasses import dataclass

from numpy.random import default_rng

from kwspot.hearing import Heard, Hearing
from kwspot.hits import heard_words
from kwspot.intervals import Interval, by_speaker, garwood
from kwspot.modelfile import SENSITIVITIES, ModelInfo
from kwspot.thresholds import fire, next_above, peaks, separate, threshold_for

MATCHED_RATES = (0.0, 0.1, 0.5, 1.0, 2.0)  # false alarms an hour at which engines are compared
MOST = 60.0  # false alarms an hour at which DET curves end: one a minute
SPEAKER_SEED = 3  # a part of the seed: streams use 1, 2 and 4


@dataclass(frozen=True)
class Matched:
    """Hits in each condition at the threshold with at most `per_hour` false alarms, no gate.

    `threshold` is None where even 1 gives more. `missed` is the share of the clips (the false
    rejection rate) and `intervals` its bootstrap over speakers, None as in `Recall`.
    """

    per_hour: float
    threshold: float | None
    false_alarms: int
    hits: tuple[int, ...]
    missed: tuple[float, ...]
    intervals: tuple[Interval | None, ...]


@dataclass(frozen=True)
class Det:
    """The detection error trade-off: misses against false alarms, by falling threshold, no gate.

    Thresholds are those just above a peak of the negatives: one between two of them misses more
    for as many false alarms. `missed` has the shares of the clips at each threshold, a condition.
    """

    thresholds: tuple[float, ...]
    per_hour: tuple[float, ...]
    missed: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Preset:
    """A sensitivity of the model file on these streams, no gate.

    `promised` are the file's false alarms an hour, and `ratio` what came to what was promised, None
    where nothing was.
    """

    sensitivity: str
    threshold: float
    promised: float
    false_alarms: int
    per_hour: float
    interval: Interval
    ratio: float | None
    hits: tuple[int, ...]


def match(hearing: Hearing, refractory: float | None, seed: int) -> tuple[Matched, ...]:
    """Judge at MATCHED_RATES; the thresholds are chosen on the negatives they are reported on."""
    info, negatives = hearing.info, hearing.negatives
    matched = []
    for rate in MATCHED_RATES:
        allowed = int(rate * negatives.hours)
        threshold = threshold_for(allowed, negatives.scores, info, refractory)
        hits = [_hits(stream, threshold, info, refractory) for stream in hearing.positives]
        matched.append(
            Matched(
                per_hour=rate,
                threshold=threshold if threshold <= 1 else None,
                false_alarms=_events(negatives, threshold, info, refractory),
                hits=tuple(map(sum, hits)),
                missed=tuple(map(_share_missed, hits)),
                intervals=tuple(
                    _missed_interval(stream, flags, seed)
                    for stream, flags in zip(hearing.positives, hits, strict=True)
                ),
            )
        )
    return tuple(matched)


def det(hearing: Hearing, refractory: float | None) -> Det:
    """Trace the curve of each condition from no false alarm to MOST an hour."""
    info, negatives = hearing.info, hearing.negatives
    thresholds: list[float] = []
    rates: list[float] = []
    for peak in peaks(negatives.scores, info):
        threshold = next_above(peak)
        rate = _events(negatives, threshold, info, refractory) / negatives.hours
        if rate > MOST:
            break
        if threshold <= 1:
            thresholds.append(threshold)
            rates.append(rate)
    missed = [
        tuple(_share_missed(_hits(stream, t, info, refractory)) for t in thresholds)
        for stream in hearing.positives
    ]
    return Det(tuple(thresholds), tuple(rates), tuple(missed))


def presets(hearing: Hearing, refractory: float | None) -> tuple[Preset, ...]:
    """Judge the sensitivities that the model file promises something of."""
    info, negatives = hearing.info, hearing.negatives
    points = next(k for k in info.keywords if k.label == hearing.keyword).operating_points
    found = []
    for sensitivity in SENSITIVITIES:
        point = points[sensitivity]
        threshold, promised = point.threshold, point.false_alarms_per_hour
        events = _events(negatives, threshold, info, refractory)
        rate, mean = events / negatives.hours, garwood(events)
        hits = [sum(_hits(stream, threshold, info, refractory)) for stream in hearing.positives]
        found.append(
            Preset(
                sensitivity=sensitivity,
                threshold=threshold,
                promised=promised,
                false_alarms=events,
                per_hour=rate,
                interval=Interval(mean.low / negatives.hours, mean.high / negatives.hours),
                ratio=rate / promised if promised else None,
                hits=tuple(hits),
            )
        )
    return tuple(found)


def _hits(stream: Heard, threshold: float, info: ModelInfo, refractory: float | None) -> list[bool]:
    return heard_words(stream.places, fire(stream.scores, threshold, info, refractory))


def _events(stream: Heard, threshold: float, info: ModelInfo, refractory: float | None) -> int:
    return len(separate(fire(stream.scores, threshold, info, refractory)))


def _share_missed(hits: list[bool]) -> float:
    return 1 - sum(hits) / len(hits)


def _missed_interval(stream: Heard, hits: list[bool], seed: int) -> Interval | None:
    speakers = [place.clip.speaker for place in stream.places]
    rng = default_rng((seed, SPEAKER_SEED))
    return by_speaker([not hit for hit in hits], speakers, rng)
