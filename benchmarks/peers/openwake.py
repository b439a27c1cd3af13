"""openWakeWord by ONNX: its TFLite back end does not run with numpy 2."""

from pathlib import Path

import numpy as np
import openwakeword
from adapter import Heard, main
from openwakeword.model import Model

FOLDER = Path(openwakeword.__file__).parent / "resources" / "models"
FILES = ("alexa_v0.1.onnx", "embedding_model.onnx", "melspectrogram.onnx")


def load(sweep: bool) -> Heard:
    """Load "alexa" with openWakeWord's defaults; it scores every 80 ms."""
    files = [FOLDER / name for name in FILES]
    engine = Model(wakeword_models=[str(files[0])], inference_framework="onnx")

    def hear(hop: bytes) -> float | None:
        (score,) = engine.predict(np.frombuffer(hop, np.int16)).values()
        return float(score)

    return Heard(hear, hop=1280, hops=1, threshold=0.5, files=files)


main(load)
