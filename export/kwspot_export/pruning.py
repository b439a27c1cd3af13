"""A smaller encoder out of a large one: distillation and structured pruning at once.

```
stage 1: copy with gates -- distil, and press the expected size to its target
         gates folded into the weights, closed units removed
stage 2: smaller encoder -- distil again, half as long, at half the rate
```

DPHuBERT (Peng et al. 2023, arXiv 2305.17651): the student starts as a full copy of the teacher with
hard-concrete gates on convolution channels, attention heads and FFN units. The published code also
gates whole attentions and whole FFNs; here they go when their last head or unit goes.

With groups of layers as targets (`skill.py`) it is SKILL; a layer picked by hand is a group of one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwspot_export.hard_concrete import HardConcrete
from kwspot_export.prunable import (
    PruningError,
    fold,
    hidden_states,
    parameters,
    prunable_copy,
    remove,
    sites,
)
from kwspot_export.skill import Groups, group_targets

# Share of half-closed gates at the start, as published: FFN units are many and go first.
DROPPED = {"channels": 0.01, "heads": 0.01, "ffn": 0.5}
LEAST = {"channels": 1, "heads": 0, "ffn": 0}  # a convolution of no channels is none

# Where l2 starts. Published is 0, and 5000 steps of ascent until the target stands; in hundreds of
# steps only a stiff spring holds the size near the rising target, and l1 does not wind up.
STIFFNESS = 300.0
# Short memories of Adam for gates and multipliers, whose gradients shrink a hundredfold on arrival.
BETAS = (0.9, 0.98)

# Step -> inputs of the encoder, and a target (B, T, D) for each group.
Batch = Callable[[int], tuple[Tensor, list[Tensor]]]


@dataclass(frozen=True)
class PruneSettings:
    """How to prune, in hundreds of steps.

    Published are 50000 steps, a `gate_rate` of 0.02 and a `warm_up` of 0.1. What counts is that
    gates can follow the target: (rate x steps) of its rise is 5 at least, or the size overshoots.
    With the values here, 240 steps on Whisper tiny ended at 0.755 for 0.75, 0.866 for 0.85 (one run
    each, the second at a learning rate of 5e-4).
    """

    sparsity: float  # share of the parameters to remove
    groups: Groups  # of hidden states, 0 (what layer 1 gets) to L
    rms: tuple[float, ...]  # of the teacher's L + 1 hidden states (`skill.layer_rms`)
    steps: int = 300  # of stage 1; stage 2 has half as many
    learning_rate: float = 2e-4
    gate_rate: float = 0.2  # of the gates, and of the ascent of the multipliers
    warm_up: float = 0.5  # share of the steps in which the target rises from 0
    seed: int = 0


@dataclass(frozen=True)
class PruneRow:
    """One step. `sparsity` is the expected one, after stage 1 the real one."""

    stage: int
    step: int
    loss: float  # of the distillation alone
    sparsity: float
    target: float
    lambda1: float
    lambda2: float


@dataclass(frozen=True)
class PruneResult:
    """A pruned encoder and how it came about."""

    encoder: nn.Module
    parameters_before: int
    parameters_after: int
    rows: tuple[PruneRow, ...]

    @property
    def sparsity(self) -> float:
        """Share of the parameters that are gone."""
        return 1 - self.parameters_after / self.parameters_before


class Gated(nn.Module):
    """A copy of an encoder whose channels, heads and FFN units have gates.

    A gate multiplies what the consumer of its units reads. In training mode gates are drawn for
    each forward pass; the encoder itself stays in evaluation mode, without dropout and masking.
    """

    def __init__(self, encoder: nn.Module, seed: int) -> None:
        super().__init__()
        self.encoder = prunable_copy(encoder)
        self.sites = sites(self.encoder)
        self.original = parameters(self.encoder)
        generator = torch.Generator().manual_seed(seed)
        self.gates = nn.ModuleList(
            HardConcrete(site.units, generator, DROPPED[site.kind], LEAST[site.kind])
            for site in self.sites
        ).to(next(encoder.parameters()).device)
        self.hooks = [
            self.encoder.get_submodule(site.consumer).register_forward_pre_hook(
                _multiply(gate, site.width)
            )
            for site, gate in zip(self.sites, self.gates, strict=True)
        ]

    def train(self, mode: bool = True) -> "Gated":
        """Switch the gates between drawing and settling; the encoder stays as it is."""
        self.training = mode
        self.gates.train(mode)
        return self

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the gated encoder: L + 1 hidden states (B, T, D)."""
        return hidden_states(self.encoder, inputs)

    def expected_sparsity(self) -> Tensor:
        """Share of the encoder's parameters that the gates are expected to remove: a scalar."""
        rows: dict[str, Tensor] = {}
        columns: dict[str, Tensor] = {}
        for site, gate in zip(self.sites, self.gates, strict=True):
            share = gate.expected() / site.units
            rows.update(dict.fromkeys(site.producers, share))
            columns[site.consumer] = share
        removed = torch.zeros((), device=self.gates[0].log_alpha.device)
        for name in sorted(rows.keys() | columns.keys()):
            module, left = self.encoder.get_submodule(name), rows.get(name, 1.0)
            removed = removed + module.weight.numel() * (1 - left * columns.get(name, 1.0))
            if module.bias is not None:
                removed = removed + module.bias.numel() * (1 - left)
        return removed / self.original

    def folded(self) -> nn.Module:
        """Multiply the settled gates into the weights that follow; return the encoder, gateless."""
        for hook in self.hooks:
            hook.remove()
        for site, gate in zip(self.sites, self.gates, strict=True):
            fold(self.encoder, site, gate.settled())
        return self.encoder

    def kept(self) -> dict[str, list[int]]:
        """Units of each site that stay."""
        return {
            site.name: gate.kept().nonzero()[:, 0].tolist()
            for site, gate in zip(self.sites, self.gates, strict=True)
        }


