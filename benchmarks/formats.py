"""What a model's file format costs: bytes, parity, recall and false alarms, a row a format.

```
python benchmarks/formats.py --data DIR        measures; writes results/formats.json and .md
python benchmarks/formats.py --render          writes formats.md again
```

Parity is of the posteriors over the stream of clean test keywords, against the float ONNX file.
Recall and false alarms are those of `kwspot eval`, as users get them, and of `--no-verify`, with
the model's own thresholds; of a model with several words, recall is that of all their clips, and
false alarms are of sound in which none is said. Rows that are in formats.json with the hash of
today's file are kept; of «hey jarvis», test clips are in DIR/hey_jarvis.csv (see
benchmarks/README.md).
"""

import argparse
import dataclasses
import functools
import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kwspot.bench import machine
from kwspot.conditions import Condition, parse_condition
from kwspot.detector import KeywordDetector
from kwspot.evaluation import evaluate
from kwspot.features import SAMPLE_RATE, FloatArray, LogMel
from kwspot.framer import Framer
from kwspot.hearing import Options
from kwspot.hits import heard_words
from kwspot.loader import load_model
from kwspot.manifest import Clip, read_manifests
from kwspot.material import choose_material
from kwspot.model import Model
from kwspot.modelfile import ModelInfo
from kwspot.records import read_record
from kwspot.selftest import judge
from kwspot.streams import Place, Stream, negative_stream, positive_stream
from kwspot.thresholds import separate
from kwspot.verifier import verifier_digest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "formats.json"
MODELS = ("alexa", "computer", "jarvis", "hey_jarvis", "commands")
FORMATS = {  # in the order of the table: the first is what the others are held against
    "ONNX float": "{}.onnx",
    "ONNX int8": "{}-int8.onnx",
    "TFLite float": "{}.tflite",
    "TFLite int8": "{}-int8.tflite",
}
CONDITIONS = ("clean", "babble:10")
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
    parser.add_argument("--render", action="store_true", help="write the table again")
    args = parser.parse_args()
    if args.data is None and not args.render:
        parser.error("--data or --render is needed")
    known = _read(args.output)
    if not args.render:
        for model in MODELS:
            bench = _Bench(args.data, model)
            for (name, pattern), verify in itertools.product(FORMATS.items(), (True, False)):
                path = ROOT / "models" / pattern.format(model)
                key = (_sha256(path), verifier_digest(load_model(path)) if verify else "")
                if verify and not key[1]:
                    continue
                if any((row.sha256, row.verifier) == key for row in known.rows):
                    continue
                row = bench.measure(path, name, *key)
                place = (row.model, row.format, bool(row.verifier))
                kept = [r for r in known.rows if (r.model, r.format, bool(r.verifier)) != place]
                known = Report(_where(), (*kept, row))
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


class _Bench:
    """Measures the files of one model, all held against its float ONNX file."""

    def __init__(self, data: Path, model: str) -> None:
        names = ["manifest_real.csv", f"{model}.csv"]  # the second for words that nobody recorded
        self._clips = read_manifests([data / name for name in names if (data / name).exists()])
        self._model = model

    def measure(self, path: Path, name: str, sha256: str, verifier: str) -> Row:
        loaded = load_model(path)
        features, expected = self._reference
        difference = np.abs(_posteriors(loaded, features) - expected)
        several = len(loaded.info.keywords) > 1
        heard = _several if several else functools.partial(_one, verify=bool(verifier))
        return Row(
            model=self._model,
            format=name,
            sha256=sha256,
            verifier=verifier,
            runtime=loaded.runtime,
            size=path.stat().st_size,
            largest=float(difference.max()),
            mean=float(difference.mean()),
            self_test=judge(loaded).difference,
            **heard(loaded, self._clips),
        )

    @functools.cached_property
    def _reference(self) -> tuple[list[FloatArray], FloatArray]:
        """The steps of the clean keywords, and the float file's posteriors of them."""
        reference = load_model(ROOT / "models" / FORMATS["ONNX float"].format(self._model))
        features = _features(self._clips, reference.info)
        return features, _posteriors(reference, features)


def _one(model: Model, clips: list[Clip], verify: bool) -> dict[str, Any]:
    """Judge a model of one word as `kwspot eval` does."""
    conditions = tuple(parse_condition(text) for text in CONDITIONS)
    result = evaluate(model, clips, Options(conditions=conditions, verify=verify))
    return {
        "clips": result.recalls[0].clips,
        "hits": {recall.condition: recall.hits for recall in result.recalls},
        "false_alarms": len(result.false_alarms.events),
        "hours": result.false_alarms.hours,
    }


def _several(model: Model, clips: list[Clip]) -> dict[str, Any]:
    """Judge all words of a model together, by the streams of `kwspot eval`."""
    words = [keyword.label for keyword in model.info.keywords]
    materials = {word: choose_material(clips, word, "test") for word in words}
    hits = dict.fromkeys(CONDITIONS, 0)
    for condition, (word, material) in itertools.product(CONDITIONS, materials.items()):
        places, times = _listen(
            model, positive_stream(material, parse_condition(condition), 0), word
        )
        hits[condition] += sum(heard_words(places, times))
    material = materials[words[0]]
    others = [c for c in material.negatives if not any(c.mentions(word) for word in words)]
    stream = negative_stream(dataclasses.replace(material, negatives=tuple(others)), 0)
    places, times = _listen(model, stream, *words)
    return {
        "clips": sum(len(material.positives) for material in materials.values()),
        "hits": hits,
        "false_alarms": len(separate(times)),
        "hours": sum(p.word[1] - p.word[0] for p in places) / SAMPLE_RATE / 3600,
    }


def _listen(model: Model, stream: Stream, *words: str) -> tuple[list[Place], list[int]]:
    """Return the places of a stream and when one of the words was detected, in samples."""
    detector, places, times = KeywordDetector(model), [], []
    for place, samples in stream:
        places.append(place)
        found = [hit for hit in detector.process(samples) if hit.keyword in words]
        times += [round(hit.end * SAMPLE_RATE) for hit in found]
    return places, times


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _features(clips: list[Clip], info: ModelInfo) -> list[FloatArray]:
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
            "| recall clean, % | in 10 dB babble, % | false alarms an hour | run by |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
            *(_line(row) for row in rows),
            "",
        ]
    clips = {row.model: row.clips for row in report.rows}
    counted = ", ".join(f"{count} of {model}" for model, count in sorted(clips.items()))
    lines += [f"Recall of test clips: {counted}. {report.where}.", ""]
    lines += ["Made by `python benchmarks/formats.py --data DIR`."]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    recalls = " | ".join(f"{100 * row.hits[c] / row.clips:.1f}" for c in CONDITIONS)
    return (
        f"| {row.model} | {row.format} | {row.size / 1000:.1f} | {row.largest:.2g} "
        f"| {row.mean:.2g} | {recalls} "
        f"| {row.false_alarms / row.hours:.2f} ({row.false_alarms} in {row.hours:.2f} h) "
        f"| {row.runtime} |"
    )


if __name__ == "__main__":
    main()
