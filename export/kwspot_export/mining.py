"""Hard negatives: where in the training speech a student is fooled."""

import numpy as np
import torch
from numpy.random import Generator

from kwspot.features import SAMPLE_RATE
from kwspot_export.batches import Composer, Hard
from kwspot_export.frontend import NO_WARP, WARPS
from kwspot_export.student import OUTPUT_HOP, FrameNet
from kwspot_export.validation import features_of, smoothed_scores, string_together, worsened

MOST = 1500  # places kept
LEAST_SCORE = 0.02  # below this a place teaches nothing
PER_STREAM = 2000  # clips strung together at a time, to bound memory


def mine(net: FrameNet, composer: Composer, smoothing: int, rng: Generator) -> list[Hard]:
    """Run the student over all training negatives, worsened anew, and return the worst places."""
    net.eval()
    pools = composer.pools
    indices = rng.permutation(np.concatenate([pools.negatives, pools.confusables]))
    found: list[Hard] = []
    for first in range(0, len(indices), PER_STREAM):
        stream, places = string_together(
            composer.corpus, indices[first : first + PER_STREAM].tolist(), rng, pause=0.1
        )
        warp = torch.tensor([int(rng.integers(len(WARPS))) if rng.random() < 0.7 else NO_WARP])
        features = features_of(worsened(stream, composer, rng), composer.front_end, warp)
        scores = smoothed_scores(net, features, smoothing)
        for index, start in places:
            end = start + composer.corpus.length(index)
            window = scores[start // OUTPUT_HOP : end // OUTPUT_HOP + 1]
            if len(window) and window.max() > LEAST_SCORE:
                sample = int(window.argmax()) * OUTPUT_HOP
                found.append(Hard(index, sample, float(window.max())))
    found.sort(key=lambda place: -place.score)
    return found[:MOST]


def describe(hard: list[Hard], composer: Composer) -> str:
    """Say in one line how many places there are and which sounds are the worst."""
    if not hard:
        return "no hard negatives"
    clips = composer.corpus.clips
    worst = ", ".join(clips[h.index].text or clips[h.index].name.split("/")[1] for h in hard[:5])
    seconds = sum(composer.corpus.length(h.index) for h in hard) / SAMPLE_RATE
    return f"{len(hard)} hard negatives in {seconds:.0f} s of clips; worst: {worst}"
