"""A stream's state in memory that ONNX Runtime reads and writes where it is.

```
step n      features, here  -> session -> posteriors, [embedding], there
step n + 1  features, there -> session -> posteriors, [embedding], here
```

Handing eleven arrays in and out of a session by name, each time into new memory, takes a third of
the time of a step; bound once, they take none.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kwspot.features import FloatArray
from kwspot.modelfile import ModelInfo


class BoundState(list[FloatArray]):
    """The state of one stream, as the list that a model gives and takes; spent by its next step.

    Begins as a copy of `state`. With `embed`, the last step's speaker embedding (U, E) lies in
    `embedding`, which the next step overwrites; it is None without.
    """

    def __init__(
        self, session: Any, info: ModelInfo, state: Sequence[FloatArray], embed: bool = False
    ) -> None:
        here = [np.array(values) for values in state]
        there = [np.zeros_like(values) for values in here]
        super().__init__(here)
        self._features = np.zeros((info.frames_per_step, info.front_end.mels), np.float32)
        self._posteriors = np.zeros((info.outputs_per_step, len(info.keywords)), np.float32)
        self.embedding: FloatArray | None = None
        answers = {"posteriors": self._posteriors}
        if embed:
            self.embedding = np.zeros((info.outputs_per_step, info.embedding), np.float32)
            answers["embedding"] = self.embedding
        self._run = session.run_with_iobinding
        inputs = ["features", *(state.input for state in info.states)]
        outputs = [*answers, *(state.output for state in info.states)]

        def bind(before: list[FloatArray], after: list[FloatArray]) -> Any:
            binding = session.io_binding()
            for name, array in zip(inputs, [self._features, *before], strict=True):
                binding.bind_input(name, *_memory(array))
            for name, array in zip(outputs, [*answers.values(), *after], strict=True):
                binding.bind_output(name, *_memory(array))
            return binding

        self._turn = (bind(here, there), there)
        self._next_turn = (bind(there, here), here)

    def step(self, features: FloatArray) -> FloatArray:
        """Run one step, after which this is the next state; return a copy of the posteriors."""
        self._features[:] = features
        binding, after = self._turn
        self._run(binding)
        self._turn, self._next_turn = self._next_turn, self._turn
        self[:] = after
        return self._posteriors.copy()


def _memory(array: FloatArray) -> tuple[Any, ...]:
    """Say where an array is, as a binding wants it."""
    return "cpu", 0, array.dtype.type, array.shape, array.ctypes.data
