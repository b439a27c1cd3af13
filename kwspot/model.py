"""A keyword model as a value: features and state in, posteriors and next state out.

Models can be shared by many streams; the state belongs to the caller.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kwspot.bound_state import BoundState
from kwspot.errors import ModelError
from kwspot.features import FloatArray
from kwspot.modelfile import METADATA_KEY, SAMPLES_KEY, ModelInfo, parse_info

ModelState = list[npt.NDArray[Any]]
Shapes = dict[str, tuple[int, ...]]  # of a graph's inputs or outputs, by name
# The packages that run .tflite files, by name, the newest first.
LITERT = {"ai_edge_litert": "LiteRT", "tflite_runtime": "tflite-runtime"}


class Model(Protocol):
    """What the detector needs of a back end."""

    info: ModelInfo
    path: Path  # its file
    runtime: str  # what runs it, with its version

    def fresh_state(self) -> ModelState:
        """Return the state of a stream that has heard nothing."""

    def step(self, features: FloatArray, state: ModelState) -> tuple[FloatArray, ModelState]:
        """Run one step: features (frames_per_step, F) -> posteriors (outputs_per_step, K)."""

    def step_and_embed(
        self, features: FloatArray, state: ModelState
    ) -> tuple[FloatArray, FloatArray, ModelState]:
        """Run one step of a model with `info.embedding`: ... -> posteriors, embedding (U, E)."""


class OnnxModel:
    """A model file run by ONNX Runtime on one thread.

    Raises ModelError for a file that is missing, no ONNX model, without kwspot metadata, or whose
    graph does not fit that metadata.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise ModelError(f"there is no model file {path}")
        self._session = open_session(path)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if SAMPLES_KEY in metadata:
            raise ModelError(
                f"{path} takes samples, for programs in other languages: "
                "give kwspot the file without the front end"
            )
        if METADATA_KEY not in metadata:
            raise ModelError(
                f"{path} is an ONNX model without kwspot metadata: export it with `kwspot export`"
            )
        self.info, self.path = parse_info(metadata[METADATA_KEY], str(path)), path
        self.runtime = onnxruntime_version()
        inputs = {node.name: tuple(node.shape) for node in self._session.get_inputs()}
        outputs = {node.name: tuple(node.shape) for node in self._session.get_outputs()}
        check_graph(inputs, outputs, self.info, path)

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

    def step_and_embed(
        self, features: FloatArray, state: ModelState
    ) -> tuple[FloatArray, FloatArray, ModelState]:
        """Run one step of a model with `info.embedding`: ... -> posteriors, embedding (U, E)."""
        if not isinstance(state, BoundState) or state.embedding is None:
            state = BoundState(self._session, self.info, state, embed=True)
        posteriors, embedding = state.step(features), state.embedding
        assert embedding is not None
        return posteriors, embedding.copy(), state


def onnxruntime_version() -> str:
    """Return the name and version of what runs .onnx files."""
    import onnxruntime

    return f"ONNX Runtime {onnxruntime.__version__}"


def open_session(path: Path):  # type: ignore[no-untyped-def]  # onnxruntime has no types
    """Open a file with ONNX Runtime on one thread; raise ModelError where it cannot be."""
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


class InFile(Protocol):
    """Whatever was loaded from a file."""

    path: Path


def sha256_of(model: InFile) -> str:
    """Return what tells a model's file from all others; thresholds and voices hold for one file."""
    import hashlib  # of OpenSSL, which few detectors need

    return hashlib.sha256(model.path.read_bytes()).hexdigest()


def check_graph(inputs: Shapes, outputs: Shapes, info: ModelInfo, path: Path) -> None:
    """Hold a graph against the metadata; raise ModelError where they differ."""
    expected_inputs: Shapes = {"features": (info.frames_per_step, info.front_end.mels)}
    expected_outputs: Shapes = {"posteriors": (info.outputs_per_step, len(info.keywords))}
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
