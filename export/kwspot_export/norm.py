"""Batch normalisation over the batches of all processes of a distributed run.

torch's SyncBatchNorm is for GPUs only. Here the sums go through `all_reduce`, so that it works on
any back end (gloo on CPUs too), and gradients flow back through it.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class GlobalBatchNorm(nn.BatchNorm1d):
    """BatchNorm1d (Ioffe and Szegedy 2015) whose batch is that of all processes: (B, C, T) -> same.

    Training in several processes, mean and variance are those of all rows of all processes, and
    each process updates its running statistics alike. Otherwise it is BatchNorm1d, to the bit.

    `backward` of a loss over local rows gives gradients of the sum of the losses of all processes
    with respect to local inputs, so every process has to run it. Gradients of parameters are of
    local rows, to be summed or averaged over processes as those of any layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, and in training keep track of the statistics."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        rows = x.new_tensor([x.numel() // x.shape[1]])
        sums = _AllReduce.apply(torch.cat([x.sum(dim=(0, 2)), rows]))
        rows = sums[-1].detach()
        # Two passes: the difference of the mean square and the squared mean would lose digits.
        centred = x - (sums[:-1] / rows)[:, None]
        variance = _AllReduce.apply(centred.square().sum(dim=(0, 2))) / rows
        self._track(sums[:-1].detach() / rows, variance.detach() * rows / (rows - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None] + self.bias[:, None]

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


class _AllReduce(torch.autograd.Function):
    """The sum over all processes. Its backward pass is the same sum, of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _AllReduce.apply(gradient)
