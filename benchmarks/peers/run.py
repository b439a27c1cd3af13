"""Compare kwspot with its peers: same streams, same machine, same stopwatch, in turn.

```
python benchmarks/peers/run.py --data DIR    measures; writes peers.json, peers.md and peers.png
python benchmarks/peers/run.py --render      writes peers.md and peers.png again
```

Every engine runs in an environment of its own that holds what it needs and nothing else, made on
the first run. What has been heard stays in the cache, so an interrupted run goes on where it was;
cost is measured afresh. DIR holds manifest_real.csv (see export/README.md).
"""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from accuracy import CONDITIONS, Accuracy, Found, judge, prepare, scores_of
from environments import Installation, environment, installed_bytes

from kwspot.bench import Case, Engine, Report, benchmark
from kwspot.commands.bench import FIGURES, cells, conditions, measured
from kwspot.errors import KwspotError
from kwspot.records import read_record
from kwspot.scenes import SCENES
from kwspot.verifier import verifier_path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
CACHE = ROOT / ".venv-peers"
RATE = 0.5  # false alarms an hour of the table and the plot
PLOTTED = {"clean": "o", "babble:10": "s"}


@dataclass(frozen=True)
class Peer:
    """An engine other than ours: what to install, and the adapter in this folder."""

    version: str
    installation: Installation
    adapter: str


PEERS = {
    "pymicro-wakeword": Peer("2.5.0", Installation(("pymicro-wakeword==2.5.0",)), "pymicro.py"),
    # Alone: it asks for a TFLite runtime that does not exist for every Python.
    "openWakeWord": Peer(
        "0.5.1",
        Installation(("onnxruntime<2", "scipy", "scikit-learn", "tqdm"), ("openwakeword==0.5.1",)),
        "openwake.py",
    ),
    "wakeforge": Peer("0.3.0", Installation(("ovos-ww-plugin-wakeforge==0.3.0",)), "wakeforge.py"),
    # Alone: it asks for enum34, which breaks every Python of this decade.
    "Porcupine": Peer("1.9.5", Installation(("numpy",), ("pvporcupine==1.9.5",)), "porcupine.py"),
    "pocketsphinx": Peer("5.1.1", Installation(("pocketsphinx==5.1.1",)), "sphinx.py"),
}


@dataclass(frozen=True)
class Row:
    """An engine's results."""

    name: str
    model_bytes: int
    installed_bytes: int
    accuracy: Accuracy


@dataclass(frozen=True)
class Comparison:
    """All engines; `rows` in the order of the results of `cost`."""

    cost: Report
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Competitor:
    """An engine that is installed: its name, its adapter's command, and its environment."""

    name: str
    key: str
    command: tuple[str, ...]
    environment: dict[str, str | None]


def main() -> None:
    """Measure or render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with manifest_real.csv")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON; the rest goes next")
    parser.add_argument(
        "--model", action="append", help="kwspot's, can be repeated (default: models/alexa.onnx)"
    )
    parser.add_argument("--peer", action="append", choices=PEERS, help="default: all of them")
    parser.add_argument("--seconds", type=float, default=60.0, help="audio for cost")
    parser.add_argument("--runs", type=int, default=7, help="processes an engine for cost")
    parser.add_argument("--scene", choices=SCENES, default="speech", help="sound for cost")
    parser.add_argument("--cache", type=Path, default=CACHE, help="environments, streams, scores")
    parser.add_argument("--limit", type=int, help="so many clips of each kind only, for a trial")
    parser.add_argument("--render", action="store_true", help="only write table and plot again")
    args = parser.parse_args()
    if not args.render and args.data is None:
        parser.error("--data is needed: a folder with manifest_real.csv")
    try:
        if not args.render:
            result = compare(args)
            args.output.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(dataclasses.asdict(result), indent=1)
            args.output.write_text(text + "\n", encoding="utf-8")
        values = json.loads(args.output.read_text(encoding="utf-8"))
        result = read_record(Comparison, values, args.output.name, KwspotError)
    except (KwspotError, OSError, json.JSONDecodeError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    table = render(result)
    args.output.with_suffix(".md").write_text(table, encoding="utf-8")
    draw(result, args.output.with_suffix(".png"))
    print(table, end="")


def compare(args: argparse.Namespace) -> Comparison:
    """Let every engine hear everything, then measure what they cost."""
    models = args.model or [str(ROOT / "models" / "alexa.onnx")]
    competitors = [_ours(Path(model).resolve(), args.cache) for model in models]
    competitors += [_peer(name, args.cache) for name in args.peer or PEERS]
    _say("streams")
    audios = prepare(args.data / "manifest_real.csv", args.cache, args.limit)
    rows = []
    for one in competitors:
        variables = _variables(one)
        described = _describe(one, variables)
        scores = []
        for audio in audios:
            _say(f"{one.name}: {audio.name}")
            scores.append(scores_of(one.command, variables, audio, args.cache, one.key))
        accuracy = judge(audios, scores, described["hop"], described["threshold"])
        size = installed_bytes(Path(one.command[0]))
        rows.append(Row(one.name, described["model_bytes"], size, accuracy))
    _say("cost")
    cases = [
        Case(Engine(one.name, (*one.command, "cost"), one.environment), args.scene)
        for one in competitors
    ]
    return Comparison(benchmark(cases, seconds=args.seconds, runs=args.runs), tuple(rows))


def render(comparison: Comparison) -> str:
    """Write both tables as Markdown, with the conditions below."""
    pairs = list(zip(comparison.rows, comparison.cost.results, strict=True))
    head = ["engine", *(f"recall, {c}, %" for c in CONDITIONS), "threshold"]
    head += ["at its default: recall, clean, %", "false alarms an hour", "latency p50 / p90, ms"]
    head += ["model, kB", "installed, MB"]
    first = [head, *(_accuracy_row(row) for row, _ in pairs)]
    figures = measured(comparison.cost)
    second = [["engine", "a call, ms", *(FIGURES[f][0] for f in figures)]]
    second += [[r.name, f"{r.chunk_ms:g}", *cells(r, figures)] for _, r in pairs]
    some = comparison.rows[0].accuracy
    notes = [
        f"Recall is at a threshold with at most {RATE:g} false alarms an hour, chosen on this very "
        f"stream: for comparing only. {some.clips} clips, {some.hours:.2f} h of other sound, the "
        "streams of `kwspot eval`, gates off, one decision for all (armed again below half the "
        "threshold and after 1 s). In brackets: 95 % by clip (Wilson), by event (exact Poisson). "
        "Latency is from the word's end to the end of the call that fired, at that threshold. "
        "Porcupine and pocketsphinx tell no scores: their thresholds stand for the highest "
        "sensitivity of eleven and the laxest likelihood of three.",
    ]
    cost = [f"* {line}" for line in conditions(comparison.cost)]
    parts = [_piped(first), *notes, _piped(second), "\n".join(cost)]
    parts.append("Made by `python benchmarks/peers/run.py --data DIR`.")
    return "\n\n".join(parts) + "\n"


def draw(comparison: Comparison, path: Path) -> None:
    """Plot recall at RATE false alarms an hour against CPU."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, (row, cost) in enumerate(
        zip(comparison.rows, comparison.cost.results, strict=True)
    ):
        found = _at(row.accuracy, RATE)
        cpu = cost.summary["cpu_ms_per_s"].median
        for condition, marker in PLOTTED.items():
            place = CONDITIONS.index(condition)
            recall, span = 100 * found.hits[place] / row.accuracy.clips, found.intervals[place]
            axes.errorbar(
                [cpu],
                [recall],
                yerr=[[max(0, recall - 100 * span.low)], [max(0, 100 * span.high - recall)]],
                fmt=marker,
                color=f"C{number}",
                capsize=3,
                label=f"{row.name}, {condition}",
            )
    axes.set_xscale("log")
    axes.set_xlabel("CPU, ms a second of audio")
    axes.set_ylabel(f"recall at {RATE:g} false alarms an hour, %, with 95 % intervals")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=120)


