"""A keyword model as a value: features and state in, posteriors and next state out.

Models can be shared by many streams; the state belongs to the caller.
"""

import importlib
from pathlib import Path
from typing import Protocol

import numpy as np

from kwspot.bound_state import BoundState
from kwspot.errors import ModelError
from kwspot.features import FloatArray
from kwspot.modelfile import METADATA_KEY, ModelInfo, parse_info

ModelState = list[FloatArray]


class Model(Protocol):
    """What the detector needs of a back end."""

    info: ModelInfo

    def fresh_state(self) -> ModelState:
        """Return the state of a stream that has heard nothing."""

    def step(self, features: FloatArray, state: ModelState) -> tuple[FloatArray, ModelState]:
        """Run one step: features (frames_per_step, F) -> posteriors (outputs_per_step, K)."""


class OnnxModel:
    """A model file run by ONNX Runtime on one thread.

    Raises ModelError for a file that is missing, no ONNX model, without kwspot metadata, or whose
    graph does not fit that metadata.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise ModelError(f"there is no model file {path}")
        self._session = _open_session(path)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ModelError(
                f"{path} is an ONNX model without kwspot metadata: export it with `kwspot train`"
            )
        self.info = parse_info(metadata[METADATA_KEY], str(path))
        _check_graph(self._session, self.info, path)

    def fresh_state(self) -> ModelState:
        """Return the state of a stream that has heard nothing: zeros."""
        return [np.zeros(state.shape, np.float32) for state in self.info.states]

    def step(self, features: FloatArray, state: ModelState) -> tuple[FloatArray, ModelState]:
        """Run one step: features (frames_per_step, F) -> posteriors (outputs_per_step, K).

        A state that a step returned is spent by the next one: its memory is used again.
        """
        if not isinstance(state, BoundState):
            state = BoundState(self._session, self.info, state)
        return state.step(features), state


def shipped_models() -> list[str]:
    """Return the names of the models that are installed with kwspot."""
    return sorted(file.stem for file in _models_folder().glob("*.onnx"))


def load_model(name: str | Path) -> OnnxModel:
    """Load a model by path, or by the name of one that is installed with kwspot.

    Raises ModelError as OnnxModel does, and for a name that is neither.
    """
    path = Path(name)
    if path.suffix or path.parent != Path():
        return OnnxModel(path)
    shipped = shipped_models()
    if str(name) not in shipped:
        raise ModelError(
            f"no model is called {str(name)!r}: give a path to an .onnx file, "
            f"or one of those installed ({', '.join(shipped)})"
        )
    return OnnxModel(_models_folder() / f"{name}.onnx")


def _models_folder() -> Path:
    # Not importlib.resources, which costs 2 MB and 10 ms: installed packages are plain folders.
    return Path(importlib.import_module("kwspot.models").__path__[0])


def _open_session(path: Path):  # type: ignore[no-untyped-def]  # onnxruntime has no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, once
    # Steps are small and equal: an arena would only hold memory.
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime raises classes of its own for every kind of bad file
        reason = str(error).split("\n")[0]
        if (
            "opset" in reason.lower()
            or "ir_version" in reason.lower()
            or "ir version" in reason.lower()
        ):
            raise ModelError(
                f"{path} needs a newer ONNX Runtime than {onnxruntime.__version__}: {reason}"
            ) from error
        raise ModelError(f"{path} is not a model that ONNX Runtime can load: {reason}") from error


def _check_graph(session, info: ModelInfo, path: Path) -> None:  # type: ignore[no-untyped-def]
    """Hold the graph's inputs and outputs against the metadata."""
    inputs = {node.name: tuple(node.shape) for node in session.get_inputs()}
    outputs = {node.name: tuple(node.shape) for node in session.get_outputs()}
    expected_inputs: dict[str, tuple[int, ...]] = {
        "features": (info.frames_per_step, info.front_end.mels)
    }
    expected_outputs: dict[str, tuple[int, ...]] = {
        "posteriors": (info.outputs_per_step, len(info.keywords))
    }
    if info.embedding:
        expected_outputs["embedding"] = (info.outputs_per_step, info.embedding)
    for state in info.states:
        expected_inputs[state.input] = expected_outputs[state.output] = tuple(state.shape)
    for kind, found, expected in (
        ("input", inputs, expected_inputs),
        ("output", outputs, expected_outputs),
    ):
        if set(found) != set(expected):
            odd = sorted(set(found) ^ set(expected))[0]
            raise ModelError(f"{path}: the graph and its metadata disagree about {kind} {odd!r}")
        for name, shape in expected.items():
            if found[name] != shape:
                raise ModelError(
                    f"{path}: {kind} {name!r} has shape {found[name]}, its metadata says {shape}"
                )
