"""What a detector keeps of the memory that its steps allocate."""

import gc
import tracemalloc

import numpy as np

from kwspot import KeywordDetector

PASSES = 8


def growth(detector: KeywordDetector, steps: np.ndarray) -> int:
    """Hear `steps`, (S, samples), several times; return the least bytes that a pass left behind.

    What leaks grows in every pass, by a byte a step at least; the list of results takes 32 a pass.
    """

    def hear() -> int:
        for step in steps:
            detector.process(step)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        held = [hear() for _ in range(PASSES)]
    finally:
        tracemalloc.stop()
    return int(min(np.diff(held)))
