"""What engines cost on this machine, every run of each in a fresh process.

```
audio -> PCM file -> case 1, case 2, case 1, case 2, ... -> median and range of each figure
                     (a process each: kwspot.stopwatch)
```

Fresh processes make start-up time and peak memory honest; taking turns spreads what else the
machine does over all cases.
"""

import dataclasses
import datetime
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kwspot.cold import drop
from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.records import read_record
from kwspot.scenes import SCENES, scene
from kwspot.sources import AudioFile

COLD_SECONDS = 2.0  # of audio that a cold start hears, enough for a first score


@dataclass(frozen=True)
class Cost:
    """What one process measured.

    `chunk_ms` is the audio that a call is given; `cpu_ms_per_s` is CPU time of the process, user
    and system, a second of audio; `rtf` the same on the wall clock; `p50_us` and `p99_us` are over
    calls; `start_ms` is from just before the process was started to the first score, None if the
    gate let nothing through; `peak_rss_mib` is in MiB, 2^20 bytes, None where the system does not
    tell.
    """

    chunk_ms: float
    cpu_ms_per_s: float
    rtf: float
    p50_us: float
    p99_us: float
    start_ms: float | None
    peak_rss_mib: float | None


@dataclass(frozen=True)
class Spread:
    """One figure over the runs."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Result:
    """One case: its figures by the names of Cost, those that every run has, and all runs.

    `audio` names a recording or one of SCENES, of which `seconds` were heard. Cold starts, if they
    were measured, are `cold_start_ms` among the figures.
    """

    name: str
    audio: str
    seconds: float
    vad: str
    threads: int
    summary: dict[str, Spread]
    runs: tuple[Cost, ...]
    cold_starts_ms: tuple[float, ...]

    @property
    def chunk_ms(self) -> float:
        """Milliseconds of audio a call."""
        return self.runs[0].chunk_ms


@dataclass(frozen=True)
class Machine:
    """Where something was measured, and with what; `commit` is of a kwspot checkout."""

    cpu: str
    cores: int
    system: str
    python: str
    numpy: str
    onnxruntime: str | None
    kwspot: str | None
    commit: str | None
    date: str
    litert: str | None = None


@dataclass(frozen=True)
class Report:
    """A whole benchmark."""

    machine: Machine
    results: tuple[Result, ...]


@dataclass(frozen=True)
class Engine:
    """Something to be measured: a command that takes a PCM file and the time of its start.

    `environment` replaces variables; None removes one.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str | None]


@dataclass(frozen=True)
class Case:
    """An engine and what it hears: one of SCENES, or a recording.

    `vad` says which gate the engine was given, `threads` how many numpy's BLAS may use.
    """

    engine: Engine
    audio: str
    vad: str = "off"
    threads: int = 1


def kwspot_engine(
    name: str, models: Sequence[str], vad: str, chunk_ms: float | None = None
) -> Engine:
    """Return a detector with these models, run by the kwspot and the Python of this process.

    `chunk_ms` is how much audio a call is given; None is a step of the model.
    """
    package = Path(__file__).parents[1]
    path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
    chunk = repr(chunk_ms or 0.0)
    command = (sys.executable, "-P", "-m", "kwspot.stopwatch", *models, vad, chunk)
    return Engine(name, command, {"PYTHONPATH": path})


