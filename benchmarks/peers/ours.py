"""kwspot without a gate. The model file is named by KWSPOT_MODEL."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

import numpy as np
from adapter import Heard, main

from kwspot import KeywordDetector


def load(sweep: bool) -> Heard:
    """Load the detector; a hop is a step, whose best output counts."""
    model = os.environ["KWSPOT_MODEL"]
    detector = KeywordDetector(model, vad="off")

    def hear(hop: bytes) -> float | None:
        scores = detector.score(np.frombuffer(hop, np.int16))
        return float(scores.max()) if len(scores) else None

    (threshold,) = detector.thresholds.values()
    step = detector.info.step_samples
    return Heard(hear, hop=step, hops=1, threshold=threshold, files=[model])


main(load)
