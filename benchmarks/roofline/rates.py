"""What this machine can do on one thread, and what a detector's step takes of it: `rates.py MODEL`.

Times are CPU time of this process, of the best of many short batches: what else the machine does
makes a batch slower, never faster. Run by run.py in a fresh process for each model, so that
libraries take one thread only.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from kwspot.detector import KeywordDetector
from kwspot.features import FloatArray, LogMel
from kwspot.loader import load_model
from kwspot.model import Model, ModelState
from kwspot.modelfile import ModelInfo

T = TypeVar("T")

SIDE = 512  # of the square matrices that are multiplied; they fit into a second-level cache
MEMORY_BYTES = 256 << 20  # more than any cache holds
BATCHES = 200
BATCH_SECONDS = 0.005  # short, so that some batches are not interrupted
BATCH_STEPS = 25


@dataclass(frozen=True)
class Rates:
    """Multiply-accumulates and bytes (read and written) a second.

    `cached_bytes` is the rate of copying a block of the model's size over and over: the rate of
    whatever level of memory holds the model.
    """

    float_macs: float
    int8_macs: float
    memory_bytes: float
    cached_bytes: float


@dataclass(frozen=True)
class Times:
    """CPU seconds a step: all of it, and of it the front end and the model's call."""

    step_seconds: float
    whole: float
    front_end: float
    call: float


@dataclass(frozen=True)
class Measured:
    """What this process prints."""

    rates: Rates
    times: Times


def main(model: str, model_bytes: str) -> None:
    """Measure and print."""
    rates = Rates(
        float_macs=_matmul_rate(onnx.TensorProto.FLOAT),
        int8_macs=_matmul_rate(onnx.TensorProto.UINT8),
        memory_bytes=_copy_rate(MEMORY_BYTES),
        cached_bytes=_copy_rate(int(model_bytes)),
    )
    print(json.dumps(asdict(Measured(rates, _times(model)))))


def best_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call, the best of many batches of calls."""
    work()
    begun = time.process_time()
    work()
    once = max(time.process_time() - begun, 1e-6)
    calls = max(1, round(BATCH_SECONDS / once))
    best = once
    for _ in range(BATCHES):
        begun = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time() - begun) / calls)
    return best


class Stopwatch:
    """Adds up the CPU seconds of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self, work: Callable[[], T]) -> T:
        """Call and time."""
        begun = time.process_time()
        result = work()
        self.seconds += time.process_time() - begun
        return result


class TimedModel:
    """A model whose calls are timed."""

    def __init__(self, model: Model, watch: Stopwatch) -> None:
        self.info: ModelInfo = model.info
        self._model, self._watch = model, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def step(self, features: FloatArray, state: ModelState) -> tuple[FloatArray, ModelState]:
        """Run one step."""
        return self._watch.time(lambda: self._model.step(features, state))


class TimedLogMel:
    """A front end whose calls are timed."""

    def __init__(self, log_mel: LogMel, watch: Stopwatch) -> None:
        self._log_mel, self._watch = log_mel, watch

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Compute features."""
        return self._watch.time(lambda: self._log_mel(samples))


def _times(path: str) -> Times:
    """Time steps of a whole detector, and its parts where they are: with caches as they find them.

    All three times are of one batch, the one that took least.
    """
    whole, front_end, call = Stopwatch(), Stopwatch(), Stopwatch()
    detector = KeywordDetector(TimedModel(load_model(path), call), vad="off", verify=False)
    detector._log_mel = TimedLogMel(detector._log_mel, front_end)  # type: ignore[assignment]
    info = detector.info
    rng = np.random.default_rng(1)
    pcm = (1000 * rng.standard_normal((BATCH_STEPS, info.step_samples))).astype(np.int16)
    seconds = info.step_samples / info.front_end.sample_rate
    best = Times(seconds, math.inf, math.inf, math.inf)
    for _ in range(BATCHES):
        for watch in (whole, front_end, call):
            watch.seconds = 0.0
        for step in pcm:
            whole.time(lambda step=step: detector.process(step))  # type: ignore[misc]
        parts = (watch.seconds / BATCH_STEPS for watch in (whole, front_end, call))
        best = min(best, Times(seconds, *parts), key=lambda times: times.whole)
    return best


def _matmul_rate(kind: int) -> float:
    """Multiply square matrices by ONNX Runtime, as it would for a model's weights."""
    rng = np.random.default_rng(1)
    tensor = onnx.helper.make_tensor_value_info
    if kind == onnx.TensorProto.FLOAT:
        x: npt.NDArray[np.generic] = rng.standard_normal((SIDE, SIDE)).astype(np.float32)
        weights: npt.NDArray[np.generic] = x.T.copy()
        operator, result = "MatMul", onnx.TensorProto.FLOAT
    else:
        x = rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
        weights = rng.integers(-127, 127, (SIDE, SIDE)).astype(np.int8)
        operator, result = "MatMulInteger", onnx.TensorProto.INT32
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x", "weights"], ["y"])],
        "rate",
        [tensor("x", kind, (SIDE, SIDE))],
        [tensor("y", result, (SIDE, SIDE))],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return SIDE**3 / best_seconds(lambda: session.run(["y"], {"x": x}))


def _copy_rate(size: int) -> float:
    """Copy `size` bytes over and over; a byte copied is one read and one written."""
    source, target = np.zeros(size // 2, np.uint8), np.zeros(size // 2, np.uint8)
    return 2 * len(source) / best_seconds(lambda: np.copyto(target, source))


if __name__ == "__main__":
    main(*sys.argv[1:])