def _accuracy_row(row: Row) -> list[str]:
    accuracy, found = row.accuracy, _at(row.accuracy, RATE)
    shares = [
        f"{100 * hits / accuracy.clips:.1f} ({100 * span.low:.1f}-{100 * span.high:.1f})"
        for hits, span in zip(found.hits, found.intervals, strict=True)
    ]
    default = accuracy.default
    span = default.false_alarm_interval
    late = (found.latency_median_ms, found.latency_p90_ms)
    return [
        row.name,
        *shares,
        "none" if found.threshold is None else f"{found.threshold:.3f}",
        f"{100 * default.hits[0] / accuracy.clips:.1f}",
        f"{default.false_alarms / accuracy.hours:.2f} ({span.low:.2f}-{span.high:.2f})",
        " / ".join("-" if value is None else f"{value:.0f}" for value in late),
        f"{row.model_bytes / 1000:.0f}",
        f"{row.installed_bytes / 1e6:.0f}",
    ]


def _at(accuracy: Accuracy, per_hour: float) -> Found:
    return next(found for found in accuracy.matched if found.per_hour == per_hour)


def _piped(table: list[list[str]]) -> str:
    rows = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _ours(model: Path, cache: Path) -> Competitor:
    """Return this checkout's kwspot, next to its dependencies only."""
    if not model.is_file():
        raise KwspotError(f"there is no model file {model}")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # The report names the versions of the process that writes it.
    same = [f"{name}=={importlib.metadata.version(name)}" for name in ("numpy", "onnxruntime")]
    wanted, folder, name = [*project["dependencies"], *same], "kwspot", model.name
    if model.suffix == ".tflite":
        # As light as it can be: LiteRT instead of ONNX Runtime, and so no verifier.
        wanted = [one for one in wanted if not one.startswith("onnxruntime")]
        wanted, folder, name = [*wanted, "ai-edge-litert"], "kwspot-litert", f"{name} alone"
    python = environment(cache / folder, Installation(tuple(wanted)))
    code = hashlib.sha256(model.read_bytes())
    beside = [file for file in (verifier_path(model),) if file.is_file()]
    for file in (*beside, *sorted((ROOT / "kwspot").glob("*.py"))):  # what has changed: heard again
        code.update(file.read_bytes())
    return Competitor(
        f"kwspot {project['version']}, {name}",
        f"kwspot {code.hexdigest()}",
        (str(python), str(HERE / "ours.py")),
        {"PYTHONPATH": None, "KWSPOT_MODEL": str(model)},
    )


def _peer(name: str, cache: Path) -> Competitor:
    peer = PEERS[name]
    python = environment(cache / name, peer.installation)
    adapter = HERE / peer.adapter
    code = hashlib.sha256(adapter.read_bytes() + (HERE / "adapter.py").read_bytes())
    return Competitor(
        f"{name} {peer.version}",
        f"{name} {peer.version} {code.hexdigest()}",
        (str(python), str(adapter)),
        {"PYTHONPATH": None},
    )


def _variables(one: Competitor) -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    variables = os.environ | threads | one.environment
    return {name: value for name, value in variables.items() if value is not None}


def _describe(one: Competitor, variables: dict[str, str]) -> dict:
    command = [*one.command, "describe"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise KwspotError(f"{one.name}: {words[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
