"""The network to be measured: functions of features, and how they are applied to many."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from inputs import Features, StudyError
from torch import Tensor

from kwspot.features import FloatArray

BATCH = 64  # windows at a time: more do not fit a processor's cache


@dataclass(frozen=True)
class Network:
    """A network as functions of features (B, T, F), float32 on the CPU; None where it has none.

    `logits` gives (B, U, K), K in the order of `labels`; `voice` (B, E), whose voice it is;
    `embed` (B, E'), what is said in the segment.
    """

    labels: tuple[str, ...] = ()
    logits: Callable[[Tensor], Tensor] | None = None
    voice: Callable[[Tensor], Tensor] | None = None
    embed: Callable[[Tensor], Tensor] | None = None


def embeddings(embed: Callable[[Tensor], Tensor], windows: Features) -> FloatArray:
    """Embed windows (N, T, F), each scaled to length 1: (N, E)."""
    rows = [finite(embed(part), "embeddings") for part in batches(windows)]
    joined = np.concatenate(rows)
    return joined / np.maximum(np.linalg.norm(joined, axis=1, keepdims=True), 1e-12)


def batches(windows: Features) -> Iterator[Tensor]:
    """Yield windows (N, T, F) some at a time, as a network takes them: float32 (B, T, F)."""
    for start in range(0, len(windows), BATCH):
        yield torch.from_numpy(windows[start : start + BATCH].astype(np.float32))


def finite(values: Tensor, what: str) -> FloatArray:
    """Return a network's answer as an array; raise StudyError where it is no number."""
    array = values.float().cpu().numpy()
    if not np.isfinite(array).all():
        raise StudyError(f"the network's {what} are not finite: its training has diverged")
    return array
