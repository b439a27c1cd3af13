"""Write a student as a .tflite file, float or full integer, that describes itself.

```
student -> folded, channels last -> litert-torch -> litert-quantizer -> names, metadata -> proof
                                                    (int8 only)
```

litert-torch and litert-quantizer are an extra of their own, `kwspot-export[tflite]`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kwspot.features import FloatArray
from kwspot.modelfile import ModelInfo
from kwspot.selftest import record
from kwspot.tflite_model import LiteGraph, TfliteModel
from kwspot_export import onnx_export, quantise
from kwspot_export.parity import (
    Agreement,
    Exportable,
    draft,
    output_names,
    parity,
    require_equal,
    state_specs,
)
from kwspot_export.quantise import Calibration, check_agreement, quiet, rethresholded
from kwspot_export.student import FEATURE_SCALE, FRAMES_PER_STEP, ConvEncoder, Streaming

# 1e-7 on x86-64; XNNPACK's sigmoid is an approximation of its own on each CPU.
PARITY_TOLERANCE = 1e-4
SIGNATURE = "serving_default"


class ChannelsLastConv(nn.Module):
    """The folded convolutions one step at a time, in the form that LiteRT runs fastest.

    `forward(features (8, F), *states) -> (hidden (2, C), *next states)`; a state is the tail of one
    layer's input, (1, 1, history, C).

    LiteRT's convolutions take (batch, height, width, channels). With states in that layout a layer
    is one concatenation, one convolution and one slice, all in one XNNPACK call; the gathers of
    `StreamingConv` are not XNNPACK's and cut the graph into ten. int8: 12 us instead of 16 us.
    """

    def __init__(self, encoder: ConvEncoder) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        self.state_shapes = [
            (1, 1, layer.history, layer.conv.in_channels) for layer in encoder.layers
        ]
        for layer in encoder.layers:
            weight, bias = layer.fold()
            if not self.convs:
                weight = weight * FEATURE_SCALE
            outputs, inputs, kernel = weight.shape
            stride, dilation = layer.conv.stride[0], layer.conv.dilation[0]
            conv = nn.Conv2d(inputs, outputs, (1, kernel), (1, stride), dilation=(1, dilation))
            conv.weight.data, conv.bias.data = weight[:, :, None], bias
            self.convs.append(conv)

    def fresh_states(self) -> list[Tensor]:
        """Return the states of a stream that has heard nothing."""
        return [torch.zeros(shape) for shape in self.state_shapes]

    def forward(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Run one step."""
        x, next_states = features[None, None], []
        for conv, state in zip(self.convs, states, strict=True):
            x = torch.cat([state, x], dim=2)
            next_states.append(x[:, :, x.shape[2] - state.shape[2] :])
            # The converter sees that these permutations undo each other and drops them.
            x = torch.relu(conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        return (x[0, 0], *next_states)


def lite_form(net: Exportable) -> Streaming:
    """Return a net one step at a time, in the form that LiteRT runs fastest."""
    streaming = net.streaming()
    if isinstance(net.encoder, ConvEncoder):
        streaming.encoder = ChannelsLastConv(net.encoder).eval()
    return streaming


def export_tflite(net: Exportable, info: ModelInfo, path: Path) -> float:
    """Export `net` in float32 to `path`; return the largest difference found.

    Raises ParityError, and writes nothing, where it exceeds 1e-4 in 120 streamed steps.
    """
    net = net.cpu().eval()
    streaming = lite_form(net)
    info = replace(info, states=state_specs(streaming))
    content = _convert(streaming, info)
    with draft(path) as file:
        _save_described(content, info, file)
        difference = parity(net, streaming, info, file, run_tflite)
        require_equal(difference, PARITY_TOLERANCE, path, "LiteRT and torch")
        _add_self_test(content, info, file, onnx_export.SELF_TEST_TOLERANCE)
    return difference


def export_tflite_int8(
    net: Exportable, info: ModelInfo, path: Path, calibration: Calibration
) -> Agreement:
    """Export `net` in full integer, states too, to `path`; return how well it agrees.

    Weights are int8 with a scale for each channel, activations and states int8 with one a tensor.
    Raises ParityError, and writes nothing, where `quantise.check_agreement` does.
    """
    net = net.cpu().eval()
    streaming = lite_form(net)
    info = replace(info, states=state_specs(streaming))
    content = _quantise(_convert(streaming, info), calibration.inputs(streaming))
    with draft(path) as file:
        _save_described(content, info, file)
        found = check_agreement(net, info, file, run_tflite, calibration, path)
        info = rethresholded(info, file, run_tflite, calibration)
        _add_self_test(content, info, file, quantise.SELF_TEST_TOLERANCE)
    return found


def run_tflite(path: Path, info: ModelInfo, features: FloatArray) -> list[FloatArray]:
    """Stream features (T, F) through LiteRT, the state fed back: each output, (U, size)."""
    graph = LiteGraph(path)
    graph.allocate()
    interpreter, heard = graph.interpreter, graph.inputs["features"]
    outputs = [graph.outputs[name] for name in output_names(info)]
    states = [(graph.inputs[s.input], graph.outputs[s.output]) for s in info.states]
    for before, _ in states:
        interpreter.set_tensor(before.index, before.store(np.zeros(before.shape, np.float32)))
    steps = []
    for step in np.split(features, len(features) // info.frames_per_step):
        interpreter.set_tensor(heard.index, heard.store(step))
        interpreter.invoke()
        steps.append([output.read(interpreter.get_tensor(output.index)) for output in outputs])
        found = [
            before.take(after, interpreter.get_tensor(after.index)) for before, after in states
        ]
        for (before, _), values in zip(states, found, strict=True):
            interpreter.set_tensor(before.index, values)
    return [np.concatenate(parts) for parts in zip(*steps, strict=True)]


def _convert(streaming: Streaming, info: ModelInfo) -> bytes:
    """Convert one step: inputs become args_0, args_1 ..., outputs output_0, output_1 ..."""
    with quiet():
        import litert_torch
        from litert_torch import progress

        progress.config.show_progress = False
        features = torch.zeros(FRAMES_PER_STEP, info.front_end.mels)
        model = litert_torch.convert(streaming, (features, *streaming.fresh_states()))
        return model.model_content()


def _quantise(content: bytes, inputs: Sequence[Sequence[Tensor]]) -> bytes:
    """Quantise a converted model; `inputs` are the features and states of many steps."""
    with quiet():
        from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray
        from litert_quantizer import calibrator, quantizer, recipe, recipe_manager
        from litert_quantizer.utils.qsv_utils import min_max_update

        recipes = recipe_manager.RecipeManager()
        recipes.load_quantization_recipe(recipe.static_wi8_ai8())
        steps = [{f"args_{i}": x.numpy() for i, x in enumerate(step)} for step in inputs]
        # Quantizer.calibrate would average the extremes of the last twenty steps: all that is loud
        # is then clipped (mean difference 0.053 on «alexa»).
        observer = calibrator.Calibrator(content, num_threads=1, qsv_update_func=min_max_update)
        observer.calibrate({SIGNATURE: steps}, recipes)
        ranges = observer.get_model_qsvs()
        _share_ranges(read_model_from_bytearray(bytearray(content)), ranges)
        job = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
        return bytes(job.quantize(ranges, enable_progress_report=False).quantized_model)


def _share_ranges(model: Any, ranges: dict[str, dict[str, Any]]) -> None:
    """Give tensors between which numbers only move one range.

    Else a state would leave the graph with another scale than it enters with, as a concatenation
    sees other extremes than its parts, and each step would round all that is remembered again.
    """
    from ai_edge_litert.schema_py_generated import BuiltinOperator as Op

    moving = {Op.CONCATENATION, Op.RESHAPE, Op.SLICE, Op.STRIDED_SLICE}
    (graph,) = model.subgraphs
    groups: list[set[str]] = []
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode in moving:
            tensors = (
                graph.tensors[i].name.decode() for i in (*operator.inputs, *operator.outputs)
            )
            tied = {name for name in tensors if name in ranges}  # constants have none
            joined = tied.union(*(group for group in groups if group & tied))
            groups = [joined, *(group for group in groups if not group & tied)]
    for group in groups:
        low = min(ranges[name]["min"] for name in group)
        high = max(ranges[name]["max"] for name in group)
        for name in group:
            ranges[name] |= {"min": low, "max": high}


def _add_self_test(content: bytes, info: ModelInfo, file: Path, tolerance: float) -> None:
    """Write a model again, with what it answers to the self-test; an encoder alone has none."""
    if info.keywords:
        # Which also refuses a graph that does not fit its metadata.
        answered = record(TfliteModel(file), tolerance)
        _save_described(content, replace(info, self_test=answered), file)


def _save_described(content: bytes, info: ModelInfo, file: Path) -> None:
    from kwspot_export.tflite_file import described

    file.write_bytes(described(content, info))
