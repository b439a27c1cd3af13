"""What a model's file format costs: bytes, parity, recall and false alarms, a row a format.

```
python benchmarks/formats.py --data DIR        measures; writes results/formats.json and .md
python benchmarks/formats.py --render          writes formats.md again
```

Parity is of the posteriors over the stream of clean test keywords, against the float ONNX file.
Recall and false alarms are of the streams of `kwspot eval`, at medium sensitivity and without a
gate; of a model with several words, recall is that of all their clips, and false alarms are of
sound in which none is said. A hundred clips cannot tell half a point, so that files are compared
by all trials: every clip in every condition. All formats of a model hear a stream at once, with
their verifier and without it. Models of which all rows in formats.json are of today's files are
kept; of «hey jarvis», test clips are in DIR/hey_jarvis.csv (see benchmarks/README.md).
"""

import argparse
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from kwspot.bench import machine
from kwspot.conditions import SNRS_DB, Condition
from kwspot.detector import KeywordDetector
from kwspot.features import SAMPLE_RATE, FloatArray, LogMel
from kwspot.framer import Framer
from kwspot.hits import heard_words
from kwspot.loader import load_model
from kwspot.manifest import Clip, read_manifests
from kwspot.material import choose_material
from kwspot.model import Model, sha256_of
from kwspot.modelfile import ModelInfo
from kwspot.records import read_record
from kwspot.selftest import judge
from kwspot.streams import Place, Stream, negative_stream, positive_stream
from kwspot.thresholds import separate
from kwspot.verifier import verifier_digest
from kwspot.verifier_net import VerifierNet

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "formats.json"
MODELS = ("alexa", "computer", "jarvis", "hey_jarvis", "commands")
FORMATS = {  # in the order of the table: the first is what the others are held against
    "ONNX float": "{}.onnx",
    "ONNX int8": "{}-int8.onnx",
    "TFLite float": "{}.tflite",
    "TFLite int8": "{}-int8.tflite",
}
KINDS = "babble", "noise"
CONDITIONS = (Condition(), *(Condition(kind, snr) for kind in KINDS for snr in SNRS_DB))
SHOWN = {"clean": "recall clean, %", "babble:10": "in 10 dB babble, %"}
REMEMBERED = 200  # answers of the verifiers' net: more than it gives in one place of a stream
TABLES = {"With the verifier, as installed": True, "Without it": False}


@dataclass(frozen=True)
class Row:
    """One file. `largest` and `mean` are differences of posteriors from the float ONNX file's.

    `sha256` is that of the file, and `verifier` of the file that verified it, "" where none did.
    """

    model: str
    format: str
    sha256: str
    verifier: str
    runtime: str
    size: int
    largest: float
    mean: float
    self_test: float
    clips: int
    hits: dict[str, int]  # by condition
    false_alarms: int
    hours: float


@dataclass(frozen=True)
class Report:
    """All rows, and in words where and by which kwspot the last of them was measured."""

    where: str
    rows: tuple[Row, ...]


