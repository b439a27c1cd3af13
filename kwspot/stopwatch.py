"""Measures one engine in this process, started for nothing else, and prints one JSON line.

```
start -> load -> score the audio until a score comes out -> hear it again, call by call, timed
```

Imports nothing but a little of the standard library, so that engines other than kwspot can be
measured by the same code: benchmarks/peers loads this file in their environments.
"""

import math
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from typing import NoReturn

BYTES_PER_SECOND = 32_000  # 16 kHz int16, the audio that every engine is given


def measure(
    score: Callable[[bytes], bool],
    hear: Callable[[bytes], object],
    chunk_seconds: float,
    pcm: str,
    started: float,
) -> None:
    """Measure a loaded engine on the raw PCM file `pcm` and print what `kwspot.bench.Cost` holds.

    `hear` takes the next chunk of the stream, as an application would call it; `score` does the
    same and tells whether a score has come out. `started` is the monotonic clock just before this
    process was started. The file is read as it is needed, and reading is not in the figures.
    """
    chunk_bytes = 2 * round(chunk_seconds * BYTES_PER_SECOND / 2)
    start_ms = None
    with open(pcm, "rb") as audio:
        while len(block := audio.read(chunk_bytes)) == chunk_bytes:
            if score(block):
                start_ms = 1000 * (time.monotonic() - started)
                break
    walls = array("d")
    cpu = 0.0
    with open(pcm, "rb") as audio:
        while len(block := audio.read(chunk_bytes)) == chunk_bytes:
            cpu_before, wall_before = time.process_time(), time.perf_counter()
            hear(block)
            walls.append(time.perf_counter() - wall_before)
            cpu += time.process_time() - cpu_before
    peak_rss_mib = _peak_rss_mib()
    # From here on, nothing that is done or imported is in the figures.
    import json

    if not walls:
        refuse(f"the audio is shorter than one chunk of {chunk_seconds:g} s")
    seconds = chunk_seconds * len(walls)
    figures = {
        "chunk_ms": 1000 * chunk_seconds,
        "cpu_ms_per_s": 1000 * cpu / seconds,
        "rtf": sum(walls) / seconds,
        "p50_us": 1e6 * _percentile(walls, 50),
        "p99_us": 1e6 * _percentile(walls, 99),
        "start_ms": start_ms,
        "peak_rss_mib": peak_rss_mib,
    }
    print(json.dumps({k: v and float(f"{v:.5g}") for k, v in figures.items()}))


def refuse(sentence: str) -> NoReturn:
    """End this process in a way that tells the parent why, as a kwspot error does."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


def main(arguments: Sequence[str]) -> None:
    """Measure a detector: `python -m kwspot.stopwatch MODEL [MODEL...] VAD CHUNK_MS PCM STARTED`.

    A CHUNK_MS of 0 is a step of the models.
    """
    import numpy as np

    from kwspot import KeywordDetector, KwspotError

    *models, vad, chunk_ms, pcm, started = arguments
    try:
        detector = KeywordDetector(models, vad=vad)
    except KwspotError as error:
        refuse(str(error))

    def score(block: bytes) -> bool:
        return len(detector.score(np.frombuffer(block, np.int16))) > 0

    def hear(block: bytes) -> None:
        detector.process(np.frombuffer(block, np.int16))

    step = detector.info.step_samples / detector.info.front_end.sample_rate
    measure(score, hear, float(chunk_ms) / 1000 or step, pcm, float(started))


def _percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def _peak_rss_mib() -> float | None:
    """Return the most memory this process has held, in MiB, 2^20 bytes."""
    # Linux carries ru_maxrss over from the parent through vfork and exec; VmHWM starts afresh.
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except FileNotFoundError:
        pass
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024  # macOS counts bytes


if __name__ == "__main__":
    main(sys.argv[1:])
