"""Run kwspot as a 64-bit Raspberry Pi would, under emulation, and hold it against this machine.

```
python benchmarks/boards/run.py             same detections, same scores? exit status 1 if not
python benchmarks/boards/run.py --model jarvis    the same of another model
python benchmarks/boards/run.py --count     counts instructions as well, for an estimate of cost
python benchmarks/boards/run.py --render FILE.json    writes FILE.md again
```

All formats of `alexa` are heard; the self-tests of all installed models and nets run on every core,
too. Debian's Python for arm64, the aarch64 wheels and this checkout's kwspot are put into a folder
(`--cache`) and run by qemu; nothing outside it is changed but what `--output` names. Needs
qemu-user; counting needs gcc as well.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from arm64 import ROOT, SUITES, make_arm64
from emulator import CORES, HERE, ONE_THREAD, Core, Emulator
from repeat import QUIET, QUIET_SECONDS
from report import Comparison, Count, Heard, Report, compare, read_heard, read_report, render

from kwspot import AudioFile
from kwspot.bench import machine
from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE

RECORDING = ROOT / "kwspot" / "demo.flac"
CACHE = ROOT / ".venv-boards"
FORMATS = ("-int8.onnx", "-int8.tflite", ".onnx", ".tflite")
SAME = ("numpy", "onnxruntime", "ai-edge-litert")  # of one version here and there
# What is counted: the gate, and what it hears.
COUNTED = {"speech, gate off": ("off", str(RECORDING)), "quiet, gate webrtc": ("webrtc", QUIET)}


def main() -> None:
    """Compare, count, render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for all that is made")
    parser.add_argument("--suite", choices=SUITES, default="bookworm", help="Debian release")
    parser.add_argument("--mirror", help="mirror of Debian (default: that of this machine's apt)")
    parser.add_argument(
        "--model", default="alexa", help="name, of all its formats (default: alexa)"
    )
    parser.add_argument("--count", action="store_true", help="count instructions as well")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="JSON; the page goes next (default: in CACHE)"
    )
    parser.add_argument("--render", type=Path, metavar="FILE", help="only write a page again")
    args = parser.parse_args()
    output = args.render or args.output or args.cache / "boards.json"
    try:
        if not args.render:
            report = examine(args.model, args.cache, args.suite, args.mirror, args.count)
            output.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
        report = read_report(output.read_text(encoding="utf-8"), output.name)
        page = render(report)
        output.with_suffix(".md").write_text(page, encoding="utf-8")
    except (KwspotError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    print(page, end="")
    if not report.good:
        sys.exit("not the same as on this machine: see the first table")


def examine(model: str, cache: Path, suite: str, mirror: str | None, count: bool) -> Report:
    """Run all formats of a model on this machine and on every core, and count if asked to.

    A model that this machine cannot load is reported as such; one that only the emulated side
    cannot load raises KwspotError.
    """
    formats = [f"{model}{ending}" for ending in FORMATS]
    packages = {name: version for name in SAME if (version := _version(name))}
    pinned = [f"{name}=={version}" for name, version in packages.items()]
    arm64 = make_arm64(cache, suite, mirror, pinned)
    emulator = Emulator(arm64)
    comparisons: list[Comparison] = []
    counts: list[Count] = []
    seconds = sum(map(len, AudioFile(RECORDING))) / SAMPLE_RATE
    for name in formats:
        try:
            here = _hear_here(name)
        except KwspotError as error:
            comparisons.append(Comparison(name, core="", refused=str(error)))
            continue
        path = arm64.models / name
        for core in CORES:
            printed = emulator.run(core, (str(HERE / "hear.py"), str(path), str(RECORDING)))
            comparisons.append(compare(name, core.name, here, read_heard(printed, core.name)))
            if count:
                counts += [_count(emulator, core, path, heard, seconds) for heard in COUNTED]
    self_tests = {
        core.name: len(emulator.run(core, ("-m", "kwspot", "info", "--check")).splitlines())
        for core in CORES
    }
    where = machine()
    return Report(
        host=f"{where.cpu}, {where.system}",
        kwspot=f"{where.kwspot} at {where.commit}",
        date=where.date,
        emulator=emulator.version,
        debian=f"{suite}, Python {SUITES[suite].python}",
        packages=packages,
        recording=RECORDING.name,
        seconds=seconds,
        quiet_seconds=QUIET_SECONDS,
        comparisons=tuple(comparisons),
        counts=tuple(counts),
        self_tests=self_tests,
    )


def _hear_here(model: str) -> Heard:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = ONE_THREAD | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = (sys.executable, "-P", HERE / "hear.py", ROOT / "models" / model, RECORDING)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    if done.returncode == 2:
        raise KwspotError(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{model} ended with {done.returncode} here:\n{done.stderr}")
    return read_heard(done.stdout, "this machine")


def _count(emulator: Emulator, core: Core, model: Path, heard: str, seconds: float) -> Count:
    vad, audio = COUNTED[heard]
    counted = emulator.count(core, (str(HERE / "repeat.py"), str(model), vad, audio))
    length = QUIET_SECONDS if audio == QUIET else seconds
    parts = {part: counted[part] / length for part in sorted(counted)}
    return Count(model.name, core.name, heard, parts)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
