"""Compare what kwspot and its peers cost: same machine, same audio, same stopwatch, in turn.

```
python benchmarks/peers/run.py             measures; writes cost.json and cost.md
python benchmarks/peers/run.py --render    writes cost.md again
```

Every engine runs in an environment of its own that holds what it needs and nothing else, made on
the first run: what else is installed next to an engine can slow its start. The figures are those
of `kwspot bench`.
"""

import argparse
import importlib.metadata
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

from kwspot.bench import Engine, Report, benchmark, dump_report, parse_report
from kwspot.commands.bench import FIGURES, cells, conditions
from kwspot.errors import KwspotError
from kwspot.gate import VOICES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cost.json"
ENVIRONMENTS = ROOT / ".venv-peers"


@dataclass(frozen=True)
class Peer:
    """An engine by its pinned requirement, and the adapter in this folder that measures it."""

    requirement: str
    adapter: str
    model: str


PEERS = {
    "pymicro-wakeword": Peer("pymicro-wakeword==2.5.0", "pymicro.py", "alexa"),
}


def main() -> None:
    """Measure or render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON; the table goes next")
    parser.add_argument("--model", default=str(ROOT / "models" / "alexa.onnx"), help="kwspot's")
    parser.add_argument("--peer", action="append", choices=PEERS, help="default: all of them")
    parser.add_argument("--seconds", type=float, default=60.0, help="audio to hear")
    parser.add_argument("--runs", type=int, default=5, help="processes an engine")
    parser.add_argument("--vad", choices=VOICES, default="off", help="kwspot's gate")
    parser.add_argument("--input", help="a recording (default: synthetic speech)")
    parser.add_argument("--cache", type=Path, default=ENVIRONMENTS, help="environments")
    parser.add_argument("--render", action="store_true", help="only write the table again")
    args = parser.parse_args()
    try:
        if not args.render:
            engines = [_kwspot(args.model, args.vad, args.cache)]
            engines += [_peer(name, args.cache) for name in args.peer or PEERS]
            report = benchmark(
                engines, audio=args.input, seconds=args.seconds, vad=args.vad, runs=args.runs
            )
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(dump_report(report) + "\n", encoding="utf-8")
        text = args.output.read_text(encoding="utf-8")
        table = render(parse_report(text, args.output.name))
    except (KwspotError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    args.output.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table, end="")


def render(report: Report) -> str:
    """Write a report as a Markdown table with the conditions below it."""
    head = ["engine", *(title for title, _ in FIGURES.values())]
    rows = [head, ["---"] * len(head), *([r.name, *cells(r)] for r in report.results)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    steps = ", ".join(sorted({f"{r.runs[0].step_ms:.0f} ms" for r in report.results}))
    notes = [f"* {line}" for line in [*conditions(report), f"steps of {steps}"]]
    command = "Made by `python benchmarks/peers/run.py`."
    return "\n".join([*lines, "", *notes, "", command]) + "\n"


def _kwspot(model: str, vad: str, cache: Path) -> Engine:
    """Return this checkout's kwspot, next to its dependencies only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # The report names the versions of the process that writes it.
    same = [f"{name}=={importlib.metadata.version(name)}" for name in ("numpy", "onnxruntime")]
    python = _environment(cache / "kwspot", (*project["dependencies"], *same))
    command = (str(python), "-P", "-m", "kwspot.stopwatch", model, vad)
    name = f"kwspot {project['version']}, {Path(model).stem}"
    return Engine(name, command, {"PYTHONPATH": str(ROOT)})


def _peer(name: str, cache: Path) -> Engine:
    peer = PEERS[name]
    python = _environment(cache / name, (peer.requirement,))
    version = peer.requirement.partition("==")[2]
    command = (str(python), str(HERE / peer.adapter))
    return Engine(f"{name} {version}, {peer.model}", command, {"PYTHONPATH": None})


def _environment(folder: Path, requirements: tuple[str, ...]) -> Path:
    """Make a virtual environment, unless it is there; return its Python."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    made_of, wanted = folder / "requirements.txt", "\n".join(requirements)
    if not made_of.is_file() or made_of.read_text(encoding="utf-8") != wanted:
        venv.create(folder, clear=True, with_pip=True)
        pip = (str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        if subprocess.run([*pip, *requirements]).returncode:
            raise KwspotError(f"could not install {', '.join(requirements)}")
        made_of.write_text(wanted, encoding="utf-8")
    return python.absolute()


if __name__ == "__main__":
    main()
