"""The net that tells voices apart: a second and a half of log-mel frames to one embedding.

```
features (B, T, F) -> less their mean -> stem (stride 2) -> dilated blocks -> all blocks' outputs
    -> 1 x 1 -> attentive mean and deviation over time -> embedding (B, E)
```

A small relative of ECAPA-TDNN (Desplanques et al. 2020, arXiv 2005.07143): residual convolutions
over time, and what every block says pooled together by attention. It runs once a detection, so that
it may be larger than a net that runs all the time, and look ahead as far as the window goes.

Letters in shapes: B batch, T frames (10 ms), F mel bands, C channels, E size of the embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURE_SCALE = 0.25  # as in students of keywords


@dataclass(frozen=True)
class VoiceStudent:
    """Size of a net of voices. `dilations` has a block each."""

    channels: int = 256
    pooled: int = 512
    dilations: tuple[int, ...] = (1, 2, 3, 4, 1)
    size: int = 128  # of the embedding


class Block(nn.Module):
    """A residual convolution, and a gate for each channel by its mean: (B, C, T) -> the same."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            channels, channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm = nn.BatchNorm1d(channels)
        self.squeeze = nn.Linear(channels, channels // 8)
        self.excite = nn.Linear(channels // 8, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Run over whole windows."""
        y = torch.relu(self.norm(self.conv(x)))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean(2)))))
        return x + y * gate[:, :, None]


class VoiceStudentNet(nn.Module):
    """Features (B, T, F) -> embeddings (B, E), not yet of length 1."""

    def __init__(self, mels: int, student: VoiceStudent) -> None:
        super().__init__()
        width = student.channels
        self.stem = nn.Conv1d(mels, width, 5, stride=2, padding=2, bias=False)
        self.stem_norm = nn.BatchNorm1d(width)
        self.blocks = nn.ModuleList([Block(width, dilation) for dilation in student.dilations])
        self.mix = nn.Conv1d(width * len(student.dilations), student.pooled, 1, bias=False)
        self.mix_norm = nn.BatchNorm1d(student.pooled)
        self.attend = nn.Sequential(
            nn.Conv1d(student.pooled, student.channels // 4, 1),
            nn.Tanh(),
            nn.Conv1d(student.channels // 4, student.pooled, 1),
        )
        self.pool_norm = nn.BatchNorm1d(2 * student.pooled)
        self.embed = nn.Linear(2 * student.pooled, student.size)

    def forward(self, features: Tensor) -> Tensor:
        """Run over windows of any length."""
        x = (features - features.mean(1, keepdim=True)).transpose(1, 2) * FEATURE_SCALE
        x = torch.relu(self.stem_norm(self.stem(x)))
        said = []
        for block in self.blocks:
            x = block(x)
            said.append(x)
        x = torch.relu(self.mix_norm(self.mix(torch.cat(said, 1))))
        weight = functional.softmax(self.attend(x), dim=2)
        mean = (x * weight).sum(2)
        deviation = ((x.square() * weight).sum(2) - mean.square()).clamp_min(1e-5).sqrt()
        return self.embed(self.pool_norm(torch.cat([mean, deviation], 1)))
