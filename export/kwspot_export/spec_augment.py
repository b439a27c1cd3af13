"""SpecAugment (Park et al. 2019, arXiv 1904.08779): stretches of time and bands left out."""

import numpy as np
from numpy.random import Generator
from torch import Tensor

MASKED_FRAMES, MASKED_BANDS = 12, 6  # at most: 120 ms, 6 of 40 bands
MASKED_SHARE = 0.4  # of the windows


def spec_augment(features: Tensor, rng: Generator) -> Tensor:
    """Mask one stretch and one band of some windows, in place: (B, T, F) -> the same."""
    frames, bands = features.shape[1:]
    for row in np.flatnonzero(rng.random(len(features)) < MASKED_SHARE):
        length, width = rng.integers(0, MASKED_FRAMES + 1), rng.integers(0, MASKED_BANDS + 1)
        start, band = rng.integers(frames - length), rng.integers(bands - width)
        features[row, start : start + length] = 0
        features[row, :, band : band + width] = 0
    return features
