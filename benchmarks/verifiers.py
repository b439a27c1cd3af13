"""What verifiers cost: how often their net runs, and what a run and the loading take.

```
python benchmarks/verifiers.py --data DIR --model alexa --model jarvis   writes results/verifiers.*
```

The sound is that without the keyword of role test, as `kwspot eval` has it: dense speech, hours of
it. What verifiers do to recall and false alarms: `kwspot eval`, with and without `--no-verify`.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kwspot.bench import machine
from kwspot.detector import KeywordDetector
from kwspot.features import SAMPLE_RATE
from kwspot.loader import find_model, load_model
from kwspot.manifest import read_manifests
from kwspot.material import choose_material
from kwspot.streams import negative_stream
from kwspot.verifier import find_verifier
from kwspot.verifier_net import probe_samples

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "verifiers.json"
RUNS = 30
# What a process of its own holds before and after the first run of the net, in MiB, and seconds.
FIRST = """
import re, sys, time
from pathlib import Path
import numpy as np
from kwspot.detector import KeywordDetector

def peak():  # ru_maxrss may be that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

detector = KeywordDetector(sys.argv[1], vad="off")
detector.process(np.zeros(32_000, np.float32))
before = peak()
begun = time.perf_counter()
from kwspot.verifier_net import installed_net, probe_samples
net = installed_net(sys.argv[2])
net(probe_samples(net.info.samples))
print(before, peak(), time.perf_counter() - begun)
"""


@dataclass(frozen=True)
class Row:
    """One model: runs of the net an hour of other sound, and their CPU a second of it, ms."""

    model: str
    candidate: float
    hours: float
    candidates_per_hour: float
    runs_per_hour: float
    cpu_ms_per_s: float
    rss_before_mib: float
    rss_after_mib: float
    first_s: float


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest_real.csv")
    parser.add_argument("--model", action="append", required=True, help="can be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON; the table goes next")
    args = parser.parse_args()
    run_ms = _milliseconds(args.model[0])
    rows = [_row(name, args.data, run_ms) for name in args.model]
    found = {"machine": asdict(machine()), "run_ms": run_ms, "rows": [asdict(row) for row in rows]}
    args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = _table(rows, run_ms)
    args.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def _milliseconds(model: str) -> float:
    """Return the least CPU time of a run of the net; other runs had to wait for something."""
    verifier = find_verifier(load_model(model))
    assert verifier is not None, f"{model} has no verifier"
    samples, spent = probe_samples(verifier.info.samples), []
    for _ in range(RUNS):
        begun = time.process_time()
        verifier.logit(verifier.net(samples))
        spent.append(time.process_time() - begun)
    return min(spent) * 1000


def _row(name: str, data: Path, run_ms: float) -> Row:
    model = load_model(name)
    verifier = find_verifier(model)
    assert verifier is not None, f"{name} has no verifier"
    keyword = model.info.keywords[0].label
    material = choose_material(read_manifests([data / "manifest_real.csv"]), keyword, "test")
    detector = KeywordDetector(model, vad="off", verify=False)
    steps, each, samples = [], model.info.outputs_per_step, 0
    for place, sound in negative_stream(material, 0):
        scores = detector.score(sound)[:, 0]
        steps.append(scores[: len(scores) // each * each].reshape(-1, each).max(axis=1))
        samples += place.word[1] - place.word[0]
    high = np.concatenate(steps) >= verifier.info.candidate
    apart = round(2 * SAMPLE_RATE / model.info.step_samples)
    first = [i for i in np.flatnonzero(high) if not high[max(0, i - apart) : i].any()]
    hours = samples / SAMPLE_RATE / 3600
    per_hour = high.sum() / hours
    command = [sys.executable, "-c", FIRST, str(find_model(name)), verifier.info.net]
    before, after, seconds = map(
        float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    )
    cpu = per_hour * run_ms / 3600
    return Row(
        name,
        verifier.info.candidate,
        hours,
        len(first) / hours,
        float(per_hour),
        float(cpu),
        before,
        after,
        seconds,
    )


def _table(rows: list[Row], run_ms: float) -> str:
    here = machine()
    lines = [
        "| model | heard again from | candidates an hour | runs an hour | CPU of them, ms a second "
        "| memory before, MiB | after the first | the first takes, ms |",
        "| --- " + "| ---: " * 7 + "|",
    ]
    for row in rows:
        lines.append(
            f"| {row.model} | {row.candidate:g} | {row.candidates_per_hour:.0f} "
            f"| {row.runs_per_hour:.0f} | {row.cpu_ms_per_s:.2f} | {row.rss_before_mib:.1f} "
            f"| {row.rss_after_mib:.1f} | {1000 * row.first_s:.0f} |"
        )
    lines += [
        "",
        f"A run of the net takes {run_ms:.0f} ms of one core, on {rows[0].hours:.2f} h of speech "
        "and sounds of role test without the keyword. Runs come where a step's score is high "
        "enough; candidates are 2 s apart. The first loads the net. Peak memory, gate off.",
        "",
        f"{here.cpu}, {here.system}, kwspot {here.kwspot} at {here.commit}, {here.date}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
