"""Hears a recording and prints what came out, as JSON: `python hear.py MODEL RECORDING`.

Run by run.py, once on this machine and once under emulation. The model is alone: a verifier's net
would take minutes there, and its self-test shows as much.
"""

import json
import sys

import numpy as np

from kwspot import AudioFile, KeywordDetector, KwspotError
from kwspot.detector import Detection


def main(model: str, recording: str) -> None:
    """Print detections with the gate and without, and every score without."""
    try:
        open_ = KeywordDetector(model, vad="off", verify=False)
        gated = KeywordDetector(model, vad="webrtc", verify=False)
    except KwspotError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    heard = {
        "without_gate": [_exact(hit) for hit in open_.listen(recording)],
        "with_gate": [_exact(hit) for hit in gated.listen(recording)],
    }
    open_.reset()
    scores = open_.score(np.concatenate(list(AudioFile(recording))))
    print(json.dumps(heard | {"scores": scores.ravel().tolist()}))


def _exact(hit: Detection) -> str:
    return f"{hit.keyword} {hit.start!r} {hit.end!r}"


if __name__ == "__main__":
    main(*sys.argv[1:])
