"""Distance to a teacher's hidden states, frame by frame.

DistilHuBERT (Chang, Yang, Lee 2022, arXiv 2110.01900), equation 1, also stage 1 of Kerpicci et al.
(arXiv 2210.16611): for each target layer a linear head on the student predicts the layer's frames;
the loss of a frame is the mean L1 distance over dimensions minus log sigmoid of the cosine.

Letters in shapes: B segments, U outputs, C width of the student, D width of a target.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def frame_distance(predicted: Tensor, target: Tensor, cosine_weight: float = 1.0) -> Tensor:
    """Mean over frames of L1 / D - cosine_weight * log sigmoid(cosine): (B, U, D) twice -> scalar.

    Its minimum, at predicted = target, is cosine_weight * log(1 + 1/e) = 0.313 times the weight.
    """
    l1 = functional.l1_loss(predicted, target)
    cosine = functional.cosine_similarity(predicted, target, dim=-1)
    return l1 - cosine_weight * functional.logsigmoid(cosine).mean()


class Distance(nn.Module):
    """One linear head for each target; the loss is the sum of the heads' distances."""

    def __init__(self, width: int, targets: Sequence[int], cosine_weight: float = 1.0) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, target) for target in targets)
        self.cosine_weight = cosine_weight

    def forward(self, hidden: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """Compute the loss of hidden (B, U, C) against targets (B, U, D), one for each head."""
        losses = [
            frame_distance(head(hidden), target, self.cosine_weight)
            for head, target in zip(self.heads, targets, strict=True)
        ]
        return torch.stack(losses).sum()
