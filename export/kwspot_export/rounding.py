"""Weights of eight bits beside activations of 32: a quarter of the room, the same speed.

```
weight (M, ...) -> int8 and a scale a channel -> DequantizeLinear -> the node that used it
```

For nets that run seldom, where room counts and time does not.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

LEAST_ROUNDED = 1024  # values of a weight; smaller ones are not worth it
CHANNELS = {"Conv": 0, "Gemm": 0, "MatMul": 1}  # the axis of a weight that outputs go along


def round_weights(model: onnx.ModelProto) -> None:
    """Store the weights of convolutions and products in eight bits, each channel with its scale.

    Convolutions over two axes stay as they are.
    """
    graph = model.graph
    axes = {n.input[1]: CHANNELS[n.op_type] for n in graph.node if n.op_type in CHANNELS}
    kept, nodes = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in axes or values.size < LEAST_ROUNDED or values.ndim > 3:
            kept.append(tensor)
            continue
        axis = axes[tensor.name]
        others = tuple(other for other in range(values.ndim) if other != axis)
        largest = np.abs(values).max(axis=others, keepdims=True)
        scale = np.maximum(largest, 1e-12).astype(np.float32) / np.float32(127)
        rounded = np.round(values / scale).astype(np.int8)
        names = f"{tensor.name}:int8", f"{tensor.name}:scale", f"{tensor.name}:zero"
        zero = np.zeros(scale.size, np.int8)
        for name, array in zip(names, (rounded, scale.ravel(), zero), strict=True):
            kept.append(numpy_helper.from_array(array, name))
        nodes.append(helper.make_node("DequantizeLinear", list(names), [tensor.name], axis=axis))
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
