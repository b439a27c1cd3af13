"""Names and metadata of a .tflite file, written small: of equal arrays in it, one is kept.

Needs flatbuffers and the schema, which come with ai-edge-litert.
"""

from collections.abc import Iterable
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert.schema_py_generated import BufferT, MetadataT, TensorMapT
from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

from kwspot.modelfile import METADATA_KEY, ModelInfo, dump_info
from kwspot_export.parity import output_names

WEIGHT_ALIGNMENT = 16  # bytes, as the schema asks for; Python's flatbuffers do not know
RUNTIME_VERSION = b"min_runtime_version"  # the only entry of the converter that runtimes read


def described(content: bytes, info: ModelInfo) -> bytes:
    """Name a converted model's inputs and outputs as `info` does and store it as metadata.

    The model comes from litert-torch: inputs are args_0, args_1 ..., outputs output_0 ...
    """
    model = read_model_from_bytearray(bytearray(content))
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    model.description = None
    model.metadata = [entry for entry in model.metadata or [] if entry.name == RUNTIME_VERSION]
    written: dict[str, _Once] = {}
    for number, tensor in enumerate(graph.tensors):
        tensor.name = str(number)  # the converter's names are long as paths: 5 kB
        tensor.quantization = _once(tensor.quantization, written)
    for operator in graph.operators:
        operator.builtinOptions = _once(operator.builtinOptions, written)
    inputs = "features", *(state.input for state in info.states)
    outputs = *output_names(info), *(state.output for state in info.states)
    for tensors, prefix, names in (
        (signature.inputs, "args", inputs),
        (signature.outputs, "output", outputs),
    ):
        _rename(graph.tensors, tensors, {f"{prefix}_{i}": name for i, name in enumerate(names)})
    text, metadata = BufferT(), MetadataT()
    text.data = np.frombuffer(dump_info(info).encode(), np.uint8)
    metadata.name, metadata.buffer = METADATA_KEY, len(model.buffers)
    model.buffers.append(text)
    model.metadata.append(metadata)
    builder = _Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _rename(tensors: list, mapped: Iterable[TensorMapT], names: dict[str, str]) -> None:
    for entry in mapped:
        entry.name = names[entry.name.decode()]
        tensors[entry.tensorIndex].name = entry.name


class _Once:
    """A part of a model that is written where it is first met, and referred to from then on."""

    def __init__(self, part: Any) -> None:
        self.part, self.place = part, 0

    def Pack(self, builder: flatbuffers.Builder) -> int:
        self.place = self.place or self.part.Pack(builder)
        return self.place


def _once(part: Any, known: dict[str, _Once]) -> _Once | None:
    """Return what stands for all parts like this one."""
    if part is None:
        return None
    values = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(part).items()
    }
    return known.setdefault(f"{type(part).__name__} {values}", _Once(part))


class _Builder(flatbuffers.Builder):
    """Writes what is equal once: zero points alone, 8 bytes a channel, are 10 kB of «alexa»."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._places: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: npt.NDArray) -> int:
        key = x.dtype.str, x.tobytes()
        if key not in self._places:
            if x.dtype == np.uint8:  # the data of a buffer
                self.Prep(WEIGHT_ALIGNMENT, x.nbytes)
            self._places[key] = super().CreateNumpyVector(x)
        return self._places[key]

    def CreateString(self, s: str | bytes, *how: str) -> int:
        key = "text", s.encode() if isinstance(s, str) else s
        if key not in self._places:
            self._places[key] = super().CreateString(s, *how)
        return self._places[key]
