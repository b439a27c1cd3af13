"""Write a student as an ONNX file that describes itself, and prove it equal before it counts.

Nothing is left on disk where the streamed outputs of the training net, the folded net and ONNX
Runtime differ.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxslim
import torch

from kwspot.errors import KwspotError
from kwspot.model import OnnxModel
from kwspot.modelfile import METADATA_KEY, ModelInfo, State, dump_info
from kwspot_export.student import FRAMES_PER_STEP, CausalConvNet, StreamingNet, stream

PARITY_STEPS = 120  # several receptive fields
PARITY_TOLERANCE = 2e-5  # float32 sums of a few hundred terms in another order, through ten layers
OPSET = 18  # what ONNX Runtime 1.18, the oldest supported, surely runs


class ParityError(KwspotError, RuntimeError):
    """An exported model that does not do what the trained one does."""


def state_specs(net: StreamingNet) -> tuple[State, ...]:
    """Name the state tensors of a streaming net."""
    return tuple(
        State(f"state_{i}", f"next_state_{i}", tuple(state.shape))
        for i, state in enumerate(net.fresh_states())
    )


def export_onnx(net: CausalConvNet, info: ModelInfo, path: Path) -> float:
    """Export `net` with `info` as metadata to `path`; return the largest difference found.

    Raises ParityError, and writes nothing, where it exceeds 2e-5 in 120 streamed steps.
    """
    net = net.cpu().eval()
    streaming = StreamingNet(net).eval()
    model = _graph(streaming, info)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: dump_info(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        onnx.save(model, draft)
        difference = parity(net, streaming, OnnxModel(draft))
        if not difference <= PARITY_TOLERANCE:
            raise ParityError(
                f"{path} was not written: ONNX Runtime and torch differ by {difference:.2g} "
                f"(allowed {PARITY_TOLERANCE:.0g}) in {PARITY_STEPS} streamed steps"
            )
        draft.rename(path)
    return difference


@torch.no_grad()
def parity(net: CausalConvNet, streaming: StreamingNet, model: OnnxModel) -> float:
    """Return the largest difference of posteriors between whole, streamed and exported nets."""
    rng = np.random.default_rng(0)
    shape = (PARITY_STEPS * FRAMES_PER_STEP, model.info.front_end.mels)
    # Features of speech wander between 0 and 17; smooth in time, so that posteriors move too.
    wandering = np.cumsum(rng.normal(0, 1.2, shape), axis=0) % 34
    features = torch.from_numpy(np.abs(wandering - 17).astype(np.float32))
    whole = torch.sigmoid(net(features[None]))[0].numpy()
    streamed = stream(streaming, features).numpy()
    state, exported = model.fresh_state(), []
    for step in features.split(FRAMES_PER_STEP):
        posteriors, state = model.step(step.numpy(), state)
        exported.append(posteriors)
    # Of numpy, not of Python: that would pass over a difference that is no number.
    return float(np.max([np.abs(y - streamed).max() for y in (whole, np.concatenate(exported))]))


def _graph(streaming: StreamingNet, info: ModelInfo) -> onnx.ModelProto:
    """Trace one step into a graph with the inputs and outputs that `info` names."""
    features = torch.zeros(FRAMES_PER_STEP, info.front_end.mels)
    with _quiet_torch():
        program = torch.onnx.export(
            streaming,
            (features, *streaming.fresh_states()),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=["features", *(state.input for state in info.states)],
            output_names=["posteriors", *(state.output for state in info.states)],
        )
    return onnxslim.slim(program.model_proto)


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Drop two remarks of torch's exporter that ask nothing of its user."""
    logger = logging.getLogger("torch.onnx")  # says that torchvision is not installed
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its own tree specs by a class that it has deprecated.
            warnings.filterwarnings("ignore", r".*LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
