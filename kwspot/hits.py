"""Which detections are of a word: from its start to a second after its end."""

from collections.abc import Sequence

import numpy as np

from kwspot.features import SAMPLE_RATE
from kwspot.streams import Place

GRACE = 1.0  # seconds after a word's end in which its detection counts


def assign(places: Sequence[Place], times: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Assign detections at rising `times` (samples): indices a place, and those of no word."""
    words = np.array([place.word for place in places])
    first = np.searchsorted(times, words[:, 0]).tolist()
    last = np.searchsorted(times, words[:, 1] + round(GRACE * SAMPLE_RATE), "right").tolist()
    inside = [list(range(*ends)) for ends in zip(first, last, strict=True)]
    taken = {index for indices in inside for index in indices}
    return inside, [index for index in range(len(times)) if index not in taken]


def heard_words(places: Sequence[Place], times: Sequence[int]) -> list[bool]:
    """Tell of each place whether one of the `times` is of its word."""
    return [bool(indices) for indices in assign(places, times)[0]]
