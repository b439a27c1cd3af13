"""A smaller teacher out of a large one: what SKILL does with a teacher, its groups and segments.

```
segments -> teacher -> layers -> groups -> targets --+
   |                                                 v
   +--------> gated copy -> layers -> groups -> distance + size -> smaller encoder
```
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kwspot_export import skill
from kwspot_export.prunable import PruningError, hidden_states, save_pruned
from kwspot_export.pruning import PruneResult, PruneRow, PruneSettings, prune
from kwspot_export.segments import Segments
from kwspot_export.teachers import Teacher

CALIBRATION = 64  # segments on which layers are scaled, compared and grouped
BATCH = 8  # segments a step


def calibrate(teacher: Teacher, segments: Segments, seed: int) -> list[Tensor]:
    """Return the hidden states of a few segments: L + 1 tensors (frames, D)."""
    rows = np.random.default_rng([seed, 0]).permutation(len(segments))[:CALIBRATION]
    hidden = teacher(torch.from_numpy(segments.audio(np.sort(rows))))
    return [layer.flatten(0, 1) for layer in hidden.layers]


def prune_teacher(
    teacher: Teacher,
    segments: Segments,
    folder: Path,
    sparsity: float,
    groups: int | skill.Groups,
    steps: int,
    seed: int,
    report: Callable[[PruneRow], None] = lambda row: None,
) -> PruneResult:
    """Prune a copy of `teacher` and save it to `folder`, where `open_teacher` finds it.

    `groups` says how many groups of alike layers to find, or which layers to take. Raises
    PruningError for a teacher that transformers does not run.
    """
    if not hasattr(teacher, "model"):
        raise PruningError(f"{teacher.name} is no transformers model, so it cannot be pruned")
    sample = calibrate(teacher, segments, seed)
    if isinstance(groups, int):
        groups = skill.cluster(skill.similarity(sample), groups)
    rms = skill.layer_rms(sample)

    def batch(step: int) -> tuple[Tensor, list[Tensor]]:
        rows = np.random.default_rng([seed, step, 1]).integers(len(segments), size=BATCH)
        inputs = teacher.inputs(torch.from_numpy(segments.audio(rows)))
        with torch.no_grad():
            layers = hidden_states(teacher.model, inputs)
        return inputs, skill.group_targets(layers, groups, rms)

    settings = PruneSettings(sparsity, groups, rms, steps=steps, seed=seed)
    result = prune(teacher.model, batch, settings, report)
    save_pruned(result.encoder, folder)
    return result
