"""The student: causal convolutions over log-mel frames, with explicit state when it streams.

```
features (B, T, F) -> stem -> down (stride 2 each) -> dilated blocks -> hidden (B, T/4, C) -> head
```

A block is `relu(BN(conv(x)) + x)`. Normalisation and the skip are linear, so they fold into the
convolution's own weights (re-parameterisation as in RepVGG, Ding et al. 2021): what is exported
is a plain chain of convolutions.

Letters in shapes: B batch, T frames (10 ms), U outputs (40 ms), F mel bands, C width of the hidden
vectors, K keywords.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwspot_export import recipe
from kwspot_export.norm import GlobalBatchNorm

FRAMES_PER_STEP = 8  # 80 ms: a call costs as much for 8 frames as for 1
SUBSAMPLING = 4  # stem and down convolution have stride 2 each
OUTPUTS_PER_STEP = FRAMES_PER_STEP // SUBSAMPLING
OUTPUT_HOP = SUBSAMPLING * 160  # samples between outputs, 40 ms
FEATURE_SCALE = 0.25  # brings speech, up to 17 above the floor, to about 0 to 4
EDGE_KERNEL = 5  # stem and down: 50 ms and 110 ms, about a phone


class Streaming(Protocol):
    """A module that runs one step: (features (8, F), *states) -> (output, ..., *next states)."""

    def fresh_states(self) -> list[Tensor]:
        """Return the states of a stream that has heard nothing."""

    def __call__(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Run one step; outputs are (2, size) each."""


class Encoder(Protocol):
    """A module that hears: features (B, T, F) -> hidden vectors (B, T/4, C), C being `width`.

    A hidden vector depends on the `receptive_field` frames up to it and on none before.
    """

    width: int

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""

    def __call__(self, features: Tensor) -> Tensor:
        """Run over whole clips."""

    def streaming(self) -> Streaming:
        """Return a copy for inference: (features (8, F), *states) -> (hidden (2, C), *next)."""


class CausalConv(nn.Module):
    """A convolution over the past only: (B, C, T) -> (B, C', T / stride).

    `history` is how many frames before the first one it looks at; they are the layer's state.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation, bias=False)
        self.norm = GlobalBatchNorm(outputs)
        self.history = (kernel - 1) * dilation + 1 - stride
        self.skip = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Run over whole clips, with zeros before the first frame."""
        y = self.norm(self.conv(functional.pad(x, (self.history, 0))))
        return torch.relu(y + x if self.skip else y)

    def fold(self) -> tuple[Tensor, Tensor]:
        """Return weight (C', C, kernel) and bias (C',) of the convolution that does it all."""
        scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        weight = self.conv.weight * scale[:, None, None]
        bias = self.norm.bias - self.norm.running_mean * scale
        if self.skip:
            last = torch.zeros_like(weight)
            last[:, :, -1] = torch.eye(len(weight))
            weight = weight + last
        return weight.detach(), bias.detach()


class ConvEncoder(nn.Module):
    """The convolutions, for training: features (B, T, F) -> hidden vectors (B, T / 4, C)."""

    def __init__(self, mels: int, size: recipe.Student) -> None:
        super().__init__()
        self.width = width = size.channels
        self.layers = nn.ModuleList(
            [
                CausalConv(mels, width, EDGE_KERNEL, stride=2),
                CausalConv(width, width, EDGE_KERNEL, stride=2),
                *(CausalConv(width, width, size.kernel, dilation=d) for d in size.dilations),
            ]
        )

    def forward(self, features: Tensor) -> Tensor:
        """Run over whole clips, with zeros before the first frame of every layer's input."""
        x = features.transpose(1, 2) * FEATURE_SCALE
        for layer in self.layers:
            x = layer(x)
        return x.transpose(1, 2)

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        frames, hop = 1, 1
        for layer in self.layers:
            conv = layer.conv
            frames += (conv.kernel_size[0] - 1) * conv.dilation[0] * hop
            hop *= conv.stride[0]
        return frames

    def streaming(self) -> "StreamingConv":
        """Return the folded convolutions, one step at a time."""
        return StreamingConv(self).eval()


