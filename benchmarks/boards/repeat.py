"""Hears the same audio several times, step by step: `python repeat.py MODEL VAD AUDIO TIMES`.

AUDIO is a recording, or `quiet` for a room where nobody speaks. Prints where this process has its
libraries, for whom counts its instructions.
"""

import sys
from pathlib import Path

import numpy as np

from kwspot import AudioFile, KeywordDetector

QUIET = "quiet"
QUIET_SECONDS = 20
QUIET_LEVEL = 10 ** (-70 / 20)  # -70 dBFS


def main(model: str, vad: str, audio: str, times: str) -> None:
    """Hear, then tell."""
    detector = KeywordDetector(model, vad=vad)
    if audio == QUIET:
        noise = np.random.default_rng(1).standard_normal(QUIET_SECONDS * 16_000)
        samples = (QUIET_LEVEL * noise).astype(np.float32)
    else:
        samples = np.concatenate(list(AudioFile(audio)))
    pcm = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    step = detector.info.step_samples
    for _ in range(int(times)):
        for start in range(0, len(pcm) - step + 1, step):
            detector.process(pcm[start : start + step])
    print(Path("/proc/self/maps").read_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
