import math

import numpy as np
import torch
from kwspot_export.objectives.s3rl import (
    balanced,
    batch_view,
    codebook,
    draw_masks,
    feature_view,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whitened(utterances: int, dimensions: int) -> torch.Tensor:
    """Features whose dimensions do not correlate over the batch, and whose mean is zero."""
    x = random(utterances, dimensions)
    q, _ = torch.linalg.qr(x - x.mean(dim=0))
    return q


def test_feature_view_of_a_hand_computed_case() -> None:
    teacher = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    student = teacher.flip(dims=[1])  # the right dimensions in the wrong places
    # C = [[0, 1], [1, 0]]: two diagonal entries miss 1 by 1, two others are 1 and should be 0.
    assert math.isclose(float(feature_view(teacher, student, alpha=0.1)), 2 + 0.1 * 2, rel_tol=1e-5)


def test_batch_view_of_a_hand_computed_case() -> None:
    teacher = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    student = -teacher
    # G = [[-1, 1], [1, -1]].
    assert math.isclose(float(batch_view(teacher, student, beta=0.1)), 8 + 0.1 * 2, rel_tol=1e-5)


def test_views_vanish_where_student_and_teacher_agree_and_nothing_else_correlates() -> None:
    features = whitened(32, 8)
    assert float(feature_view(features, features)) < 1e-8
    utterances = torch.eye(6) * 100  # orthogonal but for the mean that is subtracted
    expected = 5e-3 * 30 * (1 / 5) ** 2  # centred unit vectors of a simplex: cosine -1/5
    assert math.isclose(float(batch_view(utterances, utterances)), expected, rel_tol=1e-4)


def test_views_do_not_see_what_all_utterances_share() -> None:
    teacher, student = random(16, 4), random(16, 4, seed=1)
    for view in (feature_view, batch_view):
        shifted = view(teacher + 100, student - 50)
        assert math.isclose(float(shifted), float(view(teacher, student)), rel_tol=1e-2)


def test_batch_view_rises_to_agreement_when_centred() -> None:
    # Uncentred, a common offset would make all cosines 1, whatever the student says.
    teacher = random(16, 4) + 10
    wrong = batch_view(teacher, random(16, 4, seed=2) + 10)
    assert float(wrong) > 3 * float(batch_view(teacher, teacher))


def test_a_balanced_loss_is_one_and_keeps_the_direction_of_its_gradient() -> None:
    x = torch.tensor(4.0, requires_grad=True)
    loss = balanced(x.square())
    loss.backward()
    assert float(loss.detach()) == 1.0
    assert x.grad is not None and math.isclose(float(x.grad), 2 * 4 / 16, rel_tol=1e-6)


def test_codebook_of_a_hand_computed_case() -> None:
    codes = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    predicted = codes.clone()
    masked = torch.ones(1, 2, dtype=torch.bool)
    expected = math.log1p(math.exp(-1 / 0.1))  # cosine 1 to its own, 0 to the other
    assert math.isclose(float(codebook(predicted, codes, masked)), expected, abs_tol=1e-6)


def test_codebook_counts_masked_outputs_only_and_equal_codes_are_no_negatives() -> None:
    codes = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    wrong = -codes
    only_equal = torch.tensor([[True, True, False]])
    assert float(codebook(wrong, codes, only_equal)) == 0.0
    assert float(codebook(wrong, codes, torch.zeros(1, 3, dtype=torch.bool))) == 0.0
    assert float(codebook(wrong, codes, torch.ones(1, 3, dtype=torch.bool))) > 1


def test_masks_are_spans_and_repeat_by_seed() -> None:
    masks = draw_masks((3000, 40), 0.065, 5, np.random.default_rng(3))
    assert torch.equal(masks, draw_masks((3000, 40), 0.065, 5, np.random.default_rng(3)))
    share = 1 - (1 - 0.065) ** 5  # away from the left edge
    assert abs(float(masks[:, 5:].float().mean()) - share) < 0.01
    row = masks[int(masks.sum(dim=1).argmin())]
    runs = "".join("x" if m else "." for m in row.tolist()).strip("x").split(".")
    assert all(len(run) >= 5 for run in runs if run)


def test_gradients_are_finite_for_a_student_that_says_the_same_of_everything() -> None:
    teacher = random(8, 4)
    student = torch.ones(8, 4, requires_grad=True)
    total = balanced(feature_view(teacher, student)) + balanced(batch_view(teacher, student))
    total.backward()
    assert student.grad is not None and student.grad.isfinite().all()


def test_losses_survive_bfloat16() -> None:
    teacher, student = random(8, 4).bfloat16(), random(8, 4, seed=1).bfloat16().requires_grad_()
    (feature_view(teacher, student) + batch_view(teacher, student)).backward()
    assert student.grad is not None and student.grad.isfinite().all()
