"""Hears a recording and prints what came out, as JSON: `python hear.py MODEL RECORDING`.

Run by run.py, once on this machine and once under emulation.
"""

import json
import sys

import numpy as np

from kwspot import AudioFile, KeywordDetector, KwspotError


def main(model: str, recording: str) -> None:
    """Print detections with the gate and without, and every score without."""
    try:
        open_, gated = KeywordDetector(model, vad="off"), KeywordDetector(model, vad="webrtc")
    except KwspotError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    heard = {
        "without_gate": [[h.keyword, h.start, h.end] for h in open_.listen(recording)],
        "with_gate": [[h.keyword, h.start, h.end] for h in gated.listen(recording)],
    }
    open_.reset()
    scores = open_.score(np.concatenate(list(AudioFile(recording))))
    print(json.dumps(heard | {"scores": scores.ravel().tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
