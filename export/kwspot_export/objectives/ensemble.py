"""Targets from several teachers at once.

Huang, Feng, Fu, Hsu, Yen, Tseng, Chang, Lee: «Ensemble Knowledge Distillation of Self-Supervised
Speech Models», ICASSP 2023, arXiv 2302.12757. Their strategies: A, the average over teachers of
each layer; B, their concatenation; C, one head for each teacher and layer. The loss is
DistilHuBERT's distance to whatever targets come out.

Targets are scaled to unit RMS for each teacher and layer first, or the loudest teacher would be the
only one heard. Teachers of other width or basis cannot be averaged as they are: each is projected
onto its own principal components [our interpretation; the paper's teachers have one width].

Letters in shapes: B segments, U outputs, D width of a target. `layers[teacher][layer]` is
(B, U, D).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Layers = Sequence[Sequence[Tensor]]


def heads(layers: Layers) -> list[Tensor]:
    """Strategy C: every teacher's every layer is a target of its own."""
    return [layer for teacher in layers for layer in teacher]


def average(layers: Layers) -> list[Tensor]:
    """Strategy A: the mean over teachers of each layer; teachers need equal layers and widths."""
    return [torch.stack(list(same)).mean(dim=0) for same in zip(*layers, strict=True)]


def concatenation(layers: Layers) -> list[Tensor]:
    """Strategy B: the teachers' layers side by side; teachers need equally many layers."""
    return [torch.cat(list(same), dim=-1) for same in zip(*layers, strict=True)]


STRATEGIES: dict[str, Callable[[Layers], list[Tensor]]] = {
    "average": average,
    "concatenation": concatenation,
    "heads": heads,
}
