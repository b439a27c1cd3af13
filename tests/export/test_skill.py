import numpy as np
import pytest
import torch
from kwspot_export.skill import (
    SkillError,
    cluster,
    group_targets,
    layer_rms,
    linear_cka,
    similarity,
)
from torch import Tensor
from toy import assert_one_sentence


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cka_of_a_layer_with_itself_is_one() -> None:
    x = noise(50, 6, seed=1)
    assert linear_cka(x, x) == pytest.approx(1)


def test_cka_does_not_change_with_rotation_scale_and_offset() -> None:
    x, y = noise(60, 5, seed=1), noise(60, 5, seed=2)
    y = y + x
    rotation = torch.linalg.qr(noise(5, 5, seed=3)).Q
    moved = 7 * y @ rotation + 3
    assert linear_cka(x, moved) == pytest.approx(linear_cka(x, y), rel=1e-5)  # y is float32
    assert linear_cka(y, moved) == pytest.approx(1, rel=1e-5)


def test_cka_is_the_squared_correlation_of_single_features() -> None:
    x, y = torch.tensor([[1.0], [-1.0], [0.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
    assert linear_cka(x, y) == pytest.approx(1 / (2 * 2))


def test_cka_of_two_features_as_computed_by_hand() -> None:
    # Centred already. X'X = diag(2, 2), Y'Y = (4), Y'X = (2, 2): 8 / (sqrt(8) 4).
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    y = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert linear_cka(x, y) == pytest.approx(8 / (8**0.5 * 4))


def test_unrelated_layers_have_no_alignment() -> None:
    # Of the order of D / M = 0.002 by chance.
    assert linear_cka(noise(4000, 8, seed=1), noise(4000, 8, seed=2)) < 0.01


def planted(sizes: tuple[int, ...], order: list[int]) -> list[Tensor]:
    """Layers that are noisy rotations of one source for each block, in another order."""
    layers = []
    for block, size in enumerate(sizes):
        source = noise(400, 6, seed=block)
        for layer in range(size):
            rotation = torch.linalg.qr(noise(6, 6, seed=10 * block + layer)).Q
            layers.append(source @ rotation + 0.3 * noise(400, 6, seed=100 * block + layer + 50))
    return [layers[i] for i in order]


def test_clustering_finds_planted_blocks() -> None:
    table = similarity(planted((3, 2, 1), [0, 3, 1, 5, 4, 2]))
    assert np.array_equal(table, table.T) and (np.diag(table) == 1).all()
    assert cluster(table, 3) == ((0, 2, 5), (1, 4), (3,))


def test_the_number_of_groups_is_exact_even_for_equal_layers() -> None:
    table = np.ones((5, 5))
    for groups in range(1, 6):
        found = cluster(table, groups)
        assert len(found) == groups
        assert sorted(i for group in found for i in group) == [0, 1, 2, 3, 4]
        assert [group[0] for group in found] == sorted(min(group) for group in found)


def test_one_layer_is_one_group() -> None:
    assert cluster(np.ones((1, 1)), 1) == ((0,),)


def test_layers_count_the_same_in_an_average_whatever_their_scale() -> None:
    x, y = noise(2, 7, 4, seed=1), noise(2, 7, 4, seed=2)
    quiet = group_targets([x, y, 3 * x], ((0, 1), (2,)))
    loud = group_targets([x, 1000 * y, x], ((0, 1), (2,)))
    for a, b in zip(quiet, loud, strict=True):
        torch.testing.assert_close(a, b)
    expected = (x / layer_rms([x])[0] + y / layer_rms([y])[0]) / 2
    torch.testing.assert_close(quiet[0], expected)
    assert layer_rms([quiet[1]])[0] == pytest.approx(1, rel=1e-5)


def test_scales_of_a_calibration_set_are_used_as_given() -> None:
    (target,) = group_targets([torch.full((3, 2), 6.0), torch.ones(3, 2)], ((0, 1),), (2.0, 0.5))
    assert torch.equal(target, torch.full((3, 2), (3.0 + 2.0) / 2))


def test_gradients_reach_every_layer_of_a_group() -> None:
    layers = [noise(3, 4, seed=i).requires_grad_() for i in range(3)]
    group_targets(layers, ((0, 2),))[0].sum().backward()
    assert layers[0].grad is not None and layers[2].grad is not None
    assert layers[1].grad is None


def test_layers_of_other_widths_are_refused() -> None:
    layers = [torch.ones(5, 4), torch.ones(5, 3)]
    for refuse in (lambda: similarity(layers), lambda: group_targets(layers, ((0, 1),))):
        with pytest.raises(SkillError, match="one shape") as caught:
            refuse()
        assert_one_sentence(caught.value)


def test_a_layer_that_does_not_vary_is_refused() -> None:
    with pytest.raises(SkillError, match="the same in every frame") as caught:
        similarity([noise(9, 4, seed=1), torch.ones(9, 4)])
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("groups", [0, 4])
def test_a_number_of_groups_that_cannot_be_is_refused(groups: int) -> None:
    with pytest.raises(SkillError, match="choose 1 to 3") as caught:
        cluster(np.eye(3), groups)
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("groups", [((0, 3),), ((0,), ())])
def test_groups_of_layers_that_are_not_there_are_refused(groups: tuple[tuple[int, ...]]) -> None:
    with pytest.raises(SkillError, match="do not fit 3 layers") as caught:
        group_targets([torch.ones(2, 2)] * 3, groups)
    assert_one_sentence(caught.value)
