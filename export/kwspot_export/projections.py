"""What is done to a teacher's layers before they are targets: standardised, projected.

Letters in shapes: N vectors, D width of a layer, d dimensions that are kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kwspot_export.recipe import RecipeError


@dataclass(frozen=True)
class Standard:
    """Each dimension of a layer brought to mean 0 and variance 1: (..., D) -> (..., D).

    The papers leave layers as they are, and train a hundred times longer. A few dimensions of a
    transformer are large and nearly constant; as they are, a small student learns these and little
    else: a linear classifier on it was at chance after 700 steps [measured].
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def fit(cls, x: Tensor) -> "Standard":
        """Take mean and deviation of (N, D)."""
        return cls(x.mean(dim=0), x.std(dim=0).clamp_min(1e-4))

    def __call__(self, x: Tensor) -> Tensor:
        """Standardise."""
        return (x - self.mean) / self.deviation


@dataclass(frozen=True)
class Principal:
    """Principal components: `mean` (D,), `basis` (D, d)."""

    mean: Tensor
    basis: Tensor

    @classmethod
    def fit(cls, x: Tensor, dimensions: int) -> "Principal":
        """Find the components of (N, D) with the largest variance.

        Raises RecipeError for more of them than there are.
        """
        if dimensions > min(x.shape):
            raise RecipeError(
                f"{dimensions} principal components are asked of {x.shape[0]} vectors of "
                f"{x.shape[1]} values: lower dimensions"
            )
        mean = x.mean(dim=0)
        _, _, directions = torch.linalg.svd(x - mean, full_matrices=False)
        return cls(mean, directions[:dimensions].T.contiguous())

    def project(self, x: Tensor) -> Tensor:
        """Project (..., D) -> (..., d)."""
        return (x - self.mean) @ self.basis
