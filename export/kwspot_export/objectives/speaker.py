"""Whose voice: angular softmax over the training speakers.

The multi-task paper (Kerpicci et al., arXiv 2210.16611) asks for an angular softmax; this is the
form with an additive angular margin (Deng et al. 2019, arXiv 1801.07698, equation 3) [our choice].

Letters in shapes: B utterances, E size of the embedding, S speakers.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class AngularSoftmax(nn.Module):
    """Cross-entropy over scaled cosines to one direction a speaker, the own angle widened."""

    def __init__(self, size: int, speakers: int, margin: float = 0.2, scale: float = 20.0) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(speakers, size) / math.sqrt(size))
        self.margin, self.scale = margin, scale

    def forward(self, embedding: Tensor, speaker: Tensor) -> Tensor:
        """Compute the loss of embeddings (B, E) of speakers (B,) int64."""
        cosine = functional.linear(
            functional.normalize(embedding, dim=-1), functional.normalize(self.directions, dim=-1)
        ).clamp(-1 + 1e-6, 1 - 1e-6)  # acos has no gradient at the ends
        own = functional.one_hot(speaker, len(self.directions)).bool()
        # Beyond pi the cosine would rise again: a margin never makes a bad angle better.
        widened = torch.cos((torch.acos(cosine) + self.margin).clamp_max(math.pi))
        logits = self.scale * torch.where(own, widened, cosine)
        return functional.cross_entropy(logits, speaker)
