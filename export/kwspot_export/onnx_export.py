"""Write a student as an ONNX file that describes itself, and prove it equal before it counts.

Nothing is left on disk where the outputs of the training net, the streamed net and ONNX Runtime
differ.

A step of the file takes `features` and states; it puts out `posteriors`, where there are keywords,
`embedding`, where the information says that there is one, and the next states.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxslim
import torch

from kwspot.errors import KwspotError
from kwspot.features import FrontEnd
from kwspot.model import OnnxModel
from kwspot.modelfile import FORMAT, METADATA_KEY, ModelInfo, Provenance, State, dump_info
from kwspot_export.heads import JointNet, PooledEncoder
from kwspot_export.student import (
    FRAMES_PER_STEP,
    OUTPUTS_PER_STEP,
    Encoder,
    FrameNet,
    Streaming,
    stream,
)

PARITY_STEPS = 120  # several receptive fields
PARITY_TOLERANCE = 2e-5  # float32 sums of a few hundred terms in another order, through ten layers
OPSET = 18  # what ONNX Runtime 1.18, the oldest supported, surely runs


class ParityError(KwspotError, RuntimeError):
    """An exported model that does not do what the trained one does."""


Exportable = FrameNet | JointNet | PooledEncoder


def state_specs(streaming: Streaming) -> tuple[State, ...]:
    """Name the state tensors of a streaming net."""
    return tuple(
        State(f"state_{i}", f"next_state_{i}", tuple(state.shape))
        for i, state in enumerate(streaming.fresh_states())
    )


def export_onnx(net: Exportable, info: ModelInfo, path: Path) -> float:
    """Export `net` with `info` as metadata to `path`; return the largest difference found.

    Raises ParityError, and writes nothing, where it exceeds 2e-5 in 120 streamed steps.
    """
    net = net.cpu().eval()
    streaming = net.streaming()
    model = _graph(streaming, info)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: dump_info(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        onnx.save(model, draft)
        if info.keywords:
            OnnxModel(draft)  # which refuses a graph that does not fit its metadata
        difference = parity(net, streaming, info, draft)
        if not difference <= PARITY_TOLERANCE:
            raise ParityError(
                f"{path} was not written: ONNX Runtime and torch differ by {difference:.2g} "
                f"(allowed {PARITY_TOLERANCE:.0g}) in {PARITY_STEPS} streamed steps"
            )
        draft.rename(path)
    return difference


def export_encoder(
    encoder: Encoder, name: str, provenance: Provenance, path: Path, front_end: FrontEnd
) -> float:
    """Export an encoder without keywords: its `embedding` (2, C) is the mean of the last second.

    The runtime refuses such a file as a keyword model. Returns and raises as `export_onnx`.
    """
    net = PooledEncoder(encoder)
    info = ModelInfo(
        format=FORMAT,
        name=name,
        keywords=(),
        frames_per_step=FRAMES_PER_STEP,
        outputs_per_step=OUTPUTS_PER_STEP,
        receptive_field=net.receptive_field,
        states=state_specs(net.streaming()),
        provenance=provenance,
        front_end=front_end,
        embedding=encoder.width,
    )
    return export_onnx(net, info, path)


@torch.no_grad()
def parity(net: Exportable, streaming: Streaming, info: ModelInfo, path: Path) -> float:
    """Return the largest difference of any output between the whole, streamed and exported nets.

    Outputs that exceed 1 in size, as hidden vectors may, count relative to their largest number.
    """
    rng = np.random.default_rng(0)
    shape = (PARITY_STEPS * FRAMES_PER_STEP, info.front_end.mels)
    # Features of speech wander between 0 and 17; smooth in time, so that posteriors move too.
    wandering = np.cumsum(rng.normal(0, 1.2, shape), axis=0) % 34
    features = torch.from_numpy(np.abs(wandering - 17).astype(np.float32))
    whole = [output[0].numpy() for output in net.outputs(features[None])]
    streamed = [output.numpy() for output in stream(streaming, features)]
    exported = _run(path, info, features.numpy())
    differences = [
        np.abs(y - expected).max() / max(1.0, np.abs(expected).max())
        for outputs in (whole, exported)
        for y, expected in zip(outputs, streamed, strict=True)
    ]
    # Of numpy, not of Python: that would pass over a difference that is no number.
    return float(np.max(differences))


def _run(path: Path, info: ModelInfo, features: np.ndarray) -> list[np.ndarray]:
    """Stream features (T, F) through ONNX Runtime, the state fed back: each output, (U, size)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [*_outputs(info), *(state.output for state in info.states)]
    states = {state.input: np.zeros(state.shape, np.float32) for state in info.states}
    steps = []
    for step in np.split(features, len(features) // info.frames_per_step):
        results = session.run(names, {"features": step} | states)
        outputs, following = results[: -len(states)], results[-len(states) :]
        states = dict(zip(states, following, strict=True))
        steps.append(outputs)
    return [np.concatenate(parts) for parts in zip(*steps, strict=True)]


def _outputs(info: ModelInfo) -> list[str]:
    """Name the outputs of a file beside its states."""
    return ["posteriors"] * bool(info.keywords) + ["embedding"] * bool(info.embedding)


def _graph(streaming: Streaming, info: ModelInfo) -> onnx.ModelProto:
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
            output_names=[*_outputs(info), *(state.output for state in info.states)],
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
