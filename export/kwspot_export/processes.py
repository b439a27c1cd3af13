"""One training run on several processes, started by torchrun or accelerate.

Every process encodes its share of a batch; what it puts out is gathered, so that each computes the
loss of the whole batch, and gradients are averaged. Losses are those of one process with the same
batch: batch-wide losses (S3RL's views) stay what they are.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the group that torchrun's environment describes; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def count() -> int:
    """Return how many processes work on this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def number() -> int:
    """Return which of them this is; process 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def wait() -> None:
    """Wait until all processes have come here."""
    if count() > 1:
        dist.barrier()


def share(rows: Tensor) -> Tensor:
    """Return this process's part of a batch: (B, ...) -> (B / processes, ...)."""
    if len(rows) % count():
        raise ValueError(f"a batch of {len(rows)} cannot be shared out over {count()} processes")
    return rows.chunk(count())[number()]


def gather(rows: Tensor) -> Tensor:
    """Put the parts of all processes together, with gradients: (B / processes, ...) -> (B, ...)."""
    if count() == 1:
        return rows
    return _Gather.apply(rows)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average gradients over the processes."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= count()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


class _Gather(torch.autograd.Function):
    """All parts, in order. Backward, the gradients that all processes have for the own part."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(count())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(count())[number()]
