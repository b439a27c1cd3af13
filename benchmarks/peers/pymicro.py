"""Measures pymicro-wakeword in its own environment: `python pymicro.py PCM STARTED`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "kwspot"))  # the stopwatch alone, not the package

from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model
from stopwatch import measure

STEP_SECONDS = 0.08  # as kwspot's, so that times a step compare
CHUNK_BYTES = 320  # 10 ms, as its README feeds it

engine = MicroWakeWord.from_builtin(Model.ALEXA)
front_end = MicroWakeWordFeatures()
frames_heard = 0


def hear(step: bytes) -> None:
    """Do as its README does."""
    for start in range(0, len(step), CHUNK_BYTES):
        for features in front_end.process_streaming(step[start : start + CHUNK_BYTES]):
            engine.process_streaming(features)


def score(step: bytes) -> bool:
    """Hear a step, and tell whether its window of probabilities is full: before it says 0.0."""
    global frames_heard
    for start in range(0, len(step), CHUNK_BYTES):
        for features in front_end.process_streaming(step[start : start + CHUNK_BYTES]):
            engine.process_streaming_prob(features)
            frames_heard += 1
    return frames_heard >= engine.stride * engine.sliding_window_size


measure(score, hear, STEP_SECONDS, pcm=sys.argv[1], started=float(sys.argv[2]))
