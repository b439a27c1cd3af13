import math

import torch
from kwspot_export.objectives.distance import Distance, frame_distance
from torch import Tensor


def test_a_hand_computed_case() -> None:
    predicted = torch.tensor([[[1.0, 0.0]]])
    target = torch.tensor([[[0.0, 2.0]]])
    # L1 over two dimensions (1 + 2) / 2; the vectors are orthogonal: -log sigmoid 0 = log 2.
    expected = 1.5 + math.log(2)
    assert math.isclose(float(frame_distance(predicted, target)), expected, rel_tol=1e-6)
    assert math.isclose(float(frame_distance(predicted, target, 0.0)), 1.5, rel_tol=1e-6)


def test_its_minimum_is_the_target_itself() -> None:
    target = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    least = float(frame_distance(target, target))
    assert math.isclose(least, math.log(1 + math.exp(-1)), rel_tol=1e-5)
    assert float(frame_distance(target + 0.1, target)) > least


def test_one_head_a_target_and_the_sum_of_their_losses() -> None:
    torch.manual_seed(0)
    distance = Distance(3, (4, 7))
    hidden = torch.randn(2, 5, 3)
    targets = [torch.randn(2, 5, 4), torch.randn(2, 5, 7)]
    parts: list[Tensor] = [
        frame_distance(head(hidden), target)
        for head, target in zip(distance.heads, targets, strict=True)
    ]
    assert torch.allclose(distance(hidden, targets), parts[0] + parts[1])


def test_gradients_are_finite_in_bfloat16_and_for_large_values() -> None:
    for dtype, size in ((torch.bfloat16, 1.0), (torch.float32, 6e4)):
        predicted = (size * torch.ones(1, 2, 3, dtype=dtype)).requires_grad_()
        frame_distance(predicted, torch.zeros(1, 2, 3, dtype=dtype)).backward()
        assert predicted.grad is not None and predicted.grad.isfinite().all()
