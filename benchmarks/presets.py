"""Whether the presets keep what they promise: on sound never used, and on role test.

```
python benchmarks/debian_speech.py DIR     collects that sound: DIR/manifest_debian.csv
python benchmarks/presets.py --data DIR    hears it; writes results/presets.json and .md.
                                           What today's files heard already is kept
python benchmarks/presets.py               writes presets.md again
```

What role test gave comes from results/MODEL.json, of `kwspot eval`. A few hours hold less than one
of 0.1 false alarms an hour: several models tell more than one. They hear the same sound, so that
their false alarms are not quite independent, and the intervals are a little too narrow.
"""

import argparse
import json
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from debian_speech import MANIFEST

from kwspot.bench import machine
from kwspot.detector import KeywordDetector
from kwspot.hearing import NEGATIVES, Heard, Hearing
from kwspot.intervals import garwood
from kwspot.loader import find_model, load_model
from kwspot.manifest import Clip, read_manifest, spoken
from kwspot.material import Material
from kwspot.model import sha256_of
from kwspot.operating import presets
from kwspot.streams import negative_stream
from kwspot.thresholds import fire, separate
from kwspot.verifier import verifier_digest

RESULTS = Path(__file__).parent / "results"
MODELS = ("alexa", "computer", "jarvis", "hey_jarvis")
FIRST = {  # packages that none of these words had heard when it was made
    "asterisk-prompt-es-co",
    "asterisk-prompt-fr-armelle",
    "asterisk-prompt-it-menardi-wav",
    "klettres-data",
    "ktuberling-data",
}
SOUND = {
    "first": """\
Announcements, letters, syllables and words of Debian's packages, which none of these words or
their verifiers had heard when they were made""",
    "again": """\
Dialogue and announcements of Debian's packages, on which nothing was trained or fitted, but
which earlier verifiers of these words had heard""",
    "role test": """\
The streams of role test, on which no threshold was chosen, but which were looked at before""",
    "all": "All of it",
}
SAID = {"computer": "debian/beneath-a-steel-sky/"}  # where a word is said, nobody wrote down when

Result = dict[str, Any]


def main() -> None:
    """Hear the sound, or read what was heard, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help=f"folder with {MANIFEST}")
    parser.add_argument(
        "--model", action="append", choices=MODELS, help="let this one hear it again"
    )
    parser.add_argument("--workers", type=int, default=2, help="models heard at a time")
    args = parser.parse_args()
    path = RESULTS / "presets.json"
    if args.data is not None:
        clips = [clip for clip in read_manifest(args.data / MANIFEST) if clip.role == "test"]
        results = _read(path.name)
        parts = {
            "first": [clip for clip in clips if clip.source in FIRST],
            "again": [clip for clip in clips if clip.source not in FIRST],
        }
        with ProcessPoolExecutor(args.workers) as pool:
            for part, some in parts.items():
                names = args.model or [n for n in MODELS if not is_current(n, results[part])]
                heard = pool.map(partial(hear, clips=some), names)
                results[part] |= zip(names, heard, strict=True)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "presets.md").write_text(page(), encoding="utf-8")


def hear(name: str, clips: list[Clip]) -> Result:
    """Count the false alarms of a model at its presets, without a gate; name those at the last."""
    model = load_model(find_model(name))
    detector = KeywordDetector(model, vad="off")
    info, label = detector.info, detector.info.keywords[0].label
    said = SAID.get(label)
    others = tuple(
        clip
        for clip in clips
        if label not in spoken(clip.text)  # nor in a longer word, as Dutch likes them
        and not (said and clip.name.startswith(said))
    )
    places, scores = [], []
    for place, samples in negative_stream(Material((), others, (), ()), seed=0):
        places.append(place)
        scores.append(detector.score(samples)[:, 0])
    negatives = Heard(NEGATIVES, tuple(places), (), np.concatenate(scores))
    found = presets(Hearing(info, label, 0.0, (), negatives), None)
    times = fire(negatives.scores, found[-1].threshold, info)
    ends = [place.end for place in places]
    return {
        "machine": asdict(machine()),
        "file": model.path.name,
        "sha256": sha256_of(model),
        "verifier": verifier_digest(model),
        "false_alarms": {"hours": negatives.hours},
        "presets": [asdict(preset) for preset in found],
        "events": [
            {
                "clip": places[bisect_left(ends, times[index])].clip.name,
                "score": float(negatives.scores[times[index] // info.output_samples - 1]),
            }
            for index in separate(times)
        ],
    }


def page() -> str:
    """Render a table for each kind of sound, and one of all, from the result files."""
    results = _read("presets.json")
    results["role test"] = {name: _read(f"{name}.json")["result"] for name in MODELS}
    results["all"] = {name: together([part[name] for part in results.values()]) for name in MODELS}
    places = dict.fromkeys(
        f"{result['machine']['kwspot']} at {result['machine']['commit']}, "
        f"{result['machine']['date']}"
        for part in ("first", "again")
        for result in results[part].values()
    )
    lines = [
        "False alarms at the models' presets, counted, and promised in brackets, without a",
        "gate. Intervals are Poisson's. Debian's packages are those of `debian_speech.py`.",
        "",
    ]
    for part, sound in SOUND.items():
        lines += [f"{sound}:", "", *table(results[part]), ""]
    made = (
        f"Debian's packages by kwspot {'; '.join(places)}. Made by `python benchmarks/presets.py`."
    )
    return "\n".join([*lines, made, ""])


def together(results: Sequence[Result]) -> Result:
    """Sum what a model did in several kinds of sound."""
    points = zip(*(result["presets"] for result in results), strict=True)
    return {
        "false_alarms": {"hours": sum(result["false_alarms"]["hours"] for result in results)},
        "presets": [
            some[0] | {"false_alarms": sum(point["false_alarms"] for point in some)}
            for some in points
        ],
    }


def table(results: dict[str, Result]) -> list[str]:
    """Render what the presets of models promise and what was counted, word by word and together."""
    hours = {name: result["false_alarms"]["hours"] for name, result in results.items()}
    names = " | ".join(f"{name}, {hours[name]:.2f} h" for name in results)
    lines = [
        f"| preset | promised an hour | {names} | all, {sum(hours.values()):.2f} h "
        "| measured an hour | 95 % | measured / promised |",
        "| --- | ---: |" + " ---: |" * (len(results) + 4),
    ]
    for points in zip(*(result["presets"] for result in results.values()), strict=True):
        promised = points[0]["promised"]
        if any(point["promised"] != promised for point in points):
            raise ValueError("the models' presets promise different things")
        counts = [point["false_alarms"] for point in points]
        count, time = sum(counts), sum(hours.values())
        cells = [
            f"{own} ({promised * hours[name]:.1f})"
            for own, name in zip(counts, results, strict=True)
        ]
        interval = garwood(count)
        lines.append(
            f"| {points[0]['sensitivity']} | {promised:g} | {' | '.join(cells)} "
            f"| {count} ({promised * time:.1f}) | {count / time:.2f} "
            f"| {interval.low / time:.2f} to {interval.high / time:.2f} "
            f"| {count / time / promised:.2f} |"
        )
    return lines


def is_current(name: str, results: dict[str, Result]) -> bool:
    """Tell whether the result of a model is of the files that are installed today."""
    model = load_model(find_model(name))
    files = {"sha256": sha256_of(model), "verifier": verifier_digest(model)}
    return results.get(name, {}).items() >= files.items()


def _read(name: str) -> Result:
    result: Result = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return result


if __name__ == "__main__":
    main()