class Distance(nn.Module):
    """L1 - cosine between the student's groups of layers, each through a linear map, and targets.

    DPHuBERT's loss, mean over features, frames and groups: -1 at best. The maps (D, D) start as the
    identity, go on through both stages, and are thrown away in the end.
    """

    def __init__(self, width: int, groups: Groups, rms: tuple[float, ...]) -> None:
        super().__init__()
        self.groups, self.rms = groups, rms
        self.maps = nn.ModuleList()
        for _ in groups:
            linear = nn.Linear(width, width)
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
            self.maps.append(linear)

    def forward(self, layers: tuple[Tensor, ...], targets: list[Tensor]) -> Tensor:
        """L + 1 hidden states (B, T, D), a target (B, T, D) for each group -> scalar."""
        total = layers[0].new_zeros(())
        ours = group_targets(layers, self.groups, self.rms)
        for linear, x, target in zip(self.maps, ours, targets, strict=True):
            x = linear(x)
            cosine = functional.cosine_similarity(x, target, dim=-1).mean()
            total = total + functional.l1_loss(x, target) - cosine
        return total / len(self.groups)


def prune(
    teacher: nn.Module,
    batch: Batch,
    settings: PruneSettings,
    report: Callable[[PruneRow], None] = lambda row: None,
) -> PruneResult:
    """Distil and prune a copy of a teacher in both stages; `teacher` stays as it is.

    `batch` is called with 0, 1, ... and makes, for instance, `x, group_targets(hidden_states(
    teacher, x), groups, rms)`. Equal seeds and batches give equal results.

    Raises:
        PruningError: The teacher is of no known kind, the settings do not fit it, or the loss is
            not finite.

    """
    _check(teacher, settings)
    gated = Gated(teacher, settings.seed).train()
    width = gated.encoder.config.hidden_size
    device = gated.gates[0].log_alpha.device
    distance = Distance(width, settings.groups, settings.rms).to(device)
    rows: list[PruneRow] = []

    def keep(row: PruneRow) -> None:
        rows.append(row)
        report(row)

    _press(gated, distance, batch, settings, keep)
    gated.eval()
    encoder = remove(gated.folded(), gated.kept())
    before, after = gated.original, parameters(encoder)
    _repair(encoder, distance, batch, settings, 1 - after / before, keep)
    return PruneResult(encoder.eval(), before, after, tuple(rows))