def main() -> None:
    """Measure or render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with manifest_real.csv")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON; the table goes next")
    parser.add_argument(
        "--model", action="append", choices=MODELS, help="measure this one only (default: all)"
    )
    parser.add_argument("--workers", type=int, default=2, help="models heard at a time")
    parser.add_argument("--render", action="store_true", help="write the table again")
    args = parser.parse_args()
    if args.data is None and not args.render:
        parser.error("--data or --render is needed")
    known = _read(args.output)
    if not args.render:
        stale = [model for model in args.model or MODELS if not _current(model, known)]
        with ProcessPoolExecutor(args.workers) as pool:
            measured = pool.map(functools.partial(_measure, data=args.data), stale)
            for model, rows in zip(stale, measured, strict=True):
                others = [row for row in known.rows if row.model != model]
                known = Report(_where(), (*others, *rows))
                args.output.write_text(json.dumps(dataclasses.asdict(known), indent=1) + "\n")
    args.output.with_suffix(".md").write_text(_table(known), encoding="utf-8")


def _read(path: Path) -> Report:
    if not path.exists():
        return Report(_where(), ())
    return read_record(Report, json.loads(path.read_text()), str(path), ValueError)


def _where() -> str:
    place = machine()
    return (
        f"{place.cpu}, {place.system}, Python {place.python}, numpy {place.numpy}, "
        f"kwspot {place.kwspot} at {place.commit}, {place.date}"
    )


@dataclass(frozen=True)
class _File:
    """A model file and what hears its detections again, "" where nothing does."""

    format: str
    path: Path
    sha256: str
    verifier: str


def _files(model: str) -> list[_File]:
    """List the files of a model: each with its verifier, where it has one, and without it."""
    files = []
    for name, pattern in FORMATS.items():
        loaded = load_model(ROOT / "models" / pattern.format(model))
        verifiers = sorted({verifier_digest(loaded), ""}, reverse=True)
        files += [_File(name, loaded.path, sha256_of(loaded), one) for one in verifiers]
    return files


def _current(model: str, known: Report) -> bool:
    rows = {(row.sha256, row.verifier) for row in known.rows if row.model == model}
    return rows == {(file.sha256, file.verifier) for file in _files(model)}


def _measure(model: str, data: Path) -> list[Row]:
    files = _files(model)
    names = ["manifest_real.csv", f"{model}.csv"]  # the second for words that nobody recorded
    clips = read_manifests([data / name for name in names if (data / name).exists()])
    loaded = {file.path: load_model(file.path) for file in files}
    reference, *_ = loaded.values()  # ONNX float
    features = _features(clips, reference.info)
    expected = _posteriors(reference, features)
    apart = {p: np.abs(_posteriors(one, features) - expected) for p, one in loaded.items()}
    detectors = [
        KeywordDetector(loaded[file.path], vad="off", verify=bool(file.verifier)) for file in files
    ]
    with mock.patch.object(VerifierNet, "__call__", _remembering(VerifierNet.__call__)):
        heard_by_each = hear(detectors, clips)
    return [
        Row(
            model=model,
            format=file.format,
            sha256=file.sha256,
            verifier=file.verifier,
            runtime=loaded[file.path].runtime,
            size=file.path.stat().st_size,
            largest=float(apart[file.path].max()),
            mean=float(apart[file.path].mean()),
            self_test=judge(loaded[file.path]).difference,
            **dataclasses.asdict(heard),
        )
        for file, heard in zip(files, heard_by_each, strict=True)
    ]


def _remembering(
    call: Callable[[VerifierNet, FloatArray], FloatArray],
) -> Callable[[VerifierNet, FloatArray], FloatArray]:
    """Answer from memory what was asked before: the files of a model ask nearly alike."""

    @functools.lru_cache(REMEMBERED)
    def answer(net: VerifierNet, samples: bytes) -> FloatArray:
        return call(net, np.frombuffer(samples, np.float32))

    return lambda net, samples: answer(net, samples.tobytes())


@dataclass
class Heard:
    """What a detector made of the streams."""

    clips: int
    hits: dict[str, int]
    false_alarms: int
    hours: float


def hear(detectors: Sequence[KeywordDetector], clips: Sequence[Clip]) -> list[Heard]:
    """Let detectors of the same words hear the streams of `kwspot eval`, all at once.

    A stream of keywords counts their own word only, that of other sound all words.
    """
    words = [keyword.label for keyword in detectors[0].info.keywords]
    materials = {word: choose_material(clips, word, "test") for word in words}
    material = materials[words[0]]
    others = [c for c in material.negatives if not any(c.mentions(word) for word in words)]
    stream = negative_stream(dataclasses.replace(material, negatives=tuple(others)), 0)
    places, times = _listen(detectors, stream, words)
    hours = sum(p.word[1] - p.word[0] for p in places) / SAMPLE_RATE / 3600
    count = sum(len(material.positives) for material in materials.values())
    none = dict.fromkeys(map(str, CONDITIONS), 0)
    found = [Heard(count, dict(none), len(separate(t)), hours) for t in times]
    for condition, (word, material) in itertools.product(CONDITIONS, materials.items()):
        stream = positive_stream(material, condition, 0)
        places, times = _listen(detectors, stream, [word])
        for heard, own in zip(found, times, strict=True):
            heard.hits[str(condition)] += sum(heard_words(places, own))
    return found


def _listen(
    detectors: Sequence[KeywordDetector], stream: Stream, words: Sequence[str]
) -> tuple[list[Place], list[list[int]]]:
    """Return the places of a stream, and when each detector heard one of `words`, in samples."""
    places: list[Place] = []
    times: list[list[int]] = [[] for _ in detectors]
    for detector in detectors:
        detector.reset()
    for place, samples in stream:
        places.append(place)
        for detector, own in zip(detectors, times, strict=True):
            found = [hit for hit in detector.process(samples) if hit.keyword in words]
            own += [round(hit.end * SAMPLE_RATE) for hit in found]
    return places, times


def _features(clips: Sequence[Clip], info: ModelInfo) -> list[FloatArray]:
    """Compute the features of the stream of clean keywords, step by step."""
    material = choose_material(clips, info.keywords[0].label, "test")
    front_end, log_mel = info.front_end, LogMel(info.front_end)
    framer = Framer(front_end.window - front_end.hop, info.step_samples, 1)
    steps = []
    for _, samples in positive_stream(material, Condition("clean"), 0):
        while len(samples):
            samples = samples[framer.write(samples) :]
            if framer.blocks:
                steps.append(log_mel(framer.read()).copy())
    return steps


def _posteriors(model: Model, features: list[FloatArray]) -> FloatArray:
    state, outputs = model.fresh_state(), []
    for step in features:
        posteriors, state = model.step(step, state)
        outputs.append(posteriors)
    return np.concatenate(outputs)


def _table(report: Report) -> str:
    lines = []
    for title, verified in TABLES.items():
        rows = [row for row in report.rows if bool(row.verifier) == verified]
        rows.sort(key=lambda row: (MODELS.index(row.model), list(FORMATS).index(row.format)))
        lines += [
            f"{title}:",
            "",
            "| model | format | kB | posteriors differ by at most | on average "
            f"| {' | '.join(SHOWN.values())} | in all trials, % | false alarms an hour | run by |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
            *(_line(row) for row in rows),
            "",
        ]
    clips = {row.model: row.clips for row in report.rows}
    counted = ", ".join(f"{count} of {model}" for model, count in sorted(clips.items()))
    trials = f"clean and in {' and '.join(KINDS)} at {', '.join(f'{s:g}' for s in SNRS_DB)} dB"
    lines += [f"Recall of test clips: {counted}; trials are these {trials}. {report.where}.", ""]
    lines += ["Made by `python benchmarks/formats.py --data DIR`."]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    of_all = sum(row.hits.values()) / len(row.hits)
    recalls = " | ".join(
        f"{100 * hits / row.clips:.1f}" for hits in (*(row.hits[c] for c in SHOWN), of_all)
    )
    return (
        f"| {row.model} | {row.format} | {row.size / 1000:.1f} | {row.largest:.2g} "
        f"| {row.mean:.2g} | {recalls} "
        f"| {row.false_alarms / row.hours:.2f} ({row.false_alarms} in {row.hours:.2f} h) "
        f"| {row.runtime} |"
    )


if __name__ == "__main__":
    main()
