"""A ring buffer that turns samples in chunks of any length into overlapping blocks of one length.

```
         <- lead -><------ step ------>
block n: [ overlap |   new samples    ]      block n+1 starts one step later
```

The first block is led by zeros, so that block n always ends at sample (n + 1) * step.
"""

import numpy as np

from kwspot.features import FloatArray

SPARE_STEPS = 16  # bigger makes moving the tail to the front rarer; 16 steps are 80 kB


class Framer:
    """Holds what has been written and not yet read, at least `backlog` blocks of it."""

    def __init__(self, lead: int, step: int, backlog: int) -> None:
        self._lead, self._step = lead, step
        self._buffer = np.zeros(lead + (backlog + SPARE_STEPS) * step, np.float32)
        self.clear()

    def clear(self) -> None:
        """Forget all samples."""
        self._buffer[: self._lead] = 0
        self._read = 0  # where the next block starts, overlap included
        self._end = self._lead  # where the next sample is written
        self._due = self._lead  # where the block that is being written ends

    @property
    def blocks(self) -> int:
        """Blocks that can be read."""
        return (self._end - self._read - self._lead) // self._step

    @property
    def complete(self) -> bool:
        """Tell whether the last write ended a block."""
        return self._end == self._due

    def write(self, samples: FloatArray) -> int:
        """Append samples, at most up to the end of a block; return how many were taken."""
        if self._end == self._due:
            self._due += self._step
            if self._due > len(self._buffer):
                self._move_to_front()
        count = min(len(samples), self._due - self._end)
        end = self._end + count
        self._buffer[self._end : end] = samples[:count]
        self._end = end
        return count

    def newest(self) -> FloatArray:
        """Return the last step written, without its overlap: (step,), a view."""
        return self._buffer[self._end - self._step : self._end]

    def read(self) -> FloatArray:
        """Return the oldest unread block: (lead + step,), a view that the next write may change."""
        start = self._read
        self._read += self._step
        return self._buffer[start : start + self._lead + self._step]

    def skip(self) -> None:
        """Drop the oldest unread block."""
        self._read += self._step

    def _move_to_front(self) -> None:
        kept = self._buffer[self._read : self._end].copy()
        self._buffer[: len(kept)] = kept
        self._end -= self._read
        self._due -= self._read
        self._read = 0
