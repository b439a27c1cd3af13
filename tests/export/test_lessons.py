from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export.distill_recipe import EnsembleSettings, S3RLSettings
from kwspot_export.lessons import FrameTargets, _codes, _ensemble, _layer_groups, _unit_layers
from kwspot_export.projections import Principal, Standard
from kwspot_export.recipe import RecipeError
from kwspot_export.targets import TargetCache, TargetKey
from kwspot_export.teachers import Hidden
from toy import assert_one_sentence

COUNT, OUTPUTS = 12, 4


class Fake:
    """A teacher of three layers of different scale, at 25 Hz, the second like the first."""

    name, fingerprint, rate_hz = "fake", "0" * 16, 25.0

    def __init__(self, width: int = 6) -> None:
        self.widths = (width,) * 3

    def __call__(self, audio: torch.Tensor) -> Hidden:
        frames = audio.reshape(len(audio), OUTPUTS, 640)
        width = self.widths[0]
        first = frames[:, :, :width]
        return Hidden((first, 30 * first + 5, frames[:, :, 300 : 300 + width].square()), None)


def cache_of(teacher: Fake, folder: Path) -> TargetCache:
    noise = np.random.default_rng(0).standard_normal((COUNT, OUTPUTS * 640)).astype(np.float32)
    cache = TargetCache(folder, TargetKey(teacher.fingerprint, "s", COUNT, (0, 1, 2), OUTPUTS))
    cache.build(teacher, lambda rows: noise[rows])
    return cache


@pytest.fixture
def cache(tmp_path: Path) -> TargetCache:
    return cache_of(Fake(), tmp_path)


def check_unit(targets: FrameTargets) -> list[torch.Tensor]:
    found = targets.of(np.arange(COUNT))
    assert tuple(t.shape[2] for t in found) == targets.widths
    for target in found:
        assert float(target.square().mean().sqrt()) == pytest.approx(1, abs=0.05)
    return found


def test_layers_are_standardised(cache: TargetCache) -> None:
    first, second = check_unit(_unit_layers(cache, [0, 1]))
    assert torch.allclose(first, second, atol=0.02)  # scale and offset are gone; float16 remains
    assert float(first.mean(dim=(0, 1)).abs().max()) < 1e-3


def test_alike_layers_make_a_group(cache: TargetCache) -> None:
    targets = _layer_groups(cache, groups=2, calibration=COUNT)
    together, alone = targets.of(np.arange(COUNT))
    assert torch.allclose(together, _unit_layers(cache, [0]).of(np.arange(COUNT))[0], atol=0.02)
    assert torch.allclose(alone, _unit_layers(cache, [2]).of(np.arange(COUNT))[0], atol=0.02)


def test_teachers_of_other_widths_meet_in_their_components(tmp_path: Path) -> None:
    caches = [cache_of(Fake(6), tmp_path / "a"), cache_of(Fake(8), tmp_path / "b")]
    for strategy, widths in (
        ("average", (4, 4, 4)),
        ("concatenation", (8, 8, 8)),
        ("heads", (4,) * 6),
    ):
        assert _ensemble(caches, EnsembleSettings(strategy, dimensions=4)).widths == widths
    with pytest.raises(RecipeError, match="set dimensions") as caught:
        _ensemble(caches, EnsembleSettings("average"))
    assert_one_sentence(caught.value)
    with pytest.raises(RecipeError, match="'sum' is none of") as caught:
        _ensemble(caches, EnsembleSettings("sum"))
    assert_one_sentence(caught.value)


def test_codes_are_the_nearest_centroids(cache: TargetCache) -> None:
    settings = S3RLSettings(layer=0, dimensions=3, clusters=5)
    codes = _codes(cache, 0, settings, seed=1)
    found = codes.of(np.array([3, 0]))
    assert found.shape == (2, OUTPUTS, 3) and codes.width == 3
    distinct = torch.unique(codes.of(np.arange(COUNT)).flatten(0, 1), dim=0)
    assert 2 <= len(distinct) <= 5
    assert torch.equal(found, _codes(cache, 0, settings, seed=1).of(np.array([3, 0])))


def test_principal_components_keep_the_largest_variance() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=rng) * torch.tensor([1.0, 10.0, 0.1]) + 7
    principal = Principal.fit(x, 2)
    projected = principal.project(x)
    assert projected.mean(dim=0).abs().max() < 1e-4
    assert projected.var(dim=0) == pytest.approx([100, 1], rel=0.2)
    with pytest.raises(RecipeError, match="lower dimensions") as caught:
        Principal.fit(x, 4)
    assert_one_sentence(caught.value)


def test_a_dimension_that_never_changes_is_left_at_zero() -> None:
    x = torch.stack([torch.arange(5.0), torch.full((5,), 3.0)], dim=1)
    standardised = Standard.fit(x)(x)
    assert float(standardised[:, 0].std()) == pytest.approx(1) and not standardised[:, 1].any()
