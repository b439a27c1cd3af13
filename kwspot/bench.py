"""What engines cost on this machine, every run of each in a fresh process.

```
audio -> PCM file -> engine 1, engine 2, engine 1, engine 2, ... -> median and range of each figure
                     (a process each: kwspot.stopwatch)
```

Fresh processes make start-up time and peak memory honest; taking turns spreads what else the
machine does over all engines.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.records import read_record
from kwspot.sources import AudioFile

TALK = 4.0  # seconds of syllables, then as many of a pause, and so on
SYLLABLES = 4.0  # a second, as in running speech
TALK_LEVEL = 0.05  # amplitude at the middle of a syllable, about -26 dBFS
NOISE_LEVEL = 10 ** (-70 / 20)  # -70 dBFS, a quiet room
SYNTHETIC = "synthetic speech, every other 4 s a pause"


@dataclass(frozen=True)
class Cost:
    """What one process measured.

    `cpu_ms_per_s` is CPU time of the process, user and system, a second of audio; `rtf` the same
    on the wall clock; `p50_us` and `p99_us` are over steps; `start_ms` is from just before the
    process was started to the first score, None if the gate let nothing through; `peak_rss_mib` is
    in MiB, 2^20 bytes, None where the system does not tell.
    """

    step_ms: float
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
    """One engine: its figures by the names of Cost, those that every run has, and all runs."""

    name: str
    summary: dict[str, Spread]
    runs: tuple[Cost, ...]


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


@dataclass(frozen=True)
class Report:
    """A whole benchmark. `vad` is that of the kwspot models in it."""

    machine: Machine
    audio: str
    seconds: float
    vad: str
    results: tuple[Result, ...]


@dataclass(frozen=True)
class Engine:
    """Something to be measured: a command that takes a PCM file and the time of its start.

    `environment` replaces variables; None removes one.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str | None]


def kwspot_engine(name: str, model: str, vad: str) -> Engine:
    """Return a kwspot model as an engine, run by the kwspot and the Python of this process."""
    package = Path(__file__).parents[1]
    path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
    command = (sys.executable, "-P", "-m", "kwspot.stopwatch", model, vad)
    return Engine(name, command, {"PYTHONPATH": path})


def benchmark(
    engines: Sequence[Engine], *, audio: str | None, seconds: float, vad: str, runs: int
) -> Report:
    """Measure engines in turn, `runs` times, on `seconds` of a recording or of synthetic speech.

    A shorter recording is heard to its end. Raises AudioError for one that cannot be read and
    KwspotError with the engine's own sentence where one fails.
    """
    blocks = AudioFile(audio) if audio else synthetic_speech()
    costs: list[list[Cost]] = [[] for _ in engines]
    with tempfile.TemporaryDirectory() as folder:
        pcm = Path(folder) / "audio.pcm"
        heard = _write_pcm(pcm, blocks, seconds)
        for _ in range(runs):
            for engine, measured in zip(engines, costs, strict=True):
                measured.append(_run(engine, pcm))
    results = tuple(
        _result(engine.name, measured) for engine, measured in zip(engines, costs, strict=True)
    )
    name = Path(audio).name if audio else SYNTHETIC
    return Report(machine(), name, heard, vad, results)


def synthetic_speech() -> Iterator[FloatArray]:
    """Yield noise that rises and falls like syllables, with pauses, second by second for ever.

    Always the same. The model's work does not depend on what it hears; pauses make the gate close.
    """
    rng = np.random.default_rng(1)
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    while True:
        talking = time_s % (2 * TALK) < TALK
        level = NOISE_LEVEL + TALK_LEVEL * talking * np.sin(np.pi * SYLLABLES * time_s) ** 2
        yield (level * rng.standard_normal(SAMPLE_RATE)).astype(np.float32)
        time_s = time_s + 1


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


def _run(engine: Engine, pcm: Path) -> Cost:
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    variables = os.environ | one_thread | engine.environment
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


def _result(name: str, runs: Sequence[Cost]) -> Result:
    summary = {}
    for figure in dataclasses.fields(Cost):
        values = [getattr(run, figure.name) for run in runs]
        if figure.name != "step_ms" and None not in values:
            summary[figure.name] = Spread(statistics.median(values), min(values), max(values))
    return Result(name, summary, tuple(runs))


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
