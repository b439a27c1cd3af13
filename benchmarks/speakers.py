"""How well a model tells voices: «same person?» on two clips, and enrolled voices at its threshold.

```
python benchmarks/speakers.py --model M --data DIR       measures; writes results/speakers.json, .md
python benchmarks/speakers.py --render                   writes speakers.md again
python benchmarks/speakers.py --draw --data DIR          writes the list of enrolments again
```

Pairs of clips are those of the distillation study (`distillation/speaker_trials.csv`). Enrolments
are in `results/speaker_enrolments.csv`: of each voice five clips to enroll with, up to five more of
its own, and ten of other people, of one word, or of several. All clips are of role test. Those of
a wake word are judged when its model's detector hears it, all others 0.2 s after their end. --model
may be given several times, for models whose voices the same net tells apart. Needs kwspot-export.
"""

import argparse
import csv
import dataclasses
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng

from kwspot.bench import machine
from kwspot.detector import KeywordDetector
from kwspot.enrolment import Enrolment
from kwspot.errors import KwspotError, VoiceError
from kwspot.features import FloatArray, LogMel
from kwspot.intervals import wilson
from kwspot.likeness import Likeness
from kwspot.loader import load_model
from kwspot.manifest import Clip, read_manifest, spoken
from kwspot.material import read_clip
from kwspot.model import Model, sha256_of
from kwspot.records import read_record
from kwspot.voice_net import VoiceEar, VoiceNet
from kwspot.voices import likeness_of, mean_voice, unit, voice_point, voice_teller

# The study's modules are commands, not a package: they find each other in their own folder.
sys.path.append(str(Path(__file__).parent / "distillation"))

from inputs import LEAD, SEED, window_at
from scoring import equal_error_rate
from trials import ARABIC, COMMANDS, UNSPOKEN, read_trials

RESULTS = Path(__file__).parent / "results" / "speakers.json"
ENROLMENTS = RESULTS.parent / "speaker_enrolments.csv"
MANIFEST = "manifest_real.csv"
COLUMNS = ("list", "voice", "use", "clip")
ENROL, OWN, OTHER = "enrol", "own", "other"
CLIPS, OWN_CLIPS, OTHER_CLIPS = 5, 5, 10
WAKE, ONE_WORD, ANY_WORDS = "wake word", "one word", "several words"


@dataclass(frozen=True)
class Voice:
    """A voice to enroll, by list and name, and the names of clips."""

    list: str
    name: str
    enrol: tuple[str, ...]
    own: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """Two clips, one person or two: equal error rate (%)."""

    list: str
    same: int
    different: int
    eer: float


@dataclass(frozen=True)
class Enrolled:
    """Enrolled voices at the model's threshold: clips, those heard, and how these were judged.

    `failed` voices could not be enrolled and are not among `voices`.
    """

    list: str
    voices: int
    failed: int
    own: int
    own_heard: int
    rejected: int
    others: int
    others_heard: int
    accepted: int


@dataclass(frozen=True)
class Report:
    """How well one net tells voices apart, at the detections of `models`.

    `limit` is how many pairs and voices of each list were taken, 0 for all.
    """

    where: str
    models: tuple[str, ...]
    net: str
    sha256: str
    threshold: float
    limit: int
    pairs: tuple[Pairs, ...]
    enrolled: tuple[Enrolled, ...]


def main() -> None:
    """Draw, measure or render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", action="append", help="model file, or name of an installed model"
    )
    parser.add_argument("--data", type=Path, help=f"folder with {MANIFEST}")
    parser.add_argument("--limit", type=int, default=0, help="pairs and voices of each list")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON; the table goes next")
    parser.add_argument("--draw", action="store_true", help="write the list of enrolments again")
    parser.add_argument("--render", action="store_true", help="write the table again")
    args = parser.parse_args()
    if not args.render and (args.data is None or (args.model is None and not args.draw)):
        parser.error("--model and --data, --draw and --data, or --render are needed")
    try:
        if args.draw:
            write_enrolments(draw_enrolments(read_manifest(args.data / MANIFEST)))
            return
        if not args.render:
            clips = read_manifest(args.data / MANIFEST)
            report = measure([load_model(name) for name in args.model], clips, args.limit)
            args.output.write_text(json.dumps(dataclasses.asdict(report), indent=1) + "\n")
        values = json.loads(args.output.read_text())
        report = read_record(Report, values, args.output.name, KwspotError)
        args.output.with_suffix(".md").write_text(table(report), encoding="utf-8")
    except (KwspotError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")


def draw_enrolments(clips: Sequence[Clip], seed: int = SEED) -> list[Voice]:
    """Draw the lists: wake words and single words by who says one often, several words by anyone.

    A voice has six clips at least.
    """
    rng = default_rng(seed)
    said: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    single: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    anything: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.role != "test" or not clip.speaker or clip.name.startswith(UNSPOKEN):
            continue
        word = spoken(clip.text)
        if clip.name.startswith("wake/"):
            said[clip.speaker, word].append(clip)
        elif clip.name.startswith((COMMANDS, ARABIC)):
            single[clip.speaker, word].append(clip)
            if clip.name.startswith(COMMANDS):
                anything[clip.speaker, ""].append(clip)
    lists = ((WAKE, said), (ONE_WORD, single), (ANY_WORDS, anything))
    return [voice for name, groups in lists for voice in _voices(name, groups, rng)]


def _voices(
    name: str, groups: dict[tuple[str, str], list[Clip]], rng: Generator
) -> Iterator[Voice]:
    for (speaker, word), own in sorted(groups.items()):
        others = [c for (s, w), them in groups.items() if s != speaker and w == word for c in them]
        if len(own) <= CLIPS or not others:
            continue
        drawn = [own[i].name for i in rng.permutation(len(own))[: CLIPS + OWN_CLIPS]]
        strangers = rng.permutation(len(others))[:OTHER_CLIPS]
        yield Voice(
            name,
            f"{speaker} {word}".strip(),
            tuple(drawn[:CLIPS]),
            tuple(drawn[CLIPS:]),
            tuple(others[i].name for i in strangers),
        )


def write_enrolments(voices: Sequence[Voice], path: Path = ENROLMENTS) -> None:
    """Write the list of enrolments, a row a clip."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for voice in voices:
            for use, names in ((ENROL, voice.enrol), (OWN, voice.own), (OTHER, voice.others)):
                writer.writerows((voice.list, voice.name, use, name) for name in names)


