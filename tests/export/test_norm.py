from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from kwspot_export.norm import GlobalBatchNorm
from torch import Tensor, multiprocessing, nn

CHANNELS, FRAMES = 5, 7
# float32 means of 56 numbers in another order; BatchNorm1d itself is as far from float64.
TOLERANCE = 2e-6


def batch() -> tuple[Tensor, Tensor]:
    """Make inputs (8, C, T), far from zero in one channel, and what the loss weighs outputs by."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(8, CHANNELS, FRAMES, generator=random)
    x[:, 0] += 3.0
    x[4:] *= 2.0  # the two shares have different statistics
    return x, torch.randn(8, CHANNELS, FRAMES, generator=random)


def norm_with_weights(kind: type[nn.BatchNorm1d]) -> nn.BatchNorm1d:
    norm = kind(CHANNELS)
    norm.weight.data.copy_(torch.linspace(0.5, 1.5, CHANNELS))
    norm.bias.data.copy_(torch.linspace(-1, 1, CHANNELS))
    return norm


def learn(norm: nn.BatchNorm1d, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Run two training steps and one of inference; return all that there is to compare."""
    norm.train()
    norm(x)
    x = x.clone().requires_grad_()
    y = norm(x)
    (weights * y).square().sum().backward()
    assert x.grad is not None
    found = {"y": y.detach(), "x": x.grad}
    found |= {"weight gradient": norm.weight.grad, "bias gradient": norm.bias.grad}
    return found | {"inference": norm.eval()(x).detach()} | norm.state_dict()


def share(rank: int, folder: Path) -> None:
    """Learn from one half of the batch as one of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2
    )
    x, weights = (part.chunk(2)[rank] for part in batch())
    torch.save(learn(norm_with_weights(GlobalBatchNorm), x, weights), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one_on_the_whole_batch(tmp_path: Path) -> None:
    multiprocessing.spawn(share, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    one = learn(norm_with_weights(nn.BatchNorm1d), *batch())
    for name in ("y", "x", "inference"):
        shares = torch.cat([first[name], second[name]])
        torch.testing.assert_close(shares, one[name], atol=TOLERANCE, rtol=TOLERANCE)
    # Weights have the gradient of local rows: their sum is that of the whole loss.
    for name in ("weight gradient", "bias gradient"):
        total = first[name] + second[name]
        torch.testing.assert_close(total, one[name], atol=1e-5, rtol=1e-5)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(first[name], second[name]), "processes must not drift apart"
        torch.testing.assert_close(first[name], one[name], atol=TOLERANCE, rtol=TOLERANCE)


def test_one_process_is_batch_norm_to_the_bit() -> None:
    x, weights = batch()
    one, expected = (
        learn(norm_with_weights(kind), x, weights) for kind in (GlobalBatchNorm, nn.BatchNorm1d)
    )
    assert one.keys() == expected.keys()
    assert all(torch.equal(one[name], expected[name]) for name in one)
