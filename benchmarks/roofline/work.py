"""What a step of a model must do at least, read from its file: multiply-accumulates and bytes.

Every node of the graph reads its inputs and writes its outputs once; what a runtime fuses or keeps
in registers would be less, what it copies besides is more.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kwspot.errors import ModelError

REDUCING = ("Conv", "Gemm", "MatMul")  # of ONNX; in TFLite's terms:
REDUCING_LITE = ("CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True)
class Work:
    """One step. `int8_macs` are those with weights of 8 bits; the rest is bytes."""

    float_macs: int
    int8_macs: int
    weights: int
    states: int
    activations: int

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return self.float_macs + self.int8_macs

    @property
    def bytes(self) -> int:
        """All bytes read and written."""
        return self.weights + self.states + self.activations


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph; `kind` is "weight", "state" or "activation"."""

    shape: tuple[int, ...]
    item_bytes: int
    kind: str

    @property
    def bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.item_bytes


@dataclass(frozen=True)
class Node:
    """A node of a graph by the names of its tensors.

    `macs` says how many multiply-accumulates it does, `weight` names the tensor that they read.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int = 0
    weight: str = ""


def read_work(path: Path) -> Work:
    """Read a model file. Raises ModelError for TFLite where LiteRT is not installed."""
    return _of_tflite(path) if path.suffix == ".tflite" else _of_onnx(path)


def count_work(nodes: Iterable[Node], tensors: dict[str, Tensor]) -> Work:
    """Add up the nodes of a graph."""
    read = {"weight": 0, "state": 0, "activation": 0}
    macs = {1: 0, 4: 0}
    for node in nodes:
        for name in (*node.inputs, *node.outputs):
            tensor = tensors[name]
            read[tensor.kind] += tensor.bytes
        if node.macs:
            macs[1 if tensors[node.weight].item_bytes == 1 else 4] += node.macs
    return Work(macs[4], macs[1], read["weight"], read["state"], read["activation"])


def _of_onnx(path: Path) -> Work:
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    graph = model.graph
    tensors = {
        item.name: _onnx_tensor(item.dims, item.data_type, "weight") for item in graph.initializer
    }
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = "state" if "state" in value.name else "activation"
        shape = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        tensors[value.name] = _onnx_tensor(shape, value.type.tensor_type.elem_type, kind)
    # A quantised weight passes through a node that would widen it; runtimes read it as it is.
    widened = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and tensors[node.input[0]].kind == "weight"
    }
    nodes = []
    for node in graph.node:
        if node.output[0] in widened:
            continue
        inputs = tuple(widened.get(name, name) for name in node.input if name)
        macs, weight = 0, ""
        if node.op_type in REDUCING:
            weight = inputs[1]
            macs = _onnx_macs(node, tensors[inputs[0]], tensors[weight], tensors[node.output[0]])
        nodes.append(Node(inputs, tuple(node.output), macs, weight))
    return count_work(nodes, tensors)


def _onnx_macs(node: Any, x: Tensor, weight: Tensor, y: Tensor) -> int:
    if node.op_type == "Conv":  # weights are (out, in / groups, kernel...)
        return math.prod(y.shape) * math.prod(weight.shape[1:])
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(y.shape) * x.shape[-2 if turned else -1]


def _onnx_tensor(shape: Sequence[int], element: int, kind: str) -> Tensor:
    import onnx

    return Tensor(tuple(shape), onnx.helper.tensor_dtype_to_np_dtype(element).itemsize, kind)


def _of_tflite(path: Path) -> Work:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise ModelError(f"{path.name} needs LiteRT to be read: install ai-edge-litert") from error

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # else one node hides all others
    graph = Interpreter(str(path), experimental_op_resolver_type=plain)
    graph.allocate_tensors()
    operators = graph._get_ops_details()
    made = {index for operator in operators for index in operator["outputs"]}
    ends = {end["index"]: end for end in (*graph.get_input_details(), *graph.get_output_details())}
    tensors = {}
    for details in graph.get_tensor_details():
        index = details["index"]
        kind = "activation" if index in made or index in ends else "weight"
        if index in ends and "state" in ends[index]["name"]:
            kind = "state"
        shape = tuple(int(n) for n in details["shape"])
        tensors[str(index)] = Tensor(shape, np.dtype(details["dtype"]).itemsize, kind)
    nodes = []
    for operator in operators:
        inputs, outputs = (
            tuple(str(i) for i in operator[side] if i >= 0) for side in ("inputs", "outputs")
        )
        macs, weight = 0, ""
        if operator["op_name"] in REDUCING_LITE:
            weight = inputs[1]
            macs = _lite_macs(operator["op_name"], tensors[weight], tensors[outputs[0]])
        nodes.append(Node(inputs, outputs, macs, weight))
    return count_work(nodes, tensors)


def _lite_macs(name: str, weight: Tensor, y: Tensor) -> int:
    if name == "CONV_2D":  # weights are (out, height, width, in)
        return math.prod(y.shape) * math.prod(weight.shape[1:])
    if name == "DEPTHWISE_CONV_2D":  # weights are (1, height, width, channels)
        return math.prod(y.shape) * math.prod(weight.shape[1:3])
    if name == "BATCH_MATMUL":  # (..., K, N)
        return math.prod(y.shape) * weight.shape[-2]
    return math.prod(y.shape) * weight.shape[-1]
