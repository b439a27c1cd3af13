"""Recall at matched false alarms on the streams of `kwspot eval`, from the scores of any engine.

```
manifest -> streams -> PCM and places -> adapter -> scores -> Trigger -> hits, false alarms
             once, in the cache             once an engine
```

The decision is kwspot's for all: a threshold, armed again below half of it and after one second.
"""

import hashlib
import json
import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kwspot.conditions import parse_condition
from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE
from kwspot.hits import GRACE, assign
from kwspot.intervals import Interval, garwood, wilson
from kwspot.manifest import Clip, read_manifest
from kwspot.material import choose_material
from kwspot.modelfile import Decision
from kwspot.operating import MATCHED_RATES
from kwspot.streams import Place, Stream, negative_stream, positive_stream
from kwspot.thresholds import Scores, fire, separate, threshold_for

KEYWORD, ROLE, SEED = "alexa", "test", 0
CONDITIONS = ("clean", "babble:10", "babble:5")
NEGATIVES = "other sound"


@dataclass(frozen=True)
class Audio:
    """A stream on disk: raw PCM, and the places of its clips."""

    name: str
    pcm: Path
    places: tuple[Place, ...]
    digest: str

    @property
    def hours(self) -> float:
        """Hours of the clips, without the pauses between them."""
        return sum(p.word[1] - p.word[0] for p in self.places) / SAMPLE_RATE / 3600


@dataclass(frozen=True)
class Pace:
    """What a decision needs to know of an engine; read as `kwspot.modelfile.ModelInfo` is."""

    output_samples: int
    decision: Decision = field(default_factory=Decision)


@dataclass(frozen=True)
class Found:
    """What an engine does at a threshold; hits by condition, in the order of CONDITIONS.

    `per_hour` false alarms were allowed, None at the default threshold. `threshold` is None where
    even 1 gives more. Latencies are those of clean words, from their end.
    """

    per_hour: float | None
    threshold: float | None
    false_alarms: int
    false_alarm_interval: Interval  # an hour
    hits: tuple[int, ...]
    intervals: tuple[Interval, ...]
    latency_median_ms: float | None
    latency_p90_ms: float | None


@dataclass(frozen=True)
class Accuracy:
    """All results of an engine."""

    clips: int
    hours: float
    default: Found
    matched: tuple[Found, ...]


def prepare(manifest: Path, cache: Path, limit: int | None) -> list[Audio]:
    """Write the streams, unless they are there: CONDITIONS, then NEGATIVES.

    `limit` takes so many clips of the keyword and of other sound only, for a trial. Raises
    ManifestError and AudioError as `kwspot eval` does.
    """
    clips = read_manifest(manifest)
    if limit is not None:
        clips = _few(clips, limit)
    key = hashlib.sha256(manifest.read_bytes() + repr((ROLE, SEED, limit)).encode()).hexdigest()
    folder = cache / "streams" / key[:12]
    folder.mkdir(parents=True, exist_ok=True)
    material = choose_material(clips, KEYWORD, ROLE)
    audios = [
        _written(folder, name, lambda c=name: positive_stream(material, parse_condition(c), SEED))
        for name in CONDITIONS
    ]
    return [*audios, _written(folder, NEGATIVES, lambda: negative_stream(material, SEED))]


def scores_of(
    command: Sequence[str], environment: dict[str, str], audio: Audio, cache: Path, key: str
) -> Scores:
    """Let an adapter score a stream, unless it has done so before; `key` tells engines apart.

    Raises KwspotError with the adapter's last words where it fails.
    """
    name = hashlib.sha256(f"{key} {audio.digest} {audio.name}".encode()).hexdigest()[:16]
    path = cache / "scores" / f"{name}.f32"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        done = subprocess.run(
            [*command, "scores", str(audio.pcm), str(part)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            words = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise KwspotError(f"{key}: {words[-1]}")
        part.replace(path)
    return np.fromfile(path, np.float32).astype(np.float64)


def judge(audios: Sequence[Audio], scores: Sequence[Scores], hop: int, default: float) -> Accuracy:
    """Judge an engine by its scores of all streams, one each `hop` samples."""
    pace = Pace(hop)
    *positives, negatives = audios
    matched = [
        (rate, threshold_for(int(rate * negatives.hours), scores[-1], pace))
        for rate in MATCHED_RATES
    ]
    found = [
        _found(positives, negatives, scores, pace, threshold, rate)
        for rate, threshold in [(None, default), *matched]
    ]
    return Accuracy(len(positives[0].places), negatives.hours, found[0], tuple(found[1:]))


def _found(
    positives: Sequence[Audio],
    negatives: Audio,
    scores: Sequence[Scores],
    pace: Pace,
    threshold: float,
    per_hour: float | None,
) -> Found:
    alarms = len(separate(fire(scores[-1], threshold, pace)))
    mean = garwood(alarms)
    hits, late_ms = [], []
    for number, audio in enumerate(positives):
        times = fire(scores[number], threshold, pace)
        inside, _ = assign(audio.places, times)
        hits.append(sum(map(bool, inside)))
        if number == 0:
            late_ms = [
                (times[indices[0]] - place.word[1]) / SAMPLE_RATE * 1000
                for place, indices in zip(audio.places, inside, strict=True)
                if indices
            ]
    clips = len(positives[0].places)
    return Found(
        per_hour=per_hour,
        threshold=threshold if threshold <= 1 else None,
        false_alarms=alarms,
        false_alarm_interval=Interval(mean.low / negatives.hours, mean.high / negatives.hours),
        hits=tuple(hits),
        intervals=tuple(wilson(count, clips) for count in hits),
        latency_median_ms=float(np.median(late_ms)) if late_ms else None,
        latency_p90_ms=float(np.quantile(late_ms, 0.9)) if late_ms else None,
    )


def _few(clips: Sequence[Clip], limit: int) -> list[Clip]:
    test = [clip for clip in clips if clip.role == ROLE]
    says = [clip for clip in test if clip.says(KEYWORD)]
    others = [clip for clip in test if not clip.mentions(KEYWORD)]
    apart = max(1, math.ceil(len(others) / limit))  # from all sources
    return [*says[:limit], *others[::apart]]


def _written(folder: Path, name: str, compose) -> Audio:  # type: ignore[no-untyped-def]
    pcm = folder / f"{name.replace(':', '-').replace(' ', '-')}.pcm"
    index = pcm.with_suffix(".json")
    if not index.is_file():
        _write(pcm, index, compose())
    places = tuple(
        Place(None, begin, end, (first, last))
        for begin, end, first, last in json.loads(index.read_text(encoding="utf-8"))
    )
    return Audio(name, pcm, places, folder.name)


def _write(pcm: Path, index: Path, stream: Stream) -> None:
    places = []
    with pcm.open("wb") as file:
        for place, samples in stream:
            file.write(np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tobytes())
            places.append((place.begin, place.end, *place.word))
        tail = round(GRACE * SAMPLE_RATE)  # so that every hop of the last place is heard
        file.write(bytes(2 * tail))
    index.write_text(json.dumps(places), encoding="utf-8")