def benchmark(cases: Sequence[Case], *, seconds: float, runs: int, cold: bool = False) -> Report:
    """Measure cases in turn, `runs` times, each on `seconds` of its audio.

    A shorter recording is heard to its end. `cold` adds starts with the files of Python, kwspot and
    its dependencies no longer in memory. Raises AudioError for a recording that cannot be read, and
    KwspotError with the engine's own sentence where one fails and where files cannot be dropped.
    """
    costs: list[list[Cost]] = [[] for _ in cases]
    cold_starts: list[list[float]] = [[] for _ in cases]
    with tempfile.TemporaryDirectory() as folder:
        heard: dict[str, float] = {}
        files = {case.audio: Path(folder) / f"{i}.pcm" for i, case in enumerate(cases)}
        for audio, file in files.items():
            heard[audio] = _write_pcm(file, _sound(audio), seconds)
            _write_pcm(file.with_suffix(".short"), _sound(audio), COLD_SECONDS)
        for _, (number, case) in itertools.product(range(runs), enumerate(cases)):
            if cold:
                drop()
                start = _run(case, files[case.audio].with_suffix(".short")).start_ms
                cold_starts[number] += [] if start is None else [start]
            costs[number].append(_run(case, files[case.audio]))
    results = (
        _result(case, heard[case.audio], measured, starts)
        for case, measured, starts in zip(cases, costs, cold_starts, strict=True)
    )
    return Report(machine(), tuple(results))


def machine() -> Machine:
    """Describe this machine."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        numpy=np.__version__,
        onnxruntime=_version("onnxruntime"),
        kwspot=_version("kwspot"),
        commit=_commit(),
        date=datetime.date.today().isoformat(),
        litert=_version("ai-edge-litert"),
    )


def dump_report(report: Report) -> str:
    """Write a report as JSON."""
    return json.dumps(dataclasses.asdict(report), indent=1)


def parse_report(text: str, where: str) -> Report:
    """Read a report; raise KwspotError for anything else."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise KwspotError(f"{where} is not JSON ({error})") from error
    return read_record(Report, values, where, KwspotError)


def _sound(audio: str) -> Iterable[FloatArray]:
    return scene(audio) if audio in SCENES else AudioFile(audio)


def _write_pcm(path: Path, blocks: Iterable[FloatArray], seconds: float) -> float:
    """Write raw int16, `seconds` of it at most; return how many seconds there were."""
    left = wanted = round(seconds * SAMPLE_RATE)
    with path.open("wb") as file:
        for block in blocks:
            samples = np.clip(np.round(block[:left] * 32768), -32768, 32767)
            file.write(samples.astype("<i2").tobytes())
            left -= len(samples)
            if not left:
                break
    return (wanted - left) / SAMPLE_RATE


def _run(case: Case, pcm: Path) -> Cost:
    engine = case.engine
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    threads = dict.fromkeys(names, str(case.threads))
    # What pip installed is compiled: where Python may not keep bytecode, a checkout would compile
    # its modules at every start.
    compiled = {"PYTHONDONTWRITEBYTECODE": None}
    variables = os.environ | threads | compiled | engine.environment
    environment = {name: value for name, value in variables.items() if value is not None}
    started = repr(time.monotonic())
    command = (*engine.command, str(pcm), started)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode == 2:
        raise KwspotError(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{engine.name} ended with {done.returncode}:\n{done.stderr}")
    figures = json.loads(done.stdout.splitlines()[-1])  # a peer may have printed before
    return read_record(Cost, figures, engine.name, KwspotError)


def _result(
    case: Case, seconds: float, runs: Sequence[Cost], cold_starts: Sequence[float]
) -> Result:
    summary = {}
    for figure in dataclasses.fields(Cost):
        values = [getattr(run, figure.name) for run in runs]
        if figure.name != "chunk_ms" and None not in values:
            summary[figure.name] = _spread(values)
    if len(cold_starts) == len(runs):
        summary["cold_start_ms"] = _spread(cold_starts)
    audio = case.audio if case.audio in SCENES else Path(case.audio).name
    return Result(
        name=case.engine.name,
        audio=audio,
        seconds=seconds,
        vad=case.vad,
        threads=case.threads,
        summary=summary,
        runs=tuple(runs),
        cold_starts_ms=tuple(cold_starts),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def _cpu() -> str:
    board = Path("/proc/device-tree/model")  # "Raspberry Pi 4 Model B Rev 1.4"; no PC has it
    if board.is_file():
        return board.read_text().strip("\0\n ")
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the checkout that kwspot runs from, "-dirty" if it has been changed."""
    folder = Path(__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    command = ("git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
