"""The light transformer student of S3RL, made causal so that it streams.

```
features (B, T, F) -> stacked by 4 (B, T/4, 4F) -> linear -> layers -> norm -> hidden (B, T/4, C)
```

Yang et al., Interspeech 2023 (arXiv 2307.02720) distil into three transformer layers of width 256
on log filter banks, without convolutions: 1.6 M parameters. Theirs hear the whole utterance; here
[our choice] a layer attends to an output itself and the `context` outputs before it, at positions
learned relative to it, and layers are pre-norm, which trains from scratch without care.

Letters in shapes: B batch, T frames (10 ms), U outputs (40 ms), F mel bands, C width, H heads,
P context, the outputs before its own that a layer attends to.
"""

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kwspot_export import recipe
from kwspot_export.student import FEATURE_SCALE, SUBSAMPLING


class Layer(nn.Module):
    """Attention to the recent past, then a feed-forward net, each `x + f(norm(x))` (pre-norm)."""

    def __init__(self, size: recipe.Transformer) -> None:
        super().__init__()
        width = size.width
        self.heads, self.context = size.heads, size.context
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        # What is added to a logit of attention, by how many outputs ago the key was.
        self.position = nn.Parameter(torch.zeros(size.heads, size.context + 1))
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, size.feed_forward),
            nn.GELU(),
            nn.Linear(size.feed_forward, width),
        )

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from the past: (B, U, C), (B, P, 2C) -> (B, U, C) and the next past (B, P, 2C).

        The past is the keys and values of the last P outputs; a step would cost five times as much
        if it computed them again from the layer's inputs.
        """
        queries, new = self.project(self.norm(x)).tensor_split([x.shape[2]], dim=2)
        both = torch.cat([past, new], dim=1)
        keys, values = both.chunk(2, dim=2)
        queries = self._by_head(queries / math.sqrt(x.shape[2] // self.heads))
        logits = queries @ self._by_head(keys).transpose(2, 3) + self._bias(x.shape[1])
        heard = torch.softmax(logits, dim=3) @ self._by_head(values)
        x = x + self.mix(heard.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x), both[:, x.shape[1] :]

    def _by_head(self, x: Tensor) -> Tensor:
        """Split the width: (B, N, C) -> (B, H, N, C / H)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _bias(self, outputs: int) -> Tensor:
        """Return what is added to the logits, (H, U, P + U); -inf where a key is out of reach."""
        device = self.position.device
        keys = torch.arange(self.context + outputs, device=device)
        ago = torch.arange(outputs, device=device)[:, None] + self.context - keys
        bias = self.position[:, ago.clamp(0, self.context)]
        return bias.masked_fill((ago < 0) | (ago > self.context), -torch.inf)


class TransformerEncoder(nn.Module):
    """The layers, for training: features (B, T, F) -> hidden vectors (B, T / 4, C).

    What lies before a clip or a stream counts in attention as keys and values of zero, in both the
    same: so a streamed clip equals the whole one. Time and memory go with the square of T.
    """

    def __init__(self, mels: int, size: recipe.Transformer) -> None:
        super().__init__()
        self.width, self.context = size.width, size.context
        self.stem = nn.Linear(SUBSAMPLING * mels, size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)

    def forward(self, features: Tensor) -> Tensor:
        """Run over whole clips; frames that do not make up an output are left out."""
        before = features.new_zeros(len(features), self.context, 2 * self.width)
        return self.go_on(features, [before] * len(self.layers))[0]

    def go_on(self, features: Tensor, pasts: Iterable[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Run from each layer's past (B, P, 2C): the hidden vectors and the next pasts."""
        outputs = features.shape[1] // SUBSAMPLING
        stacked = features[:, : outputs * SUBSAMPLING].unflatten(1, (outputs, SUBSAMPLING))
        x, next_pasts = self.stem(stacked.flatten(2) * FEATURE_SCALE), []
        for layer, past in zip(self.layers, pasts, strict=True):
            x, next_past = layer(x, past)
            next_pasts.append(next_past)
        return self.norm(x), next_pasts

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return SUBSAMPLING * (len(self.layers) * self.context + 1)

    def streaming(self) -> "StreamingTransformer":
        """Return a copy for inference, one step at a time."""
        return StreamingTransformer(self).eval()


class StreamingTransformer(nn.Module):
    """The transformer one step at a time, as it is exported.

    `forward(features (8, F), *states) -> (hidden (2, C), *next states)`; a state holds the keys
    and values of the last outputs in one layer, (P, 2C).
    """

    def __init__(self, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)

    def fresh_states(self) -> list[Tensor]:
        """Return the states of a stream that has heard nothing."""
        encoder = self.encoder
        return [torch.zeros(encoder.context, 2 * encoder.width) for _ in encoder.layers]

    def forward(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Run one step."""
        hidden, pasts = self.encoder.go_on(features[None], [state[None] for state in states])
        return (hidden[0], *(past[0] for past in pasts))
