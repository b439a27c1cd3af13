import math

import torch
from kwspot_export.objectives.speaker import AngularSoftmax


def two_speakers(margin: float, scale: float) -> AngularSoftmax:
    loss = AngularSoftmax(2, 2, margin, scale)
    loss.directions.data = torch.eye(2) * 3  # lengths do not count
    return loss


def test_a_hand_computed_case() -> None:
    embedding = torch.tensor([[5.0, 0.0]])  # of speaker 0, exactly in his direction
    own, other = 10 * math.cos(0.3), 0.0
    expected = math.log(1 + math.exp(other - own))
    found = float(two_speakers(0.3, 10.0)(embedding, torch.tensor([0])).detach())
    assert math.isclose(found, expected, rel_tol=1e-2)  # angles stop at acos(1 - 1e-6)


def test_without_margin_it_is_cross_entropy_of_scaled_cosines() -> None:
    torch.manual_seed(0)
    embedding, speaker = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    cosines = torch.nn.functional.normalize(embedding, dim=1)
    expected = torch.nn.functional.cross_entropy(7 * cosines, speaker)
    assert torch.allclose(two_speakers(0.0, 7.0)(embedding, speaker), expected, atol=1e-4)


def test_a_margin_only_ever_makes_it_harder() -> None:
    angles = torch.linspace(0, 2 * math.pi, 50)
    for angle in angles:
        embedding = torch.tensor([[math.cos(angle), math.sin(angle)]])
        plain = two_speakers(0.0, 10.0)(embedding, torch.tensor([0]))
        assert two_speakers(0.2, 10.0)(embedding, torch.tensor([0])) >= plain - 1e-5


def test_gradients_are_finite_at_the_ends() -> None:
    for x in (1.0, -1.0):
        embedding = torch.tensor([[x, 0.0]], requires_grad=True)
        two_speakers(0.2, 20.0)(embedding, torch.tensor([0])).backward()
        assert embedding.grad is not None and embedding.grad.isfinite().all()
