"""Lessons: an objective bound to cached teachers. Hidden vectors of the student in, loss out.

```
rows of segments -> cached targets -> combined, scaled -> objective <- hidden (B, U, C)
```

Letters in shapes: B segments, U outputs, C width of the student, D width of a target, N all
segments, K codes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor, nn

from kwspot_export import skill
from kwspot_export.distill_recipe import DistillRecipe, EnsembleSettings, S3RLSettings
from kwspot_export.loop import Terms
from kwspot_export.objectives import ensemble, s3rl
from kwspot_export.objectives.distance import Distance
from kwspot_export.projections import Principal, Standard
from kwspot_export.recipe import RecipeError
from kwspot_export.targets import TargetCache

log = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]

CLUSTERED_SEGMENTS = 200  # 8,000 frames: enough for a few hundred centroids
FITTED_SEGMENTS = 500  # on which layers are standardised and principal components found


class Lesson(Protocol):
    """What the loop asks of a student: a module, as its heads learn too."""

    def draw_masks(self, shape: tuple[int, int], rng: Generator) -> Tensor | None:
        """Draw which outputs (B, U) the student must tell without hearing them; None for none."""

    def __call__(self, hidden: Tensor, rows: Rows, masked: Tensor | None, delay: int) -> Terms:
        """Compute the loss of hidden (B, U, C); output u describes what ended `delay` before."""


def open_lesson(recipe: DistillRecipe, caches: Sequence[TargetCache], width: int) -> Lesson:
    """Bind the recipe's objective to the caches of its teachers, for a student of that width."""
    if recipe.distance is not None:
        positions = [_position(recipe, 0, layer) for layer in recipe.distance.layers]
        targets = _unit_layers(caches[0], positions)
        return FrameLesson(width, targets, recipe.distance.cosine_weight)
    if recipe.skill is not None:
        targets = _layer_groups(caches[0], recipe.skill.groups, recipe.skill.calibration)
        return FrameLesson(width, targets, recipe.skill.cosine_weight)
    if recipe.ensemble is not None:
        targets = _ensemble(caches, recipe.ensemble)
        return FrameLesson(width, targets, recipe.ensemble.cosine_weight)
    assert recipe.s3rl is not None  # the recipe's reader saw to it
    position = _position(recipe, 0, recipe.s3rl.layer)
    return S3RLLesson(width, caches[0], position, recipe.s3rl, recipe.seed)


@dataclass(frozen=True)
class FrameTargets:
    """Targets by segment, `of(rows)` -> one (B, U, D) for each width D."""

    widths: tuple[int, ...]
    of: Callable[[Rows], list[Tensor]]


class FrameLesson(nn.Module):
    """Distance, frame by frame, to targets of any origin."""

    def __init__(self, width: int, targets: FrameTargets, cosine_weight: float) -> None:
        super().__init__()
        self.targets = targets
        self.distance = Distance(width, targets.widths, cosine_weight)

    def draw_masks(self, shape: tuple[int, int], rng: Generator) -> Tensor | None:
        """Mask nothing."""
        return None

    def forward(self, hidden: Tensor, rows: Rows, masked: Tensor | None, delay: int) -> Terms:
        """See Lesson."""
        ahead = hidden.shape[1] - delay
        targets = [t[:, :ahead].to(hidden) for t in self.targets.of(rows)]
        total = self.distance(hidden[:, delay:], targets)
        return Terms(total, {"distance": float(total.detach())})


class S3RLLesson(nn.Module):
    """Feature view, batch view and codebook, each of them optional."""

    def __init__(
        self, width: int, cache: TargetCache, position: int, settings: S3RLSettings, seed: int
    ) -> None:
        super().__init__()
        self.settings = settings
        means = cache.means(np.arange(cache.key.count), [position])[0]
        means = Standard.fit(means)(means)
        self.means = Principal.fit(means, settings.dimensions).project(means)
        self.view_head = nn.Linear(width, settings.dimensions)
        if settings.codebook:
            self.codes = _codes(cache, position, settings, seed)
            self.code_head = nn.Linear(width, self.codes.width)

    def draw_masks(self, shape: tuple[int, int], rng: Generator) -> Tensor | None:
        """See Lesson."""
        if not self.settings.codebook:
            return None
        return s3rl.draw_masks(shape, self.settings.mask_start, self.settings.mask_outputs, rng)

    def forward(self, hidden: Tensor, rows: Rows, masked: Tensor | None, delay: int) -> Terms:
        """See Lesson."""
        settings, hidden = self.settings, hidden[:, delay:]
        teacher = self.means[torch.as_tensor(rows)].to(hidden)
        student = self.view_head(hidden.mean(dim=1))
        raw = {}
        if settings.feature_view:
            raw["feature_view"] = s3rl.feature_view(teacher, student)
        if settings.batch_view:
            raw["batch_view"] = s3rl.batch_view(teacher, student)
        total = sum((s3rl.balanced(view) for view in raw.values()), hidden.new_zeros(()))
        if settings.codebook and masked is not None:
            ahead = hidden.shape[1]
            codes = self.codes.of(rows)[:, :ahead].to(hidden)
            raw["codebook"] = s3rl.codebook(
                self.code_head(hidden),
                codes,
                masked[:, :ahead].to(hidden.device),
                settings.temperature,
            )
            total = total + settings.codebook_weight * raw["codebook"]
        return Terms(total, {name: float(term.detach()) for name, term in raw.items()})


