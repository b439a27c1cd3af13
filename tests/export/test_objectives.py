from collections.abc import Callable
from math import exp, log, log1p

import pytest
import torch
from kwspot_export.objectives.keyword import (
    HARDEST,
    POSITIVE_WEIGHT,
    frame_cross_entropy,
    max_pooling,
)
from torch import Tensor

# One window with the keyword and one without; the keyword may be reported in frames 4 to 6.
TARGET = torch.tensor([[0, 0, 0, -1, 1, 1, 1, -1, 0, 0], [0] * 10], dtype=torch.int8)
CERTAIN = torch.tensor([True, True])


def frame_loss(logits: Tensor, target: Tensor) -> Tensor:
    return frame_cross_entropy(logits, target, CERTAIN)


both_losses = pytest.mark.parametrize("loss", [frame_loss, max_pooling])
Loss = Callable[[Tensor, Tensor], Tensor]


def softplus(x: float) -> float:
    return log1p(exp(x))


def test_cross_entropy_of_a_clueless_student_is_the_logarithm_of_two() -> None:
    assert frame_loss(torch.zeros(2, 10), TARGET).item() == pytest.approx(log(2))


def test_cross_entropy_weighs_the_frames_as_computed_by_hand() -> None:
    target = torch.tensor([[0, 1, -1], [0, 0, 1]], dtype=torch.int8)
    logits = torch.tensor([[0.5, 1.5, 9.0], [-1.0, 2.0, -3.0]])
    certain = torch.tensor([True, False])  # so that frame 2 of the second window is left out
    negatives = softplus(0.5) + softplus(-1.0) + softplus(2.0)
    expected = (negatives + POSITIVE_WEIGHT * softplus(-1.5)) / (3 + POSITIVE_WEIGHT)
    loss = frame_cross_entropy(logits, target, certain).item()
    assert loss == pytest.approx(expected, rel=1e-6)  # float32


def test_max_pooling_takes_the_best_pair_and_the_hardest_frames() -> None:
    logits = torch.tensor(
        [
            [0.1, 0.2, 0.3, 9.0, 3.0, -1.0, 2.0, 9.0, -5.0, 0.4],
            [1.0, -4.0, 2.0, -4.0, 0.5, -4.0, -4.0, -4.0, -4.0, 0.25],
        ]
    )
    hit = softplus(-(3.0 - 1.0) / 2)  # frames 4 and 5 are better together than 5 and 6
    alarms = [[0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 0.5, 0.25]]
    mean_alarms = sum(sum(map(softplus, row)) / HARDEST for row in alarms)
    expected = (POSITIVE_WEIGHT * hit + mean_alarms) / 2
    assert max_pooling(logits, TARGET).item() == pytest.approx(expected, rel=1e-6)  # float32


def test_max_pooling_is_not_content_with_a_lone_spike() -> None:
    spike, stretch = torch.full((2, 10), -5.0), torch.full((2, 10), -5.0)
    spike[0, 5] = 5.0
    stretch[0, 5:7] = 5.0
    assert max_pooling(stretch, TARGET) < 0.1 < max_pooling(spike, TARGET)


@both_losses
def test_a_perfect_student_has_no_loss(loss: Loss) -> None:
    perfect = torch.where(TARGET == 1, 40.0, -40.0)
    assert loss(perfect, TARGET).item() == pytest.approx(0.0, abs=1e-12)


@both_losses
def test_every_mistake_costs(loss: Loss) -> None:
    perfect = torch.where(TARGET == 1, 5.0, -5.0)
    missed, alarmed = perfect.clone(), perfect.clone()
    missed[0, 4:7] = -5.0
    alarmed[1, 3] = 5.0
    assert loss(missed, TARGET) > loss(perfect, TARGET) + 0.1
    assert loss(alarmed, TARGET) > loss(perfect, TARGET) + 0.1


@both_losses
def test_frames_that_are_not_asked_get_no_gradient(loss: Loss) -> None:
    logits = torch.randn(2, 10, generator=torch.Generator().manual_seed(3)).requires_grad_()
    loss(logits, TARGET).backward()
    assert (logits.grad[TARGET == -1] == 0).all()
    assert (logits.grad[TARGET == 1] <= 0).all()
    assert (logits.grad[TARGET == 0] >= 0).all()
    assert logits.grad[TARGET == 1].any() and logits.grad[TARGET == 0].any()


@both_losses
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_gradients_stay_finite_for_huge_logits(loss: Loss, size: float) -> None:
    for wrong in (TARGET == 1, TARGET != 1):
        logits = torch.where(wrong, -size, size).requires_grad_()
        value = loss(logits, TARGET)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()


@both_losses
def test_a_batch_without_the_keyword_is_learnt_from(loss: Loss) -> None:
    logits = torch.zeros(2, 10, requires_grad=True)
    loss(logits, torch.zeros(2, 10, dtype=torch.int8)).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.any()
