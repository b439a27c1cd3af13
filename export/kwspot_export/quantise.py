"""Eight bits: what to calibrate on, how far the result may be off, and the ONNX file itself.

```
features of training sound -> streamed through the float net -> ranges of features and states
                              the last quarter is kept back  -> proof
```
"""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from kwspot.features import FloatArray
from kwspot.modelfile import ModelInfo
from kwspot_export.onnx_export import add_self_test, graph_of, run_onnx, save_described
from kwspot_export.parity import (
    PARITY_STEPS,
    Agreement,
    Exportable,
    ParityError,
    Runner,
    agreement,
    draft,
)
from kwspot_export.student import FRAMES_PER_STEP, Streaming

# Measured on «alexa» over 77 s of training sound: 0.09 (0.16 with weights of one scale a channel),
# 0.004 and 0.9997. Where a word ends the posterior climbs from 0 to 1 within two outputs, so that
# one output there may well be off by a tenth. A word learnt in 600 steps, whose posteriors hardly
# rose in the sound that was kept: 0.02, 0.0004 and 0.990, which is rounding.
MOST_LARGEST, MOST_MEAN, LEAST_CORRELATION = 0.25, 0.01, 0.98
# Kernels round sums in the last of eight bits differently; those that are wrong are off by more.
SELF_TEST_TOLERANCE = 0.05


# Puts a stream of features (T, F) through a model: posteriors (T / 4, K).
Posteriors = Callable[[Tensor], FloatArray]


def as_they_are(info: ModelInfo, _: Posteriors) -> ModelInfo:
    """Keep the thresholds of the float model."""
    return info


@dataclass(frozen=True)
class Calibration:
    """Features (T, F) of sound as the model will hear it, keywords among it; one long stream.

    `rethreshold` moves the float model's thresholds to where eight bits put the same scores.
    """

    features: Tensor
    rethreshold: Callable[[ModelInfo, Posteriors], ModelInfo] = as_they_are

    @property
    def seen(self) -> Tensor:
        """What ranges are taken from: the first three quarters."""
        return self.features[: self._cut]

    @property
    def kept(self) -> Tensor:
        """What the result is tested on: the rest."""
        return self.features[self._cut :]

    @property
    def _cut(self) -> int:
        return len(self.features) // FRAMES_PER_STEP * 3 // 4 * FRAMES_PER_STEP

    @torch.no_grad()
    def inputs(self, streaming: Streaming) -> list[tuple[Tensor, ...]]:
        """Return all that a streaming net is given step by step: features and states."""
        states: Sequence[Tensor] = streaming.fresh_states()
        inputs = []
        for step in self.seen.split(FRAMES_PER_STEP):
            inputs.append((step, *states))
            states = streaming(step, *states)[-len(states) :]
        return inputs


def check_agreement(
    net: Exportable,
    info: ModelInfo,
    file: Path,
    run: Runner,
    calibration: Calibration,
    path: Path,
) -> Agreement:
    """Hold a quantised model against the float net on the sound that was kept from calibration.

    Raises ParityError for an output that is off by more than 0.25, for 0.01 on average, and for
    a correlation below 0.98; `path` is where the file would have gone.
    """
    steps = len(calibration.kept) // FRAMES_PER_STEP
    if steps < PARITY_STEPS:
        raise ParityError(
            f"{path} was not written: {steps} steps are kept from calibration, "
            f"{PARITY_STEPS} are needed to compare it with torch"
        )
    found = agreement(net, info, file, run, calibration.kept)
    if not (
        found.largest <= MOST_LARGEST
        and found.mean <= MOST_MEAN
        and found.correlation >= LEAST_CORRELATION
    ):
        raise ParityError(
            f"{path} was not written: in {steps} streamed steps it differs from torch by up to "
            f"{found.largest:.2g} (allowed {MOST_LARGEST}), {found.mean:.2g} on average (allowed "
            f"{MOST_MEAN}), at a correlation of {found.correlation:.4f} "
            f"(at least {LEAST_CORRELATION})"
        )
    return found


def rethresholded(info: ModelInfo, file: Path, run: Runner, calibration: Calibration) -> ModelInfo:
    """Return `info` with the thresholds of a quantised file."""

    def posteriors(features: Tensor) -> FloatArray:
        whole = len(features) // FRAMES_PER_STEP * FRAMES_PER_STEP
        return run(file, info, features[:whole].float().numpy())[0]

    return calibration.rethreshold(info, posteriors)


def export_onnx_int8(
    net: Exportable, info: ModelInfo, path: Path, calibration: Calibration
) -> Agreement:
    """Export `net` to `path` with matrix products in eight bits; return how well it agrees.

    States stay float: only what enters and leaves a product is quantised. Raises ParityError, and
    writes nothing, where `check_agreement` does.
    """
    net = net.cpu().eval()
    streaming = net.streaming()
    graph = graph_of(streaming, info)
    with draft(path) as file:
        _quantise(graph, file, calibration.inputs(streaming), info)
        model = onnx.load(file)
        shorten_names(model.graph)
        save_described(model, info, file)
        found = check_agreement(net, info, file, run_onnx, calibration, path)
        info = rethresholded(info, file, run_onnx, calibration)
        add_self_test(model, info, file, SELF_TEST_TOLERANCE)
    return found


def _quantise(
    graph: onnx.ModelProto, file: Path, inputs: Sequence[Sequence[Tensor]], info: ModelInfo
) -> None:
    from onnxruntime import quantization

    names = ["features", *(state.input for state in info.states)]
    feeds = iter([dict(zip(names, map(Tensor.numpy, step), strict=True)) for step in inputs])

    class Feeds(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    with quiet(), tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float.onnx"
        onnx.save(graph, plain)
        quantization.quantize_static(
            plain,
            file,
            Feeds(),
            op_types_to_quantize=["Gemm", "MatMul", "Relu"],
            # Unsigned both: without VNNI, x86-64 multiplies u8 by s8 in 16 bits that overflow.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QUInt8,
            extra_options={"MatMulConstBOnly": True},
        )


def shorten_names(graph: onnx.GraphProto) -> None:
    """Give what is inside a graph short names: those of the quantiser are 15 kB of «alexa»."""
    del graph.value_info[:]
    names = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    for tensor in graph.initializer:
        tensor.name = names.setdefault(tensor.name, str(len(names)))
    for node in graph.node:
        node.name = ""
        for tensors in (node.input, node.output):
            tensors[:] = [names.setdefault(name, str(len(names))) for name in tensors]


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the remarks of converters and quantisers that ask nothing of their user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(level)
