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

    @property
    def blocks(self) -> int:
        """Blocks that can be read."""
        return (self._end - self._read - self._lead) // self._step

    @property
    def complete(self) -> bool:
        """Tell whether the last write ended a block."""
        return (self._end - self._read - self._lead) % self._step == 0

    def write(self, samples: FloatArray) -> int:
        """Append samples, at most up to the end of a block; return how many were taken."""
        pending = (self._end - self._read - self._lead) % self._step
        count = min(len(samples), self._step - pending)
        if self._end + count > len(self._buffer):
            kept = self._buffer[self._read : self._end].copy()
            self._buffer[: len(kept)] = kept
            self._read, self._end = 0, len(kept)
        self._buffer[self._end : self._end + count] = samples[:count]
        self._end += count
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
