"""Proof that an exported file does what the trained net does, before it counts.

Every export runs step by step, with its state fed back, beside the training net on whole clips.
Nothing is left on disk where they differ by more than the exporter allows.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kwspot.errors import KwspotError
from kwspot.features import FloatArray
from kwspot.modelfile import ModelInfo, State
from kwspot_export.heads import JointNet, PooledEncoder
from kwspot_export.student import FrameNet, Streaming, stream

PARITY_STEPS = 120  # several receptive fields

Exportable = FrameNet | JointNet | PooledEncoder
# Streams features (T, F) through a file, the state fed back: each of its outputs, (T / 4, size).
Runner = Callable[[Path, ModelInfo, FloatArray], list[FloatArray]]


class ParityError(KwspotError, RuntimeError):
    """An exported model that does not do what the trained one does."""


@dataclass(frozen=True)
class Agreement:
    """How far outputs of an export are from those of the training net, the worst output's."""

    largest: float  # absolute difference
    mean: float
    correlation: float


def state_specs(streaming: Streaming) -> tuple[State, ...]:
    """Name the state tensors of a streaming net."""
    return tuple(
        State(f"state_{i}", f"next_state_{i}", tuple(state.shape))
        for i, state in enumerate(streaming.fresh_states())
    )


def output_names(info: ModelInfo) -> list[str]:
    """Name the outputs of a file beside its states."""
    return ["posteriors"] * bool(info.keywords) + ["embedding"] * bool(info.embedding)


@torch.no_grad()
def parity(
    net: Exportable, streaming: Streaming, info: ModelInfo, path: Path, run: Runner
) -> float:
    """Return the largest difference of any output between the whole, streamed and exported nets.

    Outputs that exceed 1 in size, as hidden vectors may, count relative to their largest number.
    """
    features = torch.from_numpy(wandering_features(info))
    whole = [output[0].numpy() for output in net.outputs(features[None])]
    streamed = [output.numpy() for output in stream(streaming, features)]
    exported = run(path, info, features.numpy())
    return largest_difference([*whole, *exported], [*streamed, *streamed])


def wandering_features(info: ModelInfo) -> FloatArray:
    """Make features (T, F) for PARITY_STEPS steps, like those of speech between 0 and 17.

    They are smooth in time, so that posteriors move too.
    """
    rng = np.random.default_rng(0)
    shape = (PARITY_STEPS * info.frames_per_step, info.front_end.mels)
    wandering = np.cumsum(rng.normal(0, 1.2, shape), axis=0) % 34
    return np.abs(wandering - 17).astype(np.float32)


def largest_difference(found: Sequence[FloatArray], expected: Sequence[FloatArray]) -> float:
    """Return the largest difference of any output, as `parity` counts it."""
    differences = [_difference(y, e).max() for y, e in zip(found, expected, strict=True)]
    # Of numpy, not of Python: that would pass over a difference that is no number.
    return float(np.max(differences))


def require_equal(difference: float, allowed: float, path: Path, runners: str) -> None:
    """Raise ParityError where `difference` exceeds what is allowed, or is no number."""
    if not difference <= allowed:
        raise ParityError(
            f"{path} was not written: {runners} differ by {difference:.2g} "
            f"(allowed {allowed:.0g}) in {PARITY_STEPS} streamed steps"
        )


@torch.no_grad()
def agreement(
    net: Exportable, info: ModelInfo, path: Path, run: Runner, features: Tensor
) -> Agreement:
    """Compare a quantised export with the training net on the features (T, F) of real sound.

    Outputs that exceed 1 count as in `parity`.
    """
    found = []
    outputs = net.outputs(features[None])
    for y, whole in zip(run(path, info, features.numpy()), outputs, strict=True):
        expected = whole[0].numpy()
        difference = _difference(y, expected)
        correlation = np.corrcoef(expected.ravel(), y.ravel())[0, 1]
        found.append((difference.max(), difference.mean(), correlation))
    largest, mean, correlation = zip(*found, strict=True)
    return Agreement(float(np.max(largest)), float(np.max(mean)), float(np.min(correlation)))


def _difference(y: FloatArray, expected: FloatArray) -> FloatArray:
    return np.abs(y - expected) / np.float32(max(1.0, np.abs(expected).max()))


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; what is there takes its place if nothing is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / path.name
        yield file
        file.rename(path)
