"""The student: causal convolutions over log-mel frames, with explicit state when it streams.

```
features (B, T, F) -> stem -> down (stride 2 each) -> dilated blocks -> head -> (B, T/4, K)
```

A block is `relu(BN(conv(x)) + x)`. Normalisation and the skip are linear, so they fold into the
convolution's own weights (re-parameterisation as in RepVGG, Ding et al. 2021): what is exported
is a plain chain of convolutions.

Letters in shapes: B batch, T frames (10 ms), U outputs (40 ms), F mel bands, C channels,
K keywords.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwspot_export import recipe

FRAMES_PER_STEP = 8  # 80 ms: a call costs as much for 8 frames as for 1
SUBSAMPLING = 4  # stem and down convolution have stride 2 each
OUTPUT_HOP = SUBSAMPLING * 160  # samples between outputs, 40 ms
FEATURE_SCALE = 0.25  # brings speech, up to 17 above the floor, to about 0 to 4
EDGE_KERNEL = 5  # stem and down: 50 ms and 110 ms, about a phone


class CausalConv(nn.Module):
    """A convolution over the past only: (B, C, T) -> (B, C', T / stride).

    `history` is how many frames before the first one it looks at; they are the layer's state.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
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


class CausalConvNet(nn.Module):
    """The whole student, for training: features (B, T, F) -> logits (B, T / 4, K)."""

    def __init__(self, mels: int, keywords: int, size: recipe.Student) -> None:
        super().__init__()
        width = size.channels
        self.layers = nn.ModuleList(
            [
                CausalConv(mels, width, EDGE_KERNEL, stride=2),
                CausalConv(width, width, EDGE_KERNEL, stride=2),
                *(CausalConv(width, width, size.kernel, dilation=d) for d in size.dilations),
            ]
        )
        self.head = nn.Conv1d(width, keywords, 1)

    def embed(self, features: Tensor) -> Tensor:
        """Compute the last hidden layer: (B, T, F) -> (B, C, T / 4)."""
        x = features.transpose(1, 2) * FEATURE_SCALE
        for layer in self.layers:
            x = layer(x)
        return x

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits; a sigmoid makes them posteriors."""
        return self.head(self.embed(features)).transpose(1, 2)

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        strides = (2, 2, *(1 for _ in self.layers[2:]))
        frames, hop = 1, 1
        for layer, stride in zip(self.layers, strides, strict=True):
            conv = layer.conv
            frames += (conv.kernel_size[0] - 1) * conv.dilation[0] * hop
            hop *= stride
        return frames


class StreamingNet(nn.Module):
    """The folded student one step at a time, as it is exported.

    `forward(features (8, F), *states) -> (posteriors (2, K), *next states)`; a state is the tail of
    one layer's input, (history, C).

    With two outputs a step, a convolution is a product of a 2-row matrix; runtimes that vectorise
    over time waste most of their lanes on it. So the taps of each output are gathered into one row
    and multiplied by the weights: 100 us instead of 160 us a step in ONNX Runtime on x86-64.
    """

    def __init__(self, net: CausalConvNet) -> None:
        super().__init__()
        self.linears = nn.ModuleList()
        self.state_shapes = [(layer.history, layer.conv.in_channels) for layer in net.layers]
        self.taps = []
        frames = FRAMES_PER_STEP
        for layer in net.layers:
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
        self.head = nn.Linear(net.head.in_channels, net.head.out_channels)
        self.head.weight.data = net.head.weight.detach()[:, :, 0]
        self.head.bias.data = net.head.bias.detach()

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
        return (torch.sigmoid(self.head(x)), *next_states)


def stream(net: StreamingNet, features: Tensor) -> Tensor:
    """Run the streaming net over (T, F) step by step: posteriors (T / 4, K)."""
    states: Sequence[Tensor] = net.fresh_states()
    outputs = []
    for step in features.split(FRAMES_PER_STEP):
        posteriors, *states = net(step, *states)
        outputs.append(posteriors)
    return torch.cat(outputs)
