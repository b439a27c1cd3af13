"""Write a student as an ONNX file that describes itself, and prove it equal before it counts.

Nothing is left on disk where the outputs of the training net, the streamed net and ONNX Runtime
differ.

A step of the file takes `features` and states; it puts out `posteriors`, where there are keywords,
`embedding`, where the information says that there is one, and the next states.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxslim
import torch
from torch import Tensor

from kwspot.features import FloatArray, FrontEnd
from kwspot.model import OnnxModel
from kwspot.modelfile import FORMAT, METADATA_KEY, ModelInfo, Provenance, dump_info
from kwspot.selftest import record
from kwspot_export.heads import PooledEncoder
from kwspot_export.parity import (
    Exportable,
    draft,
    output_names,
    parity,
    require_equal,
    state_specs,
)
from kwspot_export.student import FRAMES_PER_STEP, OUTPUTS_PER_STEP, Encoder, Streaming

PARITY_TOLERANCE = 2e-5  # float32 sums of a few hundred terms in another order, through ten layers
SELF_TEST_TOLERANCE = 1e-3  # boards add in other orders; kernels that are wrong are off by far more
OPSET = 18  # what ONNX Runtime 1.18, the oldest supported, surely runs


def export_onnx(net: Exportable, info: ModelInfo, path: Path) -> float:
    """Export `net` with `info` as metadata to `path`; return the largest difference found.

    Raises ParityError, and writes nothing, where it exceeds 2e-5 in 120 streamed steps.
    """
    net = net.cpu().eval()
    streaming = net.streaming()
    model = graph_of(streaming, info)
    with draft(path) as file:
        save_described(model, info, file)
        difference = parity(net, streaming, info, file, run_onnx)
        require_equal(difference, PARITY_TOLERANCE, path, "ONNX Runtime and torch")
        add_self_test(model, info, file, SELF_TEST_TOLERANCE)
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


def run_onnx(
    path: Path, info: ModelInfo, features: FloatArray, name: str = "features"
) -> list[FloatArray]:
    """Stream features (T, F) through ONNX Runtime, the state fed back: each output, (U, size).

    Of a graph whose input `name` is "samples", features are those: (N,).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [*output_names(info), *(state.output for state in info.states)]
    states = {state.input: np.zeros(state.shape, np.float32) for state in info.states}
    steps = []
    size = info.frames_per_step if name == "features" else info.step_samples
    for step in np.split(features, len(features) // size):
        results = session.run(names, {name: step} | states)
        outputs, following = results[: -len(states)], results[-len(states) :]
        states = dict(zip(states, following, strict=True))
        steps.append(outputs)
    return [np.concatenate(parts) for parts in zip(*steps, strict=True)]


def graph_of(streaming: Streaming, info: ModelInfo) -> onnx.ModelProto:
    """Trace one step into a graph with the inputs and outputs that `info` names."""
    return trace(streaming, info, "features", torch.zeros(FRAMES_PER_STEP, info.front_end.mels))


def trace(streaming: Streaming, info: ModelInfo, name: str, example: Tensor) -> onnx.ModelProto:
    """Trace one step of a module whose input beside the states is called `name`."""
    with quiet_torch():
        program = torch.onnx.export(
            streaming,
            (example, *streaming.fresh_states()),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=[name, *(state.input for state in info.states)],
            output_names=[*output_names(info), *(state.output for state in info.states)],
        )
    return onnxslim.slim(program.model_proto)


def save_described(model: onnx.ModelProto, info: ModelInfo, file: Path) -> None:
    """Write a graph with `info` as its only metadata."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: dump_info(info)})
    onnx.save(model, file)


def add_self_test(model: onnx.ModelProto, info: ModelInfo, file: Path, tolerance: float) -> None:
    """Write a graph again, with what it answers to the self-test; an encoder alone has none."""
    if info.keywords:
        # Which also refuses a graph that does not fit its metadata.
        answered = record(OnnxModel(file), tolerance)
        save_described(model, replace(info, self_test=answered), file)


@contextmanager
def quiet_torch() -> Iterator[None]:
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