class StreamingConv(nn.Module):
    """The folded convolutions one step at a time, as they are exported.

    `forward(features (8, F), *states) -> (hidden (2, C), *next states)`; a state is the tail of
    one layer's input, (history, C).

    With two outputs a step, a convolution is a product of a 2-row matrix; runtimes that vectorise
    over time waste most of their lanes on it. So the taps of each output are gathered into one row
    and multiplied by the weights: 100 us instead of 160 us a step in ONNX Runtime on x86-64.
    """

    def __init__(self, encoder: ConvEncoder) -> None:
        super().__init__()
        self.linears = nn.ModuleList()
        self.state_shapes = [(layer.history, layer.conv.in_channels) for layer in encoder.layers]
        self.taps = []
        frames = FRAMES_PER_STEP
        for layer in encoder.layers:
            weight, bias = layer.fold()
            if not self.linears:
                weight = weight * FEATURE_SCALE
            outputs, _, kernel = weight.shape
            linear = nn.Linear(weight[0].numel(), outputs)
            linear.weight.data = weight.transpose(1, 2).reshape(outputs, -1)
            linear.bias.data = bias
            self.linears.append(linear)
            stride, dilation = layer.conv.stride[0], layer.conv.dilation[0]
            frames //= stride
            starts = torch.arange(frames)[:, None] * stride
            self.taps.append((starts + torch.arange(kernel) * dilation).flatten())

    def fresh_states(self) -> list[Tensor]:
        """Return the states of a stream that has heard nothing."""
        return [torch.zeros(history, width) for history, width in self.state_shapes]

    def forward(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Run one step."""
        x, next_states = features, []
        for linear, taps, state in zip(self.linears, self.taps, states, strict=True):
            x = torch.cat([state, x])
            next_states.append(x[len(x) - len(state) :])
            x = torch.relu(linear(x.index_select(0, taps).reshape(-1, linear.in_features)))
        return (x, *next_states)


class FrameNet(nn.Module):
    """An encoder and a keyword head for each output: features (B, T, F) -> logits (B, T / 4, K)."""

    def __init__(self, encoder: Encoder, keywords: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Conv1d(encoder.width, keywords, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits; a sigmoid makes them posteriors."""
        return self.head(self.encoder(features).transpose(1, 2)).transpose(1, 2)

    def outputs(self, features: Tensor) -> tuple[Tensor]:
        """Compute what the exported net puts out: posteriors (B, T / 4, K)."""
        return (torch.sigmoid(self(features)),)

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return self.encoder.receptive_field

    def streaming(self) -> "StreamingNet":
        """Return a copy for inference, one step at a time."""
        return StreamingNet(self).eval()


class StreamingNet(nn.Module):
    """A FrameNet one step at a time, as it is exported.

    `forward(features (8, F), *states) -> (posteriors (2, K), *next states)`; the states are those
    of the encoder.
    """

    def __init__(self, net: FrameNet) -> None:
        super().__init__()
        self.encoder = net.encoder.streaming()
        self.head = nn.Linear(net.head.in_channels, net.head.out_channels)
        self.head.weight.data = net.head.weight.detach()[:, :, 0].clone()
        self.head.bias.data = net.head.bias.detach().clone()

    def fresh_states(self) -> list[Tensor]:
        """Return the states of a stream that has heard nothing."""
        return self.encoder.fresh_states()

    def forward(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Run one step."""
        hidden, *next_states = self.encoder(features, *states)
        return (torch.sigmoid(self.head(hidden)), *next_states)


def stream(net: Streaming, features: Tensor) -> tuple[Tensor, ...]:
    """Run a streaming module over (T, F) step by step: each of its outputs, (T / 4, size)."""
    states: Sequence[Tensor] = net.fresh_states()
    steps = []
    for step in features.split(FRAMES_PER_STEP):
        results = net(step, *states)
        outputs, states = results[: -len(states)], results[-len(states) :]
        steps.append(outputs)
    return tuple(torch.cat(parts) for parts in zip(*steps, strict=True))
