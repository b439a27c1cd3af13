"""Proof that an exported file does what the trained student does, before it counts.

Every export runs step by step, with its state fed back, beside the training net on whole clips.
Nothing is left on disk where they differ by more than the exporter allows.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kwspot.errors import KwspotError
from kwspot.features import FloatArray
from kwspot.model import Model
from kwspot.modelfile import State
from kwspot_export.student import FRAMES_PER_STEP, CausalConvNet, StreamingNet, stream

PARITY_STEPS = 120  # several receptive fields


class ParityError(KwspotError, RuntimeError):
    """An exported model that does not do what the trained one does."""


@dataclass(frozen=True)
class Agreement:
    """How far posteriors of an export are from those of the training net."""

    largest: float  # absolute difference
    mean: float
    correlation: float


def state_specs(net: StreamingNet) -> tuple[State, ...]:
    """Name the state tensors of a streaming net."""
    return tuple(
        State(f"state_{i}", f"next_state_{i}", tuple(state.shape))
        for i, state in enumerate(net.fresh_states())
    )


def parity(net: CausalConvNet, streaming: nn.Module, model: Model) -> float:
    """Return the largest difference of posteriors between whole, streamed and exported nets."""
    rng = np.random.default_rng(0)
    shape = (PARITY_STEPS * FRAMES_PER_STEP, model.info.front_end.mels)
    # Features of speech wander between 0 and 17; smooth in time, so that posteriors move too.
    wandering = np.cumsum(rng.normal(0, 1.2, shape), axis=0) % 34
    features = torch.from_numpy(np.abs(wandering - 17).astype(np.float32))
    with torch.no_grad():
        streamed = stream(streaming, features).numpy()
    others = whole(net, features), streamed_posteriors(model, features)
    # Of numpy, not of Python: that would pass over a difference that is no number.
    return float(np.max([np.abs(y - streamed).max() for y in others]))


def agreement(net: CausalConvNet, model: Model, features: Tensor) -> Agreement:
    """Compare a quantised export with the training net on the features (T, F) of real sound."""
    expected, found = whole(net, features), streamed_posteriors(model, features)
    difference = np.abs(expected - found)
    correlation = float(np.corrcoef(expected.ravel(), found.ravel())[0, 1])
    return Agreement(float(difference.max()), float(difference.mean()), correlation)


@torch.no_grad()
def whole(net: CausalConvNet, features: Tensor) -> FloatArray:
    """Run the training net over (T, F) at once: posteriors (T / 4, K)."""
    return torch.sigmoid(net(features[None]))[0].numpy()


def streamed_posteriors(model: Model, features: Tensor) -> FloatArray:
    """Run a model file over (T, F) step by step: posteriors (T / 4, K)."""
    state, outputs = model.fresh_state(), []
    for step in features.split(FRAMES_PER_STEP):
        posteriors, state = model.step(step.numpy(), state)
        outputs.append(posteriors)
    return np.concatenate(outputs)


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; what is there takes its place if nothing is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / path.name
        yield file
        file.rename(path)
