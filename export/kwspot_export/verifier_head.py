"""The head of a verifier: from hidden states of the net below it to a logit for one word.

```
hidden (B, T, D) -> linear, C -> convolution 5 -> convolution 5, steps of two -> linear -> (B,)
```
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kwspot.features import FloatArray
from kwspot.verifier import STRIDE, TAPS

CHANNELS = 64
DROPOUT = 0.3


class VerifierHead(nn.Module):
    """What `kwspot.verifier.Verifier.logit` computes, with dropout while it learns."""

    def __init__(self, width: int, outputs: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.project = nn.Linear(width, channels)
        self.first = nn.Conv1d(channels, channels, TAPS, padding=TAPS // 2)
        self.second = nn.Conv1d(channels, channels, TAPS, STRIDE, padding=TAPS // 2)
        self.out = nn.Linear(channels * -(-outputs // STRIDE), 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to logits (B,)."""
        x = self.dropout(functional.relu(self.project(self.dropout(hidden)))).transpose(1, 2)
        x = functional.relu(self.second(functional.relu(self.first(x))))
        logits: Tensor = self.out(self.dropout(x).transpose(1, 2).flatten(1))[:, 0]
        return logits

    def arrays(self) -> dict[str, FloatArray]:
        """Return the weights as a verifier's file holds them, float32."""

        def taps(layer: nn.Conv1d) -> Tensor:
            return layer.weight.permute(2, 1, 0).reshape(-1, layer.out_channels)

        weights = {
            "project": self.project.weight.T,
            "project_bias": self.project.bias,
            "first": taps(self.first),
            "first_bias": self.first.bias,
            "second": taps(self.second),
            "second_bias": self.second.bias,
            "out": torch.cat([self.out.weight[0], self.out.bias]),
        }
        return {n: np.ascontiguousarray(w.detach().cpu().numpy()) for n, w in weights.items()}


def fit_head(
    hidden: FloatArray, labels: FloatArray, steps: int, seed: int, device: str
) -> VerifierHead:
    """Train a head on hidden states (W, T, D) of any precision, and labels (W,) 0 or 1."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = VerifierHead(hidden.shape[2], hidden.shape[1]).to(device)
    optimizer = torch.optim.AdamW(head.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps + 1)
    for _ in range(steps):
        drawn = rng.choice(len(labels), 64, replace=False)
        batch = torch.from_numpy(hidden[drawn].astype(np.float32)).to(device)
        wanted = torch.from_numpy(labels[drawn]).to(device)
        loss = functional.binary_cross_entropy_with_logits(head(batch), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval()
