"""pymicro-wakeword, which runs microWakeWord's models on a computer. Fed as in its README."""

import json
from pathlib import Path

import pymicro_wakeword
from adapter import Heard, main
from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model


def load(sweep: bool) -> Heard:
    """Load "alexa"; the score is the mean over its window, which its threshold is held against."""
    engine, front_end = MicroWakeWord.from_builtin(Model.ALEXA), MicroWakeWordFeatures()
    config = Path(pymicro_wakeword.__file__).parent / "models" / "alexa.json"
    frames = 0
    latest: float | None = None

    def hear(hop: bytes) -> float | None:
        nonlocal frames, latest
        for features in front_end.process_streaming(hop):
            frames += 1
            score = engine.process_streaming_prob(features)
            # Between two runs of its model, and before its window of scores is full, it says 0.
            full = frames >= engine.stride * engine.sliding_window_size
            if full and score is not None and frames % engine.stride == 0:
                latest = float(score)
        return latest

    model = json.loads(config.read_text(encoding="utf-8"))["model"]
    threshold = engine.probability_cutoff
    return Heard(hear, hop=160, hops=8, threshold=threshold, files=[config.parent / model])


main(load)
