"""kwspot without a gate. The model file is named by KWSPOT_MODEL.

Its verifier needs ONNX Runtime: where that is not installed, the model is alone.
"""

import importlib.util
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

import numpy as np
from adapter import Heard, main

import models  # the folder of this checkout, which installing puts below the package
from kwspot import KeywordDetector
from kwspot.loader import VERIFIER_NET, models_folder
from kwspot.verifier import verifier_path

sys.modules["kwspot.models"] = models


def load(sweep: bool) -> Heard:
    """Load the detector; a hop is a step, whose best output counts."""
    model = Path(os.environ["KWSPOT_MODEL"])
    verify = importlib.util.find_spec("onnxruntime") is not None
    detector = KeywordDetector(model, vad="off", verify=verify)
    beside = [verifier_path(model), models_folder() / VERIFIER_NET] if verify else []

    def hear(hop: bytes) -> float | None:
        scores = detector.score(np.frombuffer(hop, np.int16))
        return float(scores.max()) if len(scores) else None

    (threshold,) = detector.thresholds.values()
    step = detector.info.step_samples
    return Heard(hear, hop=step, hops=1, threshold=threshold, files=[model, *beside])


main(load)
