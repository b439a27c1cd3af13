from math import exp, log

import pytest
import torch
from kwspot_export.hard_concrete import BETA, HardConcrete
from torch import Tensor


def gates(a: list[float], seed: int = 1, least: int = 0) -> HardConcrete:
    gate = HardConcrete(len(a), torch.Generator().manual_seed(seed), least=least)
    gate.log_alpha.data = torch.tensor(a)
    return gate


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_gates_are_open_as_often_as_computed() -> None:
    a = [-3.0, -1.6, 0.0, 2.0]
    gate = gates([x for x in a for _ in range(20_000)])
    z = gate().view(4, -1)
    assert z.min() == 0 and z.max() == 1
    expected = torch.tensor([sigmoid(x - BETA * log(0.1 / 1.1)) for x in a])
    torch.testing.assert_close(gate.open_probability().view(4, -1)[:, 0], expected)
    # Five standard deviations of a rate among 20000 are at most 0.018.
    torch.testing.assert_close((z > 0).float().mean(dim=1), expected, atol=0.018, rtol=0)


def test_the_expected_count_has_the_gradient_of_its_formula() -> None:
    gate = gates([-1.0, 0.5, 3.0])
    gate.expected().backward()
    p = gate.open_probability().detach()
    assert gate.expected().item() == pytest.approx(p.sum().item())
    torch.testing.assert_close(gate.log_alpha.grad, p * (1 - p))


def test_drawn_gates_pass_gradients_where_they_are_not_clamped() -> None:
    gate = gates([0.0] * 1000)
    z = gate()
    z.sum().backward()
    inside = (z > 0) & (z < 1)
    assert inside.any() and (~inside).any()
    assert (gate.log_alpha.grad[inside] > 0).all()
    assert (gate.log_alpha.grad[~inside] == 0).all()


def test_as_many_units_stay_as_expected_and_the_likeliest() -> None:
    gate = gates([9.0, -9.0, 9.0, -1.6, -1.5, -9.0])  # the middle two are open every other draw
    assert gate.expected().item() == pytest.approx(3, abs=0.1)
    assert gate.kept().tolist() == [True, False, True, False, True, False]


def test_settled_gates_are_zero_exactly_where_nothing_is_kept() -> None:
    gate = gates([9.0, -3.0, -3.0, -3.0, -3.0, -3.0]).eval()
    z = gate()
    assert torch.equal(z > 0, gate.kept())
    assert gate.kept().sum() == 2  # 1 + 5 x 0.2
    assert z[0].item() == pytest.approx(sigmoid(0.8 * 9 / BETA))
    assert torch.equal(gate(), z)


def test_at_least_as_many_stay_as_are_asked_for() -> None:
    assert gates([-9.0, -8.0, -9.0]).kept().tolist() == [False] * 3
    assert gates([-9.0, -8.0, -9.0], least=1).kept().tolist() == [False, True, False]


def test_few_gates_are_closed_at_the_start() -> None:
    fresh = HardConcrete(500, torch.Generator().manual_seed(2), dropped=0.5)
    assert fresh.log_alpha.mean().item() == pytest.approx(0, abs=0.01)
    fresh = HardConcrete(500, torch.Generator().manual_seed(2))
    assert fresh.log_alpha.mean().item() == pytest.approx(log(99), abs=0.01)
    assert fresh.expected().item() > 498


def draws(gate: HardConcrete, count: int) -> list[Tensor]:
    return [gate().detach() for _ in range(count)]


def test_equal_seeds_give_equal_gates_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second, other = (draws(gates([0.0] * 9, seed), 3) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, second))
    assert not any(map(torch.equal, first, other))
    assert torch.equal(torch.get_rng_state(), before)


def test_gates_go_on_from_a_saved_state_of_the_generator() -> None:
    gate = gates([0.0] * 9)
    gate()
    state = gate.generator.get_state()
    expected = draws(gate, 3)
    gate.generator.set_state(state)
    assert all(map(torch.equal, draws(gate, 3), expected))


@pytest.mark.parametrize("a", [-60.0, 60.0])
def test_gradients_of_sure_gates_are_finite(a: float) -> None:
    gate = gates([a] * 100)
    (gate().sum() + gate.expected()).backward()
    assert torch.isfinite(gate.log_alpha.grad).all()
