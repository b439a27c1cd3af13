"""pocketsphinx 5.1.1: a large-vocabulary decoder of the 2000s in its keyphrase mode.

It tells only whether it fired at a threshold, a likelihood ratio. For scores it runs at THRESHOLDS
side by side, and the score is higher the stricter the one that fired.
"""

import math
from pathlib import Path

from adapter import RATE, Heard, main
from pocketsphinx import Decoder, get_model_path

THRESHOLDS = (1e-10, 1e-20, 1e-30)
DEFAULT = 1e-30
HOP = 1280  # 80 ms; the decoder takes any


def load(sweep: bool) -> Heard:
    """Load "alexa" at the default threshold, or at all of them."""
    decoders = [(at, _decoder(at)) for at in (THRESHOLDS if sweep else (DEFAULT,))]

    def hear(hop: bytes) -> float | None:
        return max(score_of(at) if _fired(decoder, hop) else 0.0 for at, decoder in decoders)

    files = [path for path in Path(get_model_path()).rglob("*") if path.is_file()]
    return Heard(hear, hop=HOP, hops=1, threshold=score_of(DEFAULT), files=files)


def score_of(threshold: float) -> float:
    """Return the score of having fired at a threshold: 1e-10 gives 0.8, 1e-30 0.4."""
    return 1 + math.log10(threshold) / 50


def _decoder(threshold: float) -> Decoder:
    decoder = Decoder(
        keyphrase="alexa", kws_threshold=threshold, lm=None, samprate=RATE, loglevel="FATAL"
    )
    decoder.start_utt()
    return decoder


def _fired(decoder: Decoder, hop: bytes) -> bool:
    decoder.process_raw(hop)
    if decoder.hyp() is None:
        return False
    decoder.end_utt()  # or it would go on saying so
    decoder.start_utt()
    return True


main(load)
