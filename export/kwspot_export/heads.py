"""Two questions to one encoder, «which word?» and «whose voice?», each answered by a linear layer.

```
features (B, T, F) -> encoder -> hidden (B, U, C) -> mean of the last second (B, U, C)
                                                       -> label logits (B, U, K)
                                                       -> speaker embedding (B, U, E)
```

A linear layer on features averaged over time is the classifier of S3RL and SUPERB (Yang et al.
2021, arXiv 2105.01051); two of them on one student are the multi-task model of Kerpicci et al.
(arXiv 2210.16611). The mean runs over the last second instead of the utterance, so that it streams.

Letters in shapes: B batch, T frames (10 ms), U outputs (40 ms), F mel bands, C width of the hidden
vectors, K labels, E size of the speaker embedding.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwspot_export.norm import GlobalBatchNorm
from kwspot_export.student import OUTPUTS_PER_STEP, SUBSAMPLING, Encoder

POOL = 25  # outputs averaged, 1 s: about the longest word


def trailing_mean(hidden: Tensor) -> Tensor:
    """Average each output and the POOL - 1 before it, zeros before the first: (B, U, C) -> same."""
    padded = functional.pad(hidden.transpose(1, 2), (POOL - 1, 0))
    return functional.avg_pool1d(padded, POOL, stride=1).transpose(1, 2)


class PooledHeads(nn.Module):
    """Linear heads on the mean of the last second: hidden (B, U, C) -> logits, embedding.

    The first `background` of the `labels` (silence, unknown words) are learnt and not reported.
    Without `speaker_size` there is no embedding. The mean is normalised over the batch before the
    heads: what is left of a distilled encoder's differences is small beside what its outputs share,
    and a linear layer on it would learn slowly. Normalisation folds into the heads.
    """

    def __init__(self, width: int, labels: int, speaker_size: int = 0, background: int = 0) -> None:
        super().__init__()
        self.width, self.background = width, background
        self.norm: nn.Module = GlobalBatchNorm(width)
        self.label = nn.Linear(width, labels)
        self.speaker = nn.Linear(width, speaker_size) if speaker_size else None

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute label logits (B, U, K) and the speaker embedding (B, U, E) of length 1."""
        return self.answer(trailing_mean(hidden))

    def answer(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        """Apply the heads to vectors that are averaged already: (..., C) -> (..., K), (..., E)."""
        pooled = self.norm(pooled.reshape(-1, self.width, 1)).view(pooled.shape)
        if self.speaker is None:
            return self.label(pooled), None
        return self.label(pooled), functional.normalize(self.speaker(pooled), dim=-1)

    def folded(self) -> "PooledHeads":
        """Return a copy for inference whose linear layers do what the normalisation did."""
        folded = copy.deepcopy(self).eval()
        norm = folded.norm
        scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias.detach() - norm.running_mean * scale
        for linear in filter(None, (folded.label, folded.speaker)):
            linear.bias.data += linear.weight.data @ shift
            linear.weight.data *= scale
        folded.norm = nn.Identity()
        return folded

    def report(self, pooled: Tensor) -> tuple[Tensor, ...]:
        """Compute what is exported, (..., C) -> posteriors (..., K - background), embedding."""
        logits, embedding = self.answer(pooled)
        posteriors = torch.softmax(logits, dim=-1)[..., self.background :]
        return (posteriors,) if embedding is None else (posteriors, embedding)


class JointNet(nn.Module):
    """An encoder and pooled heads: features (B, T, F) -> logits (B, U, K), embedding (B, U, E)."""

    def __init__(self, encoder: Encoder, heads: PooledHeads) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, heads

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute label logits, and the speaker embedding where the heads have one."""
        return self.heads(self.encoder(features))

    def outputs(self, features: Tensor) -> tuple[Tensor, ...]:
        """Compute what the exported net puts out: posteriors, and embedding where there is one."""
        return self.heads.report(trailing_mean(self.encoder(features)))

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return pooled_field(self.encoder)

    def streaming(self) -> "StreamingPooled":
        """Return a copy for inference: ... -> (posteriors (2, K - background), [embedding])."""
        return StreamingPooled(self.encoder, self.heads.folded()).eval()


class PooledEncoder(nn.Module):
    """An encoder that knows no keyword: features (B, T, F) -> mean of the last second (B, U, C)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def outputs(self, features: Tensor) -> tuple[Tensor]:
        """Compute what the exported net puts out: the averaged hidden vectors."""
        return (trailing_mean(self.encoder(features)),)

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return pooled_field(self.encoder)

    def streaming(self) -> "StreamingPooled":
        """Return a copy for inference: ... -> (embedding (2, C),)."""
        return StreamingPooled(self.encoder, None).eval()


class StreamingPooled(nn.Module):
    """An encoder, the mean of the last second and what is asked of it, one step at a time.

    `forward(features (8, F), *states) -> (*outputs, *next states)`; the last state is the POOL - 1
    hidden vectors before the step. Without heads the mean itself is the output.
    """

    def __init__(self, encoder: Encoder, heads: PooledHeads | None) -> None:
        super().__init__()
        self.encoder, self.heads, self.width = encoder.streaming(), heads, encoder.width
        # A layer with these weights averages all outputs of a step at once. It is no product from
        # the left: LiteRT 2.3 gets int8 products wrong whose left side is constant.
        ago = torch.arange(OUTPUTS_PER_STEP)[:, None] + POOL - 1
        ago = ago - torch.arange(POOL - 1 + OUTPUTS_PER_STEP)
        self.register_buffer("averages", ((ago >= 0) & (ago < POOL)) / POOL)

    def fresh_states(self) -> list[Tensor]:
        """Return the states of a stream that has heard nothing."""
        return [*self.encoder.fresh_states(), torch.zeros(POOL - 1, self.width)]

    def forward(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Run one step."""
        hidden, *next_states = self.encoder(features, *states[:-1])
        recent = torch.cat([states[-1], hidden])
        pooled = functional.linear(recent.T, self.averages).T
        outputs = (pooled,) if self.heads is None else self.heads.report(pooled)
        return (*outputs, *next_states, recent[OUTPUTS_PER_STEP:])


def pooled_field(encoder: Encoder) -> int:
    """Return the frames that a mean over the last second depends on."""
    return encoder.receptive_field + (POOL - 1) * SUBSAMPLING
