"""Hard negatives: where in the training speech a student is fooled."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from kwspot.features import SAMPLE_RATE
from kwspot_export.batches import Composer, Hard
from kwspot_export.frontend import NO_WARP, WARPS
from kwspot_export.sharing import share_out
from kwspot_export.student import OUTPUT_HOP, FrameNet
from kwspot_export.validation import features_of, smoothed_scores, string_together, worsened

MOST = 1500  # places kept
LEAST_SCORE = 0.02  # below this a place teaches nothing
STRETCH = 500  # clips strung together at a time


def mine(
    net: FrameNet, composer: Composer, smoothing: int, rng: Generator, workers: int
) -> list[Hard]:
    """Run the student over all training negatives, worsened anew, and return the worst places.

    `workers` processes compose them.
    """
    net.eval()
    pools = composer.pools
    order = rng.permutation(np.concatenate([pools.negatives, pools.confusables])).tolist()
    stretches = [order[first : first + STRETCH] for first in range(0, len(order), STRETCH)]
    compose = _Composing(composer, stretches, int(rng.integers(1 << 40)))
    found: list[Hard] = []
    for features, places in share_out(compose, len(stretches), workers):
        scores = smoothed_scores(net, features, smoothing)
        for index, start in places:
            end = start + composer.corpus.length(index)
            window = scores[start // OUTPUT_HOP : end // OUTPUT_HOP + 1]
            if len(window) and window.max() > LEAST_SCORE:
                sample = int(window.argmax()) * OUTPUT_HOP
                found.append(Hard(index, sample, float(window.max())))
    found.sort(key=lambda place: -place.score)
    return found[:MOST]


@dataclass(frozen=True)
class _Composing:
    """Stretches of clips, each in conditions and from a vocal tract of its own."""

    composer: Composer
    stretches: list[list[int]]
    seed: int

    def __call__(self, number: int) -> tuple[Tensor, list[tuple[int, int]]]:
        """Return the features of a stretch, and the clips in it with their first samples."""
        rng, composer = np.random.default_rng([self.seed, number]), self.composer
        stream, places = string_together(composer.corpus, self.stretches[number], rng, pause=0.1)
        warp = torch.tensor([int(rng.integers(len(WARPS))) if rng.random() < 0.7 else NO_WARP])
        return features_of(worsened(stream, composer, rng), composer.front_end, warp), places


def describe(hard: list[Hard], composer: Composer) -> str:
    """Say in one line how many places there are and which sounds are the worst."""
    if not hard:
        return "no hard negatives"
    clips = composer.corpus.clips
    worst = ", ".join(clips[h.index].text or clips[h.index].name.split("/")[1] for h in hard[:5])
    seconds = sum(composer.corpus.length(h.index) for h in hard) / SAMPLE_RATE
    return f"{len(hard)} hard negatives in {seconds:.0f} s of clips; worst: {worst}"
