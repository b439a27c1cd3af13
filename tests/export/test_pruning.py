from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from encoders import KINDS, tiny_encoder, tiny_inputs
from kwspot_export.prunable import PruningError, hidden_states, parameters, remove
from kwspot_export.pruning import Batch, Distance, Gated, PruneResult, PruneSettings, prune
from kwspot_export.skill import Groups, group_targets, layer_rms
from torch import nn
from toy import assert_one_sentence

# Sums of a few dozen float32 terms of size 1 in another order.
TOLERANCE = 1e-5
STEPS = 80  # of stage 1 where nothing else is said
GROUPS: Groups = ((0,), (1, 2))

every_kind = pytest.mark.parametrize("kind", KINDS)


def scattered(kind: str, seed: int = 0) -> Gated:
    """A gated copy whose gates are some open, some closed, some between."""
    gated = Gated(tiny_encoder(kind), seed)
    generator = torch.Generator().manual_seed(8)
    for gate in gated.gates:
        gate.log_alpha.data = 3 * torch.randn(len(gate.log_alpha), generator=generator)
    return gated


def settings_for(encoder: nn.Module, kind: str) -> PruneSettings:
    with torch.no_grad():
        rms = layer_rms(hidden_states(encoder, tiny_inputs(kind, batch=8)))
    return PruneSettings(sparsity=0.5, groups=GROUPS, rms=rms, steps=STEPS)


