"""Clips of a phrase by many voices, in a folder with a manifest.

```
phrases x numbers -> engine, voice, way to say it -> samples -> FLAC + row of manifest.csv
```

Which voice says clip n of a phrase depends on the seed, the phrase and n alone, and a row is
written when its clip is there: an interrupted run goes on where it was, and a longer one begins
with the clips of a shorter one.
"""

import csv
import hashlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread

import numpy as np
from numpy.random import Generator

from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.manifest import COLUMNS, read_manifest, spoken
from kwspot_export.engines import Engine, SpeechError, open_engine

MANIFEST = "manifest.csv"
VALIDATED = 11  # every so many clips is by a voice kept for validation; odd: engines take turns
WAYS = ".", "!", ",", "?", ""  # punctuation changes the melody
SHORTEST, LONGEST = 0.15, 15.0  # seconds; what is outside is no speech
QUIETEST = 1e-3  # peak of a clip that says something
ATTEMPTS = 5  # voices to try before a phrase is given up


@dataclass(frozen=True)
class Line:
    """A phrase, how many clips of it, and the folder below the output that takes them."""

    text: str
    clips: int
    kind: str


@dataclass(frozen=True)
class _Job:
    text: str
    path: str
    role: str
    number: int
    seed: int


def synthesise(
    lines: Sequence[Line],
    sources: Sequence[str],
    folder: Path,
    seed: int = 1,
    workers: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write all clips that are not there yet; return the manifest.

    `sources` are engines as `open_engine` takes them; clips go to them in turn. Raises SpeechError
    for an engine that cannot be opened, a phrase that no engine can say, and a folder that was made
    with other engines or another seed.
    """
    engines = [open_engine(source) for source in sources]  # a missing one is found before the work
    _claim(folder, sources, engines, seed)
    manifest = folder / MANIFEST
    have = _paths(manifest)
    jobs = [job for line in lines for job in _jobs(line, seed)]
    missing = [job for job in jobs if job.path not in have]
    context = get_context("spawn")
    with (
        manifest.open("a", newline="", encoding="utf-8") as file,
        ProcessPoolExecutor(workers, context, _begin, (list(sources), folder)) as pool,
    ):
        rows = csv.DictWriter(file, COLUMNS)
        waiting: list[Future] = [pool.submit(_speak, job) for job in missing]
        try:
            for done, future in enumerate(as_completed(waiting), len(jobs) - len(missing) + 1):
                rows.writerow(future.result())
                file.flush()
                report(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return manifest


def _jobs(line: Line, seed: int) -> list[_Job]:
    slug = spoken(line.text).replace(" ", "_").replace("'", "")
    return [
        _Job(
            line.text,
            f"{line.kind}/{slug}/{number:05}.flac",
            "validation" if number % VALIDATED == VALIDATED - 1 else "train",
            number,
            seed,
        )
        for number in range(line.clips)
    ]


def _claim(folder: Path, sources: Sequence[str], engines: Sequence[Engine], seed: int) -> None:
    """Begin a folder, or see that it was begun alike."""
    # Not where the engines are, only which: a folder may be continued from another place.
    settings = {
        "engines": [Path(source).name for source in sources],
        "licences": {engine.name: engine.licence for engine in engines},  # for recipes and cards
        "seed": seed,
    }
    path = folder / "synthesis.json"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS).writeheader()
            path.write_text(json.dumps(settings) + "\n", encoding="utf-8")
        begun = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpeechError(f"cannot write clips to {folder}: {error.strerror}") from error
    except ValueError as error:
        raise SpeechError(f"{path} is damaged ({error}): choose another folder") from error
    if begun != settings:
        raise SpeechError(
            f"{folder} was begun with other engines or another seed ({path.name} says which): "
            "choose another folder, or remove this one"
        )


def _paths(manifest: Path) -> set[str]:
    """Return the clips that are there, and cut off a row that was being written."""
    content = manifest.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        manifest.write_bytes(whole)
    return {clip.name for clip in read_manifest(manifest)}


_engines: list[Engine] = []
_folder = Path()


def _begin(sources: list[str], folder: Path) -> None:
    """Open the engines of a worker."""
    global _folder
    # Ctrl-C reaches all processes of a terminal; one of them answers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    _engines[:] = [open_engine(source) for source in sources]
    _folder = folder


def _end_with_parent() -> None:
    """End this worker when the process that it works for is killed; nobody else would."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _speak(job: _Job) -> dict[str, object]:
    """Say and write one clip; return its row."""
    import soundfile

    engine = _engines[job.number % len(_engines)]
    digest = int.from_bytes(hashlib.sha256(spoken(job.text).encode()).digest()[:4], "big")
    rng = np.random.default_rng([job.seed, digest, job.number])
    voice, samples = _said(engine, job, rng)
    path = _folder / job.path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    soundfile.write(partial, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    partial.rename(path)
    seconds = f"{len(samples) / SAMPLE_RATE:.2f}"
    return dict(
        zip(COLUMNS, (job.path, seconds, job.text, voice, job.role, engine.name), strict=True)
    )


def _said(engine: Engine, job: _Job, rng: Generator) -> tuple[str, FloatArray]:
    """Draw voices until one says something."""
    for _ in range(ATTEMPTS):
        voice = engine.draw(job.role, rng)
        samples = engine.say(job.text + str(rng.choice(WAYS)), voice)
        seconds = len(samples) / SAMPLE_RATE
        if SHORTEST <= seconds <= LONGEST and np.abs(samples).max() >= QUIETEST:
            # Engines overshoot a little; the loudness of a clip carries nothing.
            return voice, np.clip(samples, -1, 1)
    raise SpeechError(
        f"{engine.name} cannot say {job.text!r}: {ATTEMPTS} voices gave silence, or a sound "
        f"outside {SHORTEST} to {LONGEST:g} s; spell it as it sounds"
    )
