"""Hears audio twice, step by step, the second time between markers: `repeat.py MODEL VAD AUDIO`.

AUDIO is a recording, or `quiet` for a room where nobody speaks. The markers tell count.c what to
count: all but start, loading, and what only happens once. Prints where this process has its
libraries, for whom counts its instructions.
"""

import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kwspot import AudioFile, KeywordDetector

QUIET = "quiet"
QUIET_SECONDS = 20
QUIET_LEVEL = 10 ** (-70 / 20)  # -70 dBFS
BEGIN, END = 0x6B770001, 0x6B770002  # as in count.c


def main(model: str, vad: str, audio: str) -> None:
    """Hear, then tell."""
    detector = KeywordDetector(model, vad=vad, verify=False)
    if audio == QUIET:
        noise = np.random.default_rng(1).standard_normal(QUIET_SECONDS * 16_000)
        samples = (QUIET_LEVEL * noise).astype(np.float32)
    else:
        samples = np.concatenate(list(AudioFile(audio)))
    pcm = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    _hear(detector, pcm)
    _mark(BEGIN)
    _hear(detector, pcm)
    _mark(END)
    print(Path("/proc/self/maps").read_text())


def _hear(detector: KeywordDetector, pcm: npt.NDArray[np.int16]) -> None:
    step = detector.info.step_samples
    for start in range(0, len(pcm) - step + 1, step):
        detector.process(pcm[start : start + step])


def _mark(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
