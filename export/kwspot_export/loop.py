"""The training loop of distillation and fine-tuning: one for all objectives.

```
loss of step s -> gradients (averaged over processes) -> AdamW -> metrics.jsonl, checkpoint.pt
```

What a step sees depends on the seed and its number alone, so a run that was stopped goes on to the
bit as if it had not been.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kwspot.errors import KwspotError
from kwspot_export import processes

log = logging.getLogger(__name__)

LARGEST_GRADIENT = 5.0  # norm to which gradients are clipped
LOGGED_EVERY = 10  # steps whose mean is one row of metrics.jsonl


Optimizers = dict[str, torch.optim.Optimizer]


class TrainingError(KwspotError, RuntimeError):
    """A run that cannot start or go on."""


@dataclass(frozen=True)
class Pace:
    """How long and how fast to learn. `batch` counts segments over all processes."""

    steps: int = 1000
    batch: int = 128
    learning_rate: float = 2e-3
    # Of linear heads, times the rate: on a frozen encoder their weights have a long way to go.
    head_rate: float = 1.0
    weight_decay: float = 1e-2
    warm_up: int = 50
    save_every: int = 200

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: up in a line, down along half a cosine."""
        return self.learning_rate * rate(step, self.steps, self.warm_up)


@dataclass(frozen=True)
class Step:
    """What a run reports after every step. `seconds_left` extrapolates the steps so far."""

    step: int
    steps: int
    loss: float
    seconds_left: float


@dataclass(frozen=True)
class Terms:
    """A loss to descend, and named parts of it to log (raw, before any normalisation)."""

    total: Tensor
    parts: dict[str, float]
    task: str = ""  # whose turn it is


def load_weights(net: nn.Module, path: Path) -> None:
    """Read weights into a net; raise TrainingError for a file that does not hold them."""
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise TrainingError(f"cannot read the weights {path}: {error.strerror}") from error
    except Exception as error:  # torch.load raises whatever a damaged file makes it stumble over
        raise TrainingError(f"{path} does not hold the weights of the recipe's net") from error


def rate(step: int, steps: int, warm_up: int) -> float:
    """Warm up linearly, then fall along half a cosine to a hundredth."""
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * done)))


def learn(
    net: nn.Module,
    loss: Callable[[int], Terms],
    pace: Pace,
    folder: Path,
    settings: dict[str, Any],
    report: Callable[[Step], None],
    heads: nn.Module | None = None,
    tasks: Iterable[str] = ("",),
) -> None:
    """Train `net` in place for `pace.steps` steps, from the checkpoint in `folder` if there is one.

    `heads` is the part of `net` that learns at `pace.head_rate` times the rate. Each of `tasks` has
    moments of its own, or the one with the longer gradients would decide the size of all steps.
    `settings` are stored with the checkpoint. Raises TrainingError for a checkpoint of other
    settings and for a loss that is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in net.parameters() if p.requires_grad]
    faster = set(heads.parameters()) if heads else set()
    groups = [
        {"params": [p for p in parameters if p not in faster], "factor": 1.0},
        {"params": [p for p in parameters if p in faster], "factor": pace.head_rate},
    ]
    optimizers = {
        task: torch.optim.AdamW(
            [dict(group) for group in groups], pace.learning_rate, weight_decay=pace.weight_decay
        )
        for task in tasks
    }
    first = _resume(net, optimizers, folder, settings)
    metrics = _Metrics(folder / "metrics.jsonl", first)
    begun = time.monotonic()
    net.train()
    for step in range(first, pace.steps):
        terms = loss(step)
        value = float(terms.total.detach())
        if not np.isfinite(value):
            raise TrainingError(f"the loss is {value} at step {step}: lower learning_rate")
        optimizer = optimizers[terms.task]
        for group in optimizer.param_groups:
            group["lr"] = pace.rate(step) * group["factor"]
        net.zero_grad()
        terms.total.backward()
        processes.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        optimizer.step()
        done = step + 1
        metrics.add(done, {"loss": value} | terms.parts)
        if done % pace.save_every == 0 or done == pace.steps:
            _save(net, optimizers, folder, settings, done)
        each = (time.monotonic() - begun) / (done - first)
        report(Step(done, pace.steps, value, each * (pace.steps - done)))


def _save(net: nn.Module, optimizers: Optimizers, folder: Path, settings: dict, step: int) -> None:
    if processes.number() == 0:
        state = {
            "settings": settings,
            "step": step,
            "net": net.state_dict(),
            "optimizers": {task: o.state_dict() for task, o in optimizers.items()},
        }
        partial = folder / "checkpoint.partial"
        torch.save(state, partial)
        partial.rename(folder / "checkpoint.pt")
    processes.wait()


def _resume(net: nn.Module, optimizers: Optimizers, folder: Path, settings: dict) -> int:
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu")
    if state["settings"] != settings:
        raise TrainingError(
            f"{path} was made with other settings: choose another --run folder or remove this one"
        )
    net.load_state_dict(state["net"])
    for task, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][task])
    log.info("%s: resumed at step %d", folder.name, state["step"])
    return int(state["step"])


class _Metrics:
    """Rows of metrics.jsonl: means over LOGGED_EVERY steps. Written by process 0 alone."""

    def __init__(self, path: Path, first: int) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        if processes.number() == 0:
            kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            kept = [row for row in kept if json.loads(row)["step"] <= first]
            path.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")

    def add(self, step: int, values: dict[str, float]) -> None:
        """Note one step."""
        self.rows.append(values)
        if step % LOGGED_EVERY or processes.number():
            return
        # Parts may differ from step to step, as when tasks take turns.
        names = dict.fromkeys(name for row in self.rows for name in row)
        means = {
            name: float(np.mean([row[name] for row in self.rows if name in row])) for name in names
        }
        row = {"step": step} | {name: round(mean, 6) for name, mean in means.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.clear()
