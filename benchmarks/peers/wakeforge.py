"""wakeforge's plugin: a distilled HuBERT with a recurrent head on top."""

from pathlib import Path

import ovos_ww_plugin_wakeforge
from adapter import Heard, main
from ovos_ww_plugin_wakeforge import WakeForgeHotwordPlugin

FOLDER = Path(ovos_ww_plugin_wakeforge.__file__).parent
FILES = ("models/alexa.onnx", "featurizers/wakehubert-tiny/wakehubert.onnx")


def load(sweep: bool) -> Heard:
    """Load "alexa" with its defaults; it scores every 80 ms."""
    engine = WakeForgeHotwordPlugin("alexa", {"model": "alexa"})

    def hear(hop: bytes) -> float | None:
        engine.update(hop)
        return None if engine.last_score is None else float(engine.last_score)

    files = [FOLDER / name for name in FILES]
    return Heard(hear, hop=1280, hops=1, threshold=engine.threshold, files=files)


main(load)
