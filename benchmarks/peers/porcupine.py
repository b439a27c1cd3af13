"""Porcupine 1.9.5, the last version without an access key.

It tells only whether it fired at a sensitivity. For scores it runs at SENSITIVITIES side by side:
the score falls from 1 where the lowest of them fired to 0.1 where only the highest did.
"""

import pvporcupine
from adapter import Heard, main

SENSITIVITIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DEFAULT = 0.5


def load(sweep: bool) -> Heard:
    """Load "alexa" at its default sensitivity, or at all of them."""
    files = [pvporcupine.MODEL_PATH, pvporcupine.KEYWORD_PATHS["alexa"]]
    engines = [
        (sensitivity, pvporcupine.create(keywords=["alexa"], sensitivities=[sensitivity]))
        for sensitivity in (SENSITIVITIES if sweep else (DEFAULT,))
    ]

    def hear(hop: bytes) -> float | None:
        samples = memoryview(hop).cast("h")
        fired = [s for s, engine in engines if engine.process(samples) != -1]
        return score_of(min(fired)) if fired else 0.0

    hop = engines[0][1].frame_length
    return Heard(hear, hop=hop, hops=3, threshold=score_of(DEFAULT), files=files)


def score_of(sensitivity: float) -> float:
    """Return the score of having fired at a sensitivity and none below."""
    return 1 - 0.9 * sensitivity


main(load)