def read_enrolments(path: Path = ENROLMENTS) -> list[Voice]:
    """Read the list of enrolments; raise KwspotError for a file that is none."""
    uses: dict[tuple[str, str], dict[str, list[str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise KwspotError(f"{path.name} is no list of enrolments: its columns must be {COLUMNS}")
    for name, voice, use, clip in rows[1:]:
        by_use = uses.setdefault((name, voice), {ENROL: [], OWN: [], OTHER: []})
        by_use[use].append(clip)
    return [
        Voice(name, voice, tuple(by_use[ENROL]), tuple(by_use[OWN]), tuple(by_use[OTHER]))
        for (name, voice), by_use in uses.items()
    ]


def measure(models: Sequence[Model], clips: Sequence[Clip], limit: int = 0) -> Report:
    """Measure what tells voices apart at the detections of models; raise VoiceError for nothing."""
    by_name = {clip.name: clip for clip in clips if clip.role == "test"}
    teller, bar = voice_teller(models[0]), _Bar.of(models[0])
    if len({sha256_of(voice_teller(model)) for model in models}) > 1:
        raise VoiceError("the voices of these models are told apart by different nets")
    at_end = cache(lambda name: clip_voice(teller, read_clip(by_name[name])))
    found: list[Pairs] = []
    for name, folder in (("Speech Commands", COMMANDS), ("Arabic commands", ARABIC)):
        trials = [trial for trial in read_trials() if trial.a.startswith(folder)]
        # People take turns in the list: a part of each kind is a fair one.
        same, different = ([t for t in trials if t.target is kind] for kind in (True, False))
        same, different = same[: limit or None], different[: limit or None]
        alike = [
            np.array([bar.likeness(at_end(t.a), at_end(t.b)[None])[0] for t in kind])
            for kind in (same, different)
        ]
        found.append(Pairs(name, len(same), len(different), equal_error_rate(*alike)))
    enrolled = []
    listed = read_enrolments()
    for name in (ONE_WORD, ANY_WORDS):
        voices = [voice for voice in listed if voice.list == name][: limit or None]
        enrolled.append(_at_end(name, voices, at_end, bar))
    for model, keyword in ((m, k.label) for m in models for k in m.info.keywords):
        voices = [v for v in listed if v.list == WAKE and v.name.endswith(f" {spoken(keyword)}")]
        if voices:
            enrolled.append(_detected(model, keyword, voices[: limit or None], by_name, bar))
    place = machine()
    where = f"{place.cpu}, {place.system}, kwspot {place.kwspot} at {place.commit}, {place.date}"
    return Report(
        where,
        tuple(model.path.name for model in models),
        teller.path.name,
        sha256_of(teller),
        bar.threshold,
        limit,
        tuple(found),
        tuple(enrolled),
    )


def clip_voice(teller: Model | VoiceNet, samples: FloatArray) -> FloatArray:
    """Return the embedding (E,), of length 1, 0.2 s after the end of a clip (N,)."""
    window = window_at(samples, len(samples))
    if isinstance(teller, VoiceNet):
        ear = VoiceEar(teller, spare=0)
        ear.hear(window)
        return unit(ear.embedding(later=0))
    log_mel, size, state = (
        LogMel(teller.info.front_end),
        teller.info.step_samples,
        teller.fresh_state(),
    )
    for start in range(0, len(window) - LEAD, size):
        features = log_mel(window[start : start + LEAD + size])
        _, embedding, state = teller.step_and_embed(features, state)
    return unit(embedding[-1])


@dataclass(frozen=True)
class _Bar:
    """What a voice must reach to count as a profile's."""

    likeness: Likeness
    threshold: float

    @classmethod
    def of(cls, model: Model) -> "_Bar":
        return cls(likeness_of(model), voice_point(model).threshold)

    def passes(self, voice: FloatArray, profile: FloatArray) -> bool:
        return self.likeness(voice, profile[None])[0] >= self.threshold


def _at_end(
    name: str, voices: Sequence[Voice], embed: Callable[[str], FloatArray], bar: _Bar
) -> Enrolled:
    """Judge clips at their ends, all of which count as heard."""
    own, others = [], []
    for voice in voices:
        profile = mean_voice([embed(clip) for clip in voice.enrol])
        own += [bar.passes(embed(clip), profile) for clip in voice.own]
        others += [bar.passes(embed(clip), profile) for clip in voice.others]
    sizes = len(own), len(own), own.count(False), len(others), len(others), others.count(True)
    return Enrolled(name, len(voices), 0, *sizes)


def _detected(
    model: Model,
    keyword: str,
    voices: Sequence[Voice],
    by_name: dict[str, Clip],
    bar: _Bar,
) -> Enrolled:
    """Enroll as `kwspot enroll` does, and judge other clips by the detections in them."""
    enrolment, detector = Enrolment(model, keyword), KeywordDetector(model)
    before = np.zeros(model.info.receptive_field * model.info.front_end.hop, np.float32)
    noted: list[FloatArray] = []
    detector.recognise(lambda number, embedding: (noted.append(embedding), None))

    @cache
    def heard(name: str) -> FloatArray | None:
        noted.clear()
        hits = list(detector.listen([before, read_clip(by_name[name])]))
        found = [e for hit, e in zip(hits, noted, strict=True) if hit.keyword == keyword]
        return unit(found[0]) if found else None

    failed, counts = 0, np.zeros(6, int)
    for voice in voices:
        shown = [enrolment.hear(name, read_clip(by_name[name])) for name in voice.enrol]
        try:
            direction = np.array(enrolment.profile(shown)[0].direction, np.float32)
        except VoiceError:
            failed += 1
            continue
        own, others = (
            [bar.passes(e, direction) for e in map(heard, names) if e is not None]
            for names in (voice.own, voice.others)
        )
        counts += (
            *(len(voice.own), len(own), own.count(False)),
            *(len(voice.others), len(others), others.count(True)),
        )
    return Enrolled(f"{WAKE} {keyword}", len(voices) - failed, failed, *counts.tolist())


def table(report: Report) -> str:
    """Render a report as Markdown."""
    lines = [
        f"{report.net} (sha256 {report.sha256[:12]}), likeness from {report.threshold:.4f} on, "
        f"at detections of {', '.join(report.models)}",
        "",
        "| same person? | pairs of one | pairs of two | equal error rate, % |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [f"| {p.list} | {p.same} | {p.different} | {p.eer:.1f} |" for p in report.pairs]
    lines += [
        "",
        "| five clips enrolled, at the threshold | voices | could not be enrolled "
        "| others accepted, % | 95 % | owner rejected, % | 95 % "
        "| owner's clips heard and accepted, % | heard, % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in (*report.enrolled, *_together(report.enrolled)):
        heard_own = _share(row.own_heard, row.own)
        both = _share(row.own_heard - row.rejected, row.own)
        lines.append(
            f"| {row.list} | {row.voices} | {row.failed} "
            f"| {_with_interval(row.accepted, row.others_heard)} "
            f"| {_with_interval(row.rejected, row.own_heard)} | {both} | {heard_own} |"
        )
    lines += ["", f"{report.where}."]
    if report.limit:
        lines.append(f"Only {report.limit} pairs of each kind and voices of each list were taken.")
    lines += [
        "",
        "Accepted and rejected are shares of the clips that were heard: of the wake word, those in",
        "which it was detected. Intervals are Wilson's over clips. A convenience, no security.",
        "",
        "Made by `python benchmarks/speakers.py`.",
    ]
    return "\n".join(lines) + "\n"


def _together(rows: Sequence[Enrolled]) -> list[Enrolled]:
    """Sum up the wake words, where there are several."""
    wake = [dataclasses.astuple(row)[1:] for row in rows if row.list.startswith(WAKE)]
    if len(wake) < 2:
        return []
    return [Enrolled(f"{WAKE}s together", *map(sum, zip(*wake, strict=True)))]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "–"


def _with_interval(part: int, whole: int) -> str:
    if not whole:
        return "– | –"
    interval = wilson(part, whole)
    return f"{_share(part, whole)} | {100 * interval.low:.1f} to {100 * interval.high:.1f}"


if __name__ == "__main__":
    main()