def batches(encoder: nn.Module, kind: str, settings: PruneSettings) -> Batch:
    def batch(step: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        inputs = tiny_inputs(kind, batch=4, seed=step)
        with torch.no_grad():
            layers = hidden_states(encoder, inputs)
            return inputs, group_targets(layers, settings.groups, settings.rms)

    return batch


def run(kind: str, **changes: object) -> PruneResult:
    encoder = tiny_encoder(kind).requires_grad_(False)
    settings = replace(settings_for(encoder, kind), **changes)
    return prune(encoder, batches(encoder, kind, settings), settings)


@cache
def pruned_whisper() -> PruneResult:
    return run("whisper")


@every_kind
@torch.no_grad()
def test_gates_folded_and_units_removed_compute_what_gates_do(kind: str) -> None:
    gated, inputs = scattered(kind).eval(), tiny_inputs(kind)
    applied, kept = gated(inputs), gated.kept()
    encoder = gated.folded()
    folded = hidden_states(encoder, inputs)
    removed = hidden_states(remove(encoder, kept), inputs)
    for a, b, c in zip(applied, folded, removed, strict=True):
        torch.testing.assert_close(b, a, atol=TOLERANCE, rtol=TOLERANCE)
        torch.testing.assert_close(c, a, atol=TOLERANCE, rtol=TOLERANCE)
    original = hidden_states(tiny_encoder(kind), inputs)
    assert (applied[-1] - original[-1]).abs().max() > 100 * TOLERANCE


@every_kind
def test_the_expected_size_is_the_real_one_when_gates_are_sure(kind: str) -> None:
    gated = Gated(tiny_encoder(kind), seed=0)
    generator = torch.Generator().manual_seed(5)
    for gate in gated.gates:
        # Some units of every site, so that none is held open against its gates.
        closed = torch.rand(len(gate.log_alpha), generator=generator) < 0.4
        closed[0] = False
        gate.log_alpha.data = torch.where(closed, -40.0, 40.0)
    expected = gated.expected_sparsity().item()
    encoder = remove(gated.folded(), gated.kept())
    assert 1 - parameters(encoder) / gated.original == pytest.approx(expected, abs=1e-6)
    assert expected > 0.1


def test_the_expected_sparsity_falls_as_any_gate_opens() -> None:
    gated = scattered("wavlm")
    gated.expected_sparsity().backward()
    for gate in gated.gates:
        assert (gate.log_alpha.grad < 0).all()


def test_gates_are_drawn_anew_each_pass_and_equal_for_equal_seeds() -> None:
    inputs = tiny_inputs("whisper")
    first, second = scattered("whisper", seed=4).train(), scattered("whisper", seed=4).train()
    with torch.no_grad():
        once, again = first(inputs)[-1], first(inputs)[-1]
        assert not torch.equal(once, again)
        assert torch.equal(second(inputs)[-1], once) and torch.equal(second(inputs)[-1], again)
    assert not first.encoder.training


def test_the_distance_of_a_student_that_is_its_teacher_is_minus_one() -> None:
    layers = hidden_states(tiny_encoder("whisper"), tiny_inputs("whisper"))
    rms = layer_rms(layers)
    distance = Distance(24, GROUPS, rms)
    assert distance(layers, group_targets(layers, GROUPS, rms)).item() == pytest.approx(-1)


def test_the_distance_is_mean_difference_minus_cosine() -> None:
    distance = Distance(2, ((0,),), (2.0,))
    layer, target = torch.tensor([[[6.0, 0.0]]]), torch.tensor([[[3.0, 4.0]]])
    assert distance((layer,), [target]).item() == pytest.approx((0 + 4) / 2 - 3 / 5)


def test_the_size_comes_out_as_asked() -> None:
    result = pruned_whisper()
    stage1 = [row for row in result.rows if row.stage == 1]
    assert stage1[-1].sparsity == pytest.approx(0.5, abs=0.02)
    # Whole units: of the few heads here, one is 2 % of the encoder.
    assert result.sparsity == pytest.approx(0.5, abs=0.04)
    assert result.parameters_after == parameters(result.encoder)
    assert result.parameters_before == parameters(tiny_encoder("whisper"))


def test_the_target_rises_over_its_share_of_the_steps() -> None:
    rows = pruned_whisper().rows
    assert [row.step for row in rows] == list(range(STEPS + STEPS // 2))
    assert [row.stage for row in rows] == [1] * STEPS + [2] * (STEPS // 2)
    half = STEPS // 2
    rising = [0.5 * step / half for step in range(half)]
    assert [row.target for row in rows[:half]] == pytest.approx(rising)
    assert {row.target for row in rows[half:]} == {0.5}


def test_the_multipliers_climb_as_long_as_the_size_is_missed() -> None:
    rows = [row for row in pruned_whisper().rows if row.stage == 1]
    assert all(a.lambda2 <= b.lambda2 for a, b in pairwise(rows))
    behind = [row.step for row in rows if row.sparsity < row.target - 0.02]
    assert rows[max(behind)].lambda1 < -1


def test_the_second_stage_lowers_the_loss() -> None:
    losses = [row.loss for row in pruned_whisper().rows if row.stage == 2]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.02


def test_equal_seeds_give_equal_results_and_other_seeds_other_ones() -> None:
    first, second, other = (run("hubert", steps=4, seed=seed) for seed in (1, 1, 2))
    assert first.rows == second.rows
    weights, same = first.encoder.state_dict(), second.encoder.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert first.rows != other.rows


@every_kind
def test_every_kind_goes_through_both_stages(kind: str) -> None:
    result = run(kind, steps=4)
    assert len(result.rows) == 6 and 0 < result.sparsity < 0.5
    states = hidden_states(result.encoder, tiny_inputs(kind))
    assert all(torch.isfinite(state).all() for state in states)


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.2, 75])
def test_a_sparsity_that_is_no_share_is_refused(sparsity: float) -> None:
    with pytest.raises(PruningError, match="between 0 and 1") as caught:
        run("whisper", sparsity=sparsity)
    assert_one_sentence(caught.value)


def test_scales_for_other_layers_are_refused() -> None:
    with pytest.raises(PruningError, match="each of 3 hidden states") as caught:
        run("whisper", rms=(1.0, 1.0))
    assert_one_sentence(caught.value)


def test_an_encoder_of_another_kind_is_refused() -> None:
    with pytest.raises(PruningError, match="cannot prune a Linear") as caught:
        prune(nn.Linear(2, 2), lambda step: (None, []), PruneSettings(0.5, GROUPS, (1.0,)))
    assert_one_sentence(caught.value)


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    encoder = tiny_encoder("whisper")
    settings = settings_for(encoder, "whisper")
    targets = [torch.full((4, 20, 24), torch.nan)] * 2
    with pytest.raises(PruningError, match="at step 0") as caught:
        prune(encoder, lambda step: (tiny_inputs("whisper", batch=4), targets), settings)
    assert_one_sentence(caught.value)
