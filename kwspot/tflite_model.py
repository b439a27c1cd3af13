"""A model file run by LiteRT (TFLite), float or quantised, behind the same face as an ONNX one.

```
features --quantise--> graph --dequantise--> posteriors, [embedding]
state  ------as it is------> --as it is or requantised--> next state
```

A stream's state stays in the numbers of the graph's inputs, so that it passes from step to step
untouched wherever a state's input and output share one scale.
"""

import importlib
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kwspot.errors import ModelError
from kwspot.features import FloatArray
from kwspot.model import LITERT, ModelState, Shapes, check_graph
from kwspot.modelfile import METADATA_KEY, parse_info

STORED = (np.float32, np.int8, np.int16)  # what a tensor of a model file may hold
ENDS = {  # the least and the largest of the integers among them
    np.int8: (np.float32(-128), np.float32(127)),
    np.int16: (np.float32(-32768), np.float32(32767)),
}


class TfliteModel:
    """A model file run by ai-edge-litert, or tflite-runtime where only that is installed.

    One thread runs a step; streams in several threads wait for each other. Raises ModelError for a
    file that is missing, no TFLite model, without kwspot metadata, or whose graph does not fit
    that metadata; and where neither runtime is installed.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        graph = LiteGraph(path)
        metadata = read_metadata(path.read_bytes(), METADATA_KEY)
        if metadata is None:
            raise ModelError(
                f"{path} is a TFLite model without kwspot metadata: export it with `kwspot export`"
            )
        self.info, self.path = parse_info(metadata, str(path)), path
        self.runtime = graph.runtime
        check_graph(_shapes(graph.inputs), _shapes(graph.outputs), self.info, path)
        graph.allocate()
        self._interpreter = graph.interpreter
        self._features, self._outputs = graph.inputs["features"], graph.outputs
        self._states = [(graph.inputs[s.input], graph.outputs[s.output]) for s in self.info.states]
        self._lock = threading.Lock()  # the tensors lie in the interpreter while a step runs

    def fresh_state(self) -> ModelState:
        """Return the state of a stream that has heard nothing: zeros, as the graph stores them."""
        return [before.store(np.zeros(before.shape, np.float32)) for before, _ in self._states]

    def step(self, features: FloatArray, state: ModelState) -> tuple[FloatArray, ModelState]:
        """Run one step: features (frames_per_step, F) -> posteriors (outputs_per_step, K)."""
        (posteriors,), next_state = self._run(features, state, ["posteriors"])
        return posteriors, next_state

    def step_and_embed(
        self, features: FloatArray, state: ModelState
    ) -> tuple[FloatArray, FloatArray, ModelState]:
        """Run one step of a model with `info.embedding`: ... -> posteriors, embedding (U, E)."""
        (posteriors, embedding), next_state = self._run(
            features, state, ["posteriors", "embedding"]
        )
        return posteriors, embedding, next_state

    def _run(
        self, features: FloatArray, state: ModelState, wanted: list[str]
    ) -> tuple[list[FloatArray], ModelState]:
        """Run one step and read the outputs that are wanted."""
        graph = self._interpreter
        with self._lock:
            graph.set_tensor(self._features.index, self._features.store(features))
            for (before, _), values in zip(self._states, state, strict=True):
                graph.set_tensor(before.index, values)
            graph.invoke()
            outputs = [self._outputs[name] for name in wanted]
            answers = [output.read(graph.get_tensor(output.index)) for output in outputs]
            next_state = [
                before.take(after, graph.get_tensor(after.index)) for before, after in self._states
            ]
        return answers, next_state


class LiteGraph:
    """A .tflite file as its runtime sees it: inputs and outputs by name, and the interpreter.

    Raises ModelError for a file that is missing or that the runtime cannot load.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(f"there is no model file {path}")
        self._path = path
        self.interpreter, self.runtime = _open_interpreter(path)
        self.inputs = _tensors(self.interpreter.get_input_details(), path)
        self.outputs = _tensors(self.interpreter.get_output_details(), path)

    def allocate(self) -> None:
        """Make the graph ready to run; raise ModelError where it cannot be."""
        # LiteRT ends the process at the first tensor whose scale is 0.
        for tensor in self.interpreter.get_tensor_details():
            scales = tensor["quantization_parameters"]["scales"]
            if not np.all(scales > 0):
                raise ModelError(f"{self._path}: tensor {tensor['name']!r} has a scale of 0")
        with _refused(self._path), _unsaid():
            self.interpreter.allocate_tensors()