@dataclass(frozen=True)
class Codes:
    """Quantised vectors of segments, `of(rows)` -> (B, U, width)."""

    width: int
    of: Callable[[Rows], Tensor]


def _codes(cache: TargetCache, position: int, settings: S3RLSettings, seed: int) -> Codes:
    """Take the teacher's own codes, or else k-means centroids of one layer's components."""
    own = cache.codes(np.arange(1))
    if own is not None:
        return Codes(own.shape[2], cache.codes)
    from scipy.cluster.vq import kmeans2

    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(cache.key.count)[:CLUSTERED_SEGMENTS])
    frames = cache.frames(sample, [position])[0].flatten(0, 1)
    standard = Standard.fit(frames)
    frames = standard(frames)
    # Centred, as components are: what all frames share would make all cosines alike.
    principal = Principal.fit(frames, settings.dimensions)
    projected = principal.project(frames).numpy()
    centroids, _ = kmeans2(projected, settings.clusters, iter=20, minit="points", rng=rng)
    vectors = torch.from_numpy(centroids).float()

    def project(x: Tensor) -> Tensor:
        return principal.project(standard(x))

    squares = vectors.square().sum(dim=1) / 2
    by_segment = torch.cat(
        [
            (squares - project(cache.frames(rows, [position])[0]) @ vectors.T).argmin(dim=2)
            for rows in np.array_split(np.arange(cache.key.count), -(-cache.key.count // 256))
        ]
    )
    return Codes(vectors.shape[1], lambda rows: vectors[by_segment[torch.as_tensor(rows)]])


def _position(recipe: DistillRecipe, teacher: int, layer: int) -> int:
    layers = recipe.teachers[teacher].layers
    if layer not in layers:
        raise RecipeError(
            f"{recipe.name}: layer {layer} is not among the layers {list(layers)} that are kept of "
            f"the teacher {recipe.teachers[teacher].source}"
        )
    return layers.index(layer)


def _unit_layers(cache: TargetCache, positions: Sequence[int]) -> FrameTargets:
    """Single layers, standardised."""
    scales = _standards(cache)

    def of(rows: Rows) -> list[Tensor]:
        frames = cache.frames(rows, positions)
        return [scales[p](x) for p, x in zip(positions, frames, strict=True)]

    return FrameTargets(tuple(cache.widths[p] for p in positions), of)


def _layer_groups(cache: TargetCache, groups: int, calibration: int) -> FrameTargets:
    """SKILL's groups of alike layers, found on the first segments of the cache."""
    sample = cache.frames(np.arange(min(calibration, cache.key.count)))
    chosen = skill.cluster(skill.similarity([x.flatten(0, 1) for x in sample]), groups)
    log.info("groups of layers: %s", chosen)
    scales, ones = _standards(cache), [1.0] * len(sample)

    def of(rows: Rows) -> list[Tensor]:
        layers = [scale(x) for scale, x in zip(scales, cache.frames(rows), strict=True)]
        return skill.group_targets(layers, chosen, ones)

    return FrameTargets(tuple(cache.widths[group[0]] for group in chosen), of)


def _sample(cache: TargetCache) -> list[Tensor]:
    return cache.frames(np.arange(min(FITTED_SEGMENTS, cache.key.count)))


def _standards(cache: TargetCache) -> list[Standard]:
    return [Standard.fit(x.flatten(0, 1)) for x in _sample(cache)]


def _ensemble(caches: Sequence[TargetCache], settings: EnsembleSettings) -> FrameTargets:
    """Several teachers' layers, at unit RMS, projected where asked, combined by the strategy."""
    if settings.strategy not in ensemble.STRATEGIES:
        known = ", ".join(ensemble.STRATEGIES)
        raise RecipeError(f"the ensemble strategy {settings.strategy!r} is none of {known}")
    combine = ensemble.STRATEGIES[settings.strategy]
    projections = [
        [_projection(standard, frames, settings.dimensions) for standard, frames in known]
        for known in (zip(_standards(c), _sample(c), strict=True) for c in caches)
    ]

    def of(rows: Rows) -> list[Tensor]:
        layers = [
            [project(x) for project, x in zip(found, cache.frames(rows), strict=True)]
            for found, cache in zip(projections, caches, strict=True)
        ]
        try:
            return combine(layers)
        except (ValueError, RuntimeError) as error:
            raise RecipeError(
                f"the strategy {settings.strategy!r} needs teachers of equally many layers, and "
                f"the average equal widths too: set dimensions, or use 'heads' ({error})"
            ) from error

    return FrameTargets(tuple(x.shape[-1] for x in of(np.arange(1))), of)


def _projection(standard: Standard, sample: Tensor, dimensions: int) -> Callable[[Tensor], Tensor]:
    """Make the way from a layer to a target of unit RMS; `dimensions` 0 keeps all of the layer."""
    if not dimensions:
        return standard
    standardised = standard(sample.flatten(0, 1))
    principal = Principal.fit(standardised, dimensions)
    scale = principal.project(standardised).square().mean().sqrt()
    return lambda x: principal.project(standard(x)) / scale
