"""A tiny but complete keyword model, written without torch: two convolutions with random weights.

Its scores wander over speech and noise alike, so that a few seconds of any sound give detections.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kwspot.errors import ModelError
from kwspot.loader import load_model
from kwspot.modelfile import (
    METADATA_KEY,
    Decision,
    Keyword,
    ModelInfo,
    OperatingPoint,
    Provenance,
    State,
    VoicePoint,
    dump_info,
)
from kwspot.net_file import dump_net
from kwspot.verifier_net import NET_KEY, VerifierNetInfo
from kwspot.voice_net import VOICE_KEY, VoiceInfo

CHANNELS, KERNEL = 4, 11
# States of a model that hears 48 bands.
WIDE = (
    State("state_0", "next_state_0", (1, 48, 4)),
    State("state_1", "next_state_1", (1, CHANNELS, KERNEL - 1)),
)
TONES = 4  # of the speaker embedding, where there is one: how loud each quarter of the bands is
VOICE = VoicePoint(threshold=0.95, false_accepts=0.05, false_rejects=0.1, speakers=20)
INFO = ModelInfo(
    format=1,
    name="tiny",
    keywords=(
        Keyword(
            "tiny",
            {
                "low": OperatingPoint(0.9, 0.1),
                "medium": OperatingPoint(0.6, 0.5),
                "high": OperatingPoint(0.5, 2.0),
            },
            seconds=0.3,
        ),
    ),
    frames_per_step=8,
    outputs_per_step=2,
    receptive_field=8 + 4 * (KERNEL - 1),
    states=(
        State("state_0", "next_state_0", (1, 40, 4)),
        State("state_1", "next_state_1", (1, CHANNELS, KERNEL - 1)),
    ),
    provenance=Provenance("Apache-2.0", "none", "random weights", {}),
    decision=Decision(smoothing=2, release=0.8, refractory=0.2),
)


def write_model(
    path: Path,
    metadata: str | None = "",
    opset: int = 18,
    mels: int = 40,
    words: int = 1,
    seed: int = 7,
    tells_voices: bool = False,
    **changes: object,
) -> Path:
    """Write the model; `changes` replace fields of INFO, `metadata` the whole text (None: none).

    With `tells_voices` it hears loud sound, and its embeddings tell dark voices from bright ones.
    """
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.25, (CHANNELS, mels, 8))
    first -= first.mean(axis=(1, 2), keepdims=True)  # deaf to level, as a good model is
    second = rng.normal(0, 0.1, (words, CHANNELS, KERNEL))
    second -= second.mean(axis=(1, 2), keepdims=True)
    weights = {"first": first, "second": second}
    if tells_voices:
        first, second = np.zeros_like(first), np.zeros_like(second)
        first[0], second[:, 0] = 1 / first[0].size, 0.2 / KERNEL  # the mean of half a second
        weights = {"first": first, "second": second}
        quarters = np.repeat(np.eye(TONES), mels // TONES, axis=1) - 1 / TONES
        weights["third"] = np.repeat(quarters[:, :, None], 8, axis=2)
        points = {name: OperatingPoint(0.75, 1.0) for name in ("low", "medium", "high")}
        loud = (Keyword("loud", points, seconds=0.5),)
        changes = {"embedding": TONES, "voice": VOICE, "keywords": loud} | changes
    nodes = [
        helper.make_node("Unsqueeze", ["features", "front"], ["batch"]),
        helper.make_node("Transpose", ["batch"], ["x"], perm=[0, 2, 1]),
        *_layer("x", "state_0", "next_state_0", "first", "hidden", stride=4, history=4),
        helper.make_node("Relu", ["hidden"], ["active"]),
        *_layer("active", "state_1", "next_state_1", "second", "logits", 1, KERNEL - 1),
        helper.make_node("Sigmoid", ["logits"], ["p"]),
        helper.make_node("Squeeze", ["p", "front"], ["row"]),
        helper.make_node("Transpose", ["row"], ["posteriors"]),
    ]
    if tells_voices:
        nodes += [
            helper.make_node("Conv", ["hidden_in", "third"], ["tones"], strides=[4]),
            helper.make_node("Squeeze", ["tones", "front"], ["tones_row"]),
            helper.make_node("Transpose", ["tones_row"], ["embedding"]),
        ]
    constants = {
        "front": 0,
        "time": 2,
        "end": 2**31 - 1,
        "start_4": -4,
        f"start_{KERNEL - 1}": 1 - KERNEL,
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            _tensor("features", (8, mels)),
            _tensor("state_0", (1, mels, 4)),
            _tensor("state_1", (1, CHANNELS, KERNEL - 1)),
        ],
        [
            _tensor("posteriors", (2, words)),
            _tensor("next_state_0", (1, mels, 4)),
            _tensor("next_state_1", (1, CHANNELS, KERNEL - 1)),
            *([_tensor("embedding", (2, TONES))] if tells_voices else []),
        ],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()]
        + [numpy_helper.from_array(np.array([v], np.int64), n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    if metadata is not None:
        text = metadata or dump_info(replace(INFO, **changes))  # type: ignore[arg-type]
        helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, path)
    return path


def write_voice_net(path: Path, mels: int = 40, frames: int = 100, **changes: object) -> Path:
    """Write a voice net that tells dark voices from bright ones; `changes` are fields of info."""
    info = VoiceInfo(
        format=1,
        name="tones",
        frames=frames,
        embedding=TONES,
        voice=VOICE,
        provenance=Provenance("Apache-2.0", "none", "by hand", {}),
    )
    quarters = np.repeat(np.eye(TONES), mels // TONES, axis=1) - 1 / TONES
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "quarters"], ["tones"]),
            helper.make_node("ReduceMean", ["tones"], ["embedding"], axes=[0], keepdims=0),
        ],
        "tones",
        [_tensor("features", (frames, mels))],
        [_tensor("embedding", (TONES,))],
        [numpy_helper.from_array(quarters.T.astype(np.float32), "quarters")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    text = dump_net(replace(info, **changes))  # type: ignore[arg-type]
    helper.set_model_props(model, {VOICE_KEY: text})
    onnx.save(model, path)
    return path


def write_verifier_net(path: Path, frames: int = 20, **changes: object) -> Path:
    """Write a verifier's net of four values an output: how loud each quarter of the bins is."""
    outputs = frames // 4
    info = VerifierNetInfo(
        format=1,
        name="quarters",
        frames=frames,
        outputs=outputs,
        width=TONES,
        provenance=Provenance("Apache-2.0", "none", "by hand", {}),
    )
    bins = np.repeat(np.eye(TONES), [50, 50, 50, 51], axis=1).T / 50
    means = np.repeat(np.eye(outputs), 4, axis=1) / 4
    weights = {"bins": bins, "means": means, "one": np.ones(1)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["power", "bins"], ["loud"]),
            helper.make_node("MatMul", ["means", "loud"], ["mean"]),
            helper.make_node("Add", ["mean", "one"], ["above"]),
            helper.make_node("Log", ["above"], ["hidden"]),
        ],
        "quarters",
        [_tensor("power", (frames, 201))],
        [_tensor("hidden", (outputs, TONES))],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    text = dump_net(replace(info, **changes))  # type: ignore[arg-type]
    helper.set_model_props(model, {NET_KEY: text})
    onnx.save(model, path)
    return path


def redescribe(path: Path, text: str | dict[str, object] | None) -> None:
    """Replace what a net's file says of itself: all of it, some of its fields, or leave nothing."""
    model = onnx.load(path)
    (said,) = model.metadata_props
    key, values = said.key, json.loads(said.value)
    del model.metadata_props[:]
    if text is not None:
        changed = json.dumps(values | text) if isinstance(text, dict) else text
        helper.set_model_props(model, {key: changed})
    onnx.save(model, path)


def refused(path: Path) -> str:
    """Load a file that must be refused in one sentence with its name; return the sentence."""
    with pytest.raises(ModelError) as error:
        load_model(path)
    message = str(error.value)
    assert "\n" not in message
    assert path.name in message
    return message


def _tensor(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _layer(
    x: str, state: str, after: str, weight: str, y: str, stride: int, history: int
) -> list[onnx.NodeProto]:
    """A causal convolution: previous frames and new ones, keep the tail."""
    return [
        helper.make_node("Concat", [state, x], [f"{y}_in"], axis=2),
        helper.make_node("Slice", [f"{y}_in", f"start_{history}", "end", "time"], [after]),
        helper.make_node("Conv", [f"{y}_in", weight], [y], strides=[stride]),
    ]