def _press(
    gated: Gated,
    distance: Distance,
    batch: Batch,
    settings: PruneSettings,
    keep: Callable[[PruneRow], None],
) -> None:
    """Stage 1: distance + l1 (s - t) + l2 (s - t)^2, l1 and l2 by gradient ascent."""
    device = gated.gates[0].log_alpha.device
    multipliers = nn.Parameter(torch.tensor([0.0, STIFFNESS], device=device))
    weights = [*gated.encoder.parameters(), *distance.parameters()]
    main = torch.optim.Adam(weights, settings.learning_rate)
    rate = settings.gate_rate
    gates = torch.optim.Adam(gated.gates.parameters(), rate, BETAS)
    ascent = torch.optim.Adam([multipliers], rate, BETAS, maximize=True)
    for step in range(settings.steps):
        _set_rate(main, settings.learning_rate, _rise_and_fall(step, settings.steps))
        fall = min(1.0, 2 * (1 - step / settings.steps))  # in the second half, to settle
        for optimizer in (gates, ascent):
            _set_rate(optimizer, rate, fall)
        rise = min(1.0, step / max(settings.warm_up * settings.steps, 1))
        target = settings.sparsity * rise
        inputs, targets = batch(step)
        loss = distance(gated(inputs), targets)
        sparsity = gated.expected_sparsity()
        excess = sparsity - target
        pressed = loss + multipliers[0] * excess + multipliers[1] * excess.square()
        _check_finite(pressed, step)
        for optimizer in (main, gates, ascent):
            optimizer.zero_grad()
        pressed.backward()
        nn.utils.clip_grad_norm_(weights, 10.0)
        for optimizer in (main, gates, ascent):
            optimizer.step()
        l1, l2 = multipliers.tolist()
        keep(PruneRow(1, step, loss.item(), sparsity.item(), target, l1, l2))


def _repair(
    encoder: nn.Module,
    distance: Distance,
    batch: Batch,
    settings: PruneSettings,
    sparsity: float,
    keep: Callable[[PruneRow], None],
) -> None:
    """Stage 2: the distance alone."""
    weights = [*encoder.parameters(), *distance.parameters()]
    rate, steps = settings.learning_rate / 2, settings.steps // 2
    optimizer = torch.optim.Adam(weights, rate)
    for step in range(steps):
        _set_rate(optimizer, rate, _rise_and_fall(step, steps))
        inputs, targets = batch(settings.steps + step)
        loss = distance(hidden_states(encoder, inputs), targets)
        _check_finite(loss, settings.steps + step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 10.0)
        optimizer.step()
        target = settings.sparsity
        keep(PruneRow(2, settings.steps + step, loss.item(), sparsity, target, 0.0, 0.0))


def _multiply(
    gate: HardConcrete, width: int
) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    def hook(consumer: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        factors = gate().repeat_interleave(width)
        return (arguments[0] * (factors[:, None] if consumer.weight.ndim == 3 else factors),)

    return hook


def _set_rate(optimizer: torch.optim.Optimizer, peak: float, share: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = peak * share


def _rise_and_fall(step: int, steps: int) -> float:
    """Share of the peak rate: linearly up over a tenth of the steps, then linearly down."""
    rise = max(steps // 10, 1)
    return min((step + 1) / rise, (steps - step) / max(steps - rise, 1))


def _check(teacher: nn.Module, settings: PruneSettings) -> None:
    if not 0 < settings.sparsity < 1:
        raise PruningError(f"sparsity is {settings.sparsity}: choose a share between 0 and 1")
    layers = getattr(getattr(teacher, "config", None), "num_hidden_layers", None)
    if layers is not None and len(settings.rms) != layers + 1:
        raise PruningError(
            f"rms has {len(settings.rms)} values: give one for each of {layers + 1} hidden states"
        )


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise PruningError(f"the loss is {loss.item()} at step {step}: lower learning_rate")
