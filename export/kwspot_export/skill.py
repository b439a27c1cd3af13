"""Which layers of a teacher say the same: groups of layers whose averages are what is distilled.

```
calibration set -> hidden states of L layers -> similarity (L, L) -> clusters -> one target a group
```

SKILL (Zampierin et al. 2024, arXiv 2402.16830). From its abstract: layers are not picked by hand
but clustered hierarchically by a measure of similarity of their outputs, and the average of each
group is distilled. Unpublished there, and our interpretation: the measure (linear CKA), the linkage
(average), the number of groups (the caller's), and the common scale of layers before averaging.

Letters in shapes: L layers, M frames of the calibration set, D width of the teacher.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from kwspot.errors import KwspotError

Groups = tuple[tuple[int, ...], ...]


class SkillError(KwspotError, ValueError):
    """Layers that cannot be compared or grouped."""


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Centred kernel alignment with linear kernels of the same frames: (M, D), (M, D') -> 0 to 1.

    Kornblith et al. 2019 (arXiv 1905.00414), computed over features: |Y'X|^2 / (|X'X| |Y'Y|) in
    Frobenius norms. It does not change with rotations and scales of either side; layers that do
    not vary have no alignment, and the result is NaN.
    """
    x, y = _centred(x), _centred(y)
    return float(_norm(y.T @ x) ** 2 / (_norm(x.T @ x) * _norm(y.T @ y)))


def similarity(layers: Sequence[Tensor]) -> np.ndarray:
    """Linear CKA of every two layers of one teacher: L tensors (M, D) -> (L, L).

    Raises:
        SkillError: The layers have not one common shape, or one does not vary.

    """
    _check_one_width(layers)
    table = np.eye(len(layers))
    for i, x in enumerate(layers):
        for j, y in enumerate(layers[:i]):
            table[i, j] = table[j, i] = linear_cka(x, y)
    if not np.isfinite(table).all():
        raise SkillError("a layer is the same in every frame: take a larger calibration set")
    return table


def cluster(similarity: np.ndarray, groups: int) -> Groups:
    """Group L layers by average linkage of 1 - similarity: (L, L) -> groups of layer indices.

    Groups are ordered by their smallest layer, and layers inside each.

    Raises:
        SkillError: `groups` is not from 1 to L.

    """
    layers = len(similarity)
    if not 1 <= groups <= layers:
        raise SkillError(f"{layers} layers cannot make {groups} groups: choose 1 to {layers}")
    if layers == 1:
        return ((0,),)
    distance = np.clip(1 - similarity, 0, None)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    labels = cut_tree(tree, n_clusters=groups)[:, 0]
    members = [tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    return tuple(sorted(members))


def layer_rms(layers: Sequence[Tensor]) -> tuple[float, ...]:
    """Root mean square of each layer over all frames and features: L tensors (.., D) -> L."""
    return tuple(float(layer.detach().double().square().mean().sqrt()) for layer in layers)


def group_targets(
    layers: Sequence[Tensor], groups: Groups, rms: Sequence[float] | None = None
) -> list[Tensor]:
    """Average the layers of each group: L tensors (.., D) -> a tensor (.., D) for each group.

    Every layer is divided by its `rms` first, or the deepest layers, whose residuals have grown
    tenfold, would be all that is left of a group. `rms` is that of a calibration set, so that
    teacher and student share one scale; without it, each layer's own. A layer picked by hand is a
    group of one.

    Raises:
        SkillError: The layers have not one common width, or a group names no layer.

    """
    _check_one_width(layers)
    missing = {i for group in groups for i in group if not 0 <= i < len(layers)}
    if missing or not all(groups):
        raise SkillError(f"groups {groups} do not fit {len(layers)} layers: name 0 to L - 1")
    scales = layer_rms(layers) if rms is None else rms
    return [sum(layers[i] / scales[i] for i in group) / len(group) for group in groups]


def _check_one_width(layers: Sequence[Tensor]) -> None:
    shapes = sorted({tuple(layer.shape) for layer in layers})
    if len(shapes) != 1:
        raise SkillError(f"layers of one teacher have one shape, and these have {shapes or 'none'}")


def _centred(x: Tensor) -> Tensor:
    x = x.detach().double()
    return x - x.mean(dim=0)


_norm = torch.linalg.matrix_norm