@dataclass(frozen=True)
class LiteTensor:
    """A tensor of a graph: where it is, and how it stores numbers, (stored - zero) * scale."""

    index: int
    shape: tuple[int, ...]
    dtype: type[np.generic]
    scale: np.float32
    zero: int

    def take(self, other: "LiteTensor", stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn what another tensor holds into what this one does, as it is where both are alike."""
        alike = (self.dtype, self.scale, self.zero) == (other.dtype, other.scale, other.zero)
        return stored if alike else self.store(other.read(stored))

    def store(self, values: FloatArray) -> npt.NDArray[Any]:
        """Turn numbers into what the tensor holds; those out of its range become its ends."""
        if self.dtype is np.float32:
            return values
        stored = values * (1 / self.scale)
        np.rint(stored, out=stored)
        stored += np.float32(self.zero)
        # np.clip would cost twice as much as all the rest.
        lowest, highest = ENDS[self.dtype]
        np.maximum(stored, lowest, out=stored)
        np.minimum(stored, highest, out=stored)
        return stored.astype(self.dtype)

    def read(self, stored: npt.NDArray[Any]) -> FloatArray:
        """Turn what the tensor holds into numbers."""
        if self.dtype is np.float32:
            return stored
        # By way of int32: a difference of two int8 may need nine bits.
        return (stored.astype(np.int32) - self.zero).astype(np.float32) * self.scale


def _tensors(details: list[dict[str, Any]], path: Path) -> dict[str, LiteTensor]:
    """Look up a graph's inputs or outputs by name."""
    tensors = {}
    for detail in details:
        name, dtype = detail["name"], detail["dtype"]
        scale, zero = detail["quantization"]
        if dtype not in STORED or (dtype is not np.float32 and not scale > 0):
            raise ModelError(
                f"{path}: tensor {name!r} holds {np.dtype(dtype).name} at scale {scale:g}, kwspot "
                "runs float32, and int8 or int16 with one scale a tensor"
            )
        shape = tuple(detail["shape"].tolist())
        tensors[name] = LiteTensor(detail["index"], shape, dtype, np.float32(scale), zero)
    return tensors


def _shapes(tensors: dict[str, LiteTensor]) -> Shapes:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _open_interpreter(path: Path) -> tuple[Any, str]:
    """Open a file with the runtime that is installed; return that runtime's name, too."""
    for package, name in LITERT.items():
        try:
            version = importlib.import_module(package).__version__
            interpreter = importlib.import_module(f"{package}.interpreter").Interpreter
        except ImportError:
            continue
        with _refused(path), _unsaid():
            return interpreter(str(path), num_threads=1), f"{name} {version}"
    raise ModelError(f"{path} needs LiteRT, which is not installed: pip install 'kwspot[tflite]'")


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what LiteRT raises for a bad file into one sentence."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise ModelError(f"{path} is not a model that LiteRT can load: {reason}") from error


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep LiteRT from greeting on stderr, which no setting of it does; what fails is raised."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)


def read_metadata(content: bytes, name: str) -> str | None:
    """Find the text of one metadata entry in a .tflite file; None where it has none.

    The way to it through the flatbuffer is short enough to go by hand: tflite-runtime brings no
    schema. Field numbers are those of TensorFlow's schema.fbs.
    """
    try:
        model = _offset(content, 0)
        buffers = list(_elements(content, _field(content, model, 4)))
        for entry in _elements(content, _field(content, model, 6)):
            if _bytes(content, _field(content, entry, 0)) == name.encode():
                (number,) = struct.unpack_from("<I", content, _field(content, entry, 1))
                data = _bytes(content, _field(content, buffers[number], 0))
                return data.decode(errors="replace")
    except (struct.error, IndexError, LookupError):
        pass
    return None


def _offset(content: bytes, at: int) -> int:
    """Follow the reference at `at`."""
    return at + int(struct.unpack_from("<I", content, at)[0])


def _field(content: bytes, table: int, number: int) -> int:
    """Return where field `number` of the table is; its vtable lists the distances."""
    vtable = table - struct.unpack_from("<i", content, table)[0]
    (size,) = struct.unpack_from("<H", content, vtable)
    slot = 4 + 2 * number
    distance = struct.unpack_from("<H", content, vtable + slot)[0] if slot < size else 0
    if not distance:
        raise LookupError(number)
    return table + int(distance)


def _elements(content: bytes, at: int) -> Iterator[int]:
    """Yield the tables of the vector that is referred to at `at`."""
    vector = _offset(content, at)
    (count,) = struct.unpack_from("<I", content, vector)
    for i in range(count):
        yield _offset(content, vector + 4 + 4 * i)


def _bytes(content: bytes, at: int) -> bytes:
    """Return the text or bytes that are referred to at `at`."""
    begin = _offset(content, at)
    (size,) = struct.unpack_from("<I", content, begin)
    return content[begin + 4 : begin + 4 + size]
