"""The LiteRT back end, on tiny graphs written by hand: one state that is last step's features."""

import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from tiny import INFO, refused

from kwspot import KeywordDetector
from kwspot.commands.demo import RECORDING
from kwspot.features import FrontEnd
from kwspot.loader import load_model, shipped_models
from kwspot.modelfile import METADATA_KEY, State, dump_info
from kwspot.tflite_model import TfliteModel, read_metadata

MODELS = Path(__file__).parents[1] / "models"
FLOAT, INT8, INT16 = (schema.TensorType.FLOAT32, schema.TensorType.INT8, schema.TensorType.INT16)
REMEMBER = replace(
    INFO, receptive_field=16, states=(State("state", "next_state", (8, 40)),), outputs_per_step=8
)
SCALES = {
    "features": (0.1, -128),
    "state": (0.1, -128),
    "inside": (0.1, -128),
    "posteriors": (1 / 256, -128),
}


def tensor(name: str, shape: tuple[int, ...], kind: int, scale: tuple[float, int]) -> object:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), kind, 0
    if kind != FLOAT:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale[0]], [scale[1]]
    return made


def operator(code: int, inputs: list[int], outputs: list[int]) -> object:
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    return made


def write_model(
    path: Path,
    kind: int = FLOAT,
    after: tuple[float, int] = (0.1, -128),
    metadata: str | None = "",
    embed: bool = False,
    **changes: object,
) -> Path:
    """Write a graph that remembers: next state = state + features; posteriors = sigmoid(state).

    `after` is scale and zero point of the state that leaves, `changes` replace fields of REMEMBER.
    With `embed` the state's first column is an embedding.
    """
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors = [
        tensor("features", (8, 40), kind, SCALES["features"]),
        tensor("state", (8, 40), kind, SCALES["state"]),
        tensor("next_state", (8, 40), kind, after),
        tensor("embedding" if embed else "first", (8, 1), kind, SCALES["inside"]),
        tensor("posteriors", (8, 1), kind, SCALES["posteriors"]),
        tensor("begin", (2,), schema.TensorType.INT32, (0, 0)),
        tensor("size", (2,), schema.TensorType.INT32, (0, 0)),
    ]
    for place, values in ((5, (0, 0)), (6, (8, 1))):
        graph.tensors[place].quantization = None
        graph.tensors[place].buffer = place - 4
        buffer = schema.BufferT()
        buffer.data = struct.pack("<2i", *values)
        model.buffers = [*(model.buffers or [schema.BufferT()]), buffer]
    codes = (
        schema.BuiltinOperator.ADD,
        schema.BuiltinOperator.SLICE,
        schema.BuiltinOperator.LOGISTIC,
    )
    model.operatorCodes = []
    for code in codes:
        made = schema.OperatorCodeT()
        made.builtinCode = made.deprecatedBuiltinCode = code
        made.version = 1 if kind == FLOAT else 2
        model.operatorCodes.append(made)
    add = operator(0, [0, 1], [2])
    add.builtinOptionsType, add.builtinOptions = (
        schema.BuiltinOptions.AddOptions,
        schema.AddOptionsT(),
    )
    graph.operators = [add, operator(1, [1, 5, 6], [3]), operator(2, [3], [4])]
    graph.inputs, graph.outputs = [0, 1], [4, 2, *([3] if embed else [])]
    changes = {"embedding": int(embed)} | changes
    model.version, model.subgraphs = 3, [graph]
    if metadata is not None:
        text, entry = schema.BufferT(), schema.MetadataT()
        text.data = (metadata or dump_info(replace(REMEMBER, **changes))).encode()
        entry.name, entry.buffer = METADATA_KEY, len(model.buffers)
        model.buffers.append(text)
        model.metadata = [entry]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def ones(value: float) -> np.ndarray:
    return np.full((8, 40), value, np.float32)


@pytest.mark.parametrize("kind", [FLOAT, INT8])
def test_an_embedding_is_read_where_it_is_asked_for(kind: int, tmp_path: Path) -> None:
    model = TfliteModel(write_model(tmp_path / "m.tflite", kind, embed=True))
    _, state = model.step(ones(1.5), model.fresh_state())
    plain, _ = model.step(ones(0), state)
    posteriors, embedding, after = model.step_and_embed(ones(0.25), state)
    np.testing.assert_array_equal(posteriors, plain)
    assert embedding.shape == (8, 1)
    np.testing.assert_allclose(embedding, 1.5, rtol=1e-6)
    _, embedding, _ = model.step_and_embed(ones(0), after)
    np.testing.assert_allclose(embedding, 1.75, atol=0.051)  # half a step of 0.1


def test_a_float_model_takes_features_and_state_and_returns_both(tmp_path: Path) -> None:
    model = TfliteModel(write_model(tmp_path / "m.tflite"))
    assert model.info == REMEMBER
    begun = model.fresh_state()
    _, state = model.step(ones(1.5), begun)
    posteriors, state = model.step(ones(0.25), state)
    np.testing.assert_allclose(posteriors, 1 / (1 + np.exp(-1.5)), atol=1e-5)
    assert posteriors.shape == (8, 1)
    assert np.all(state[0] == 1.75)
    assert not begun[0].any(), "the caller's state was written to"


def test_streams_of_one_model_do_not_share_state(tmp_path: Path) -> None:
    model = TfliteModel(write_model(tmp_path / "m.tflite"))
    _, one = model.step(ones(1), model.fresh_state())
    _, other = model.step(ones(2), model.fresh_state())
    assert np.all(model.step(ones(0), one)[1][0] == 1)
    assert np.all(model.step(ones(0), other)[1][0] == 2)


def test_an_int8_state_of_one_scale_passes_as_it_is(tmp_path: Path) -> None:
    model = TfliteModel(write_model(tmp_path / "m.tflite", INT8))
    state = model.fresh_state()
    assert state[0].dtype == np.int8 and np.all(state[0] == -128), "zero is the zero point"
    _, state = model.step(ones(1.5), state)
    assert state[0].dtype == np.int8 and np.all(state[0] == -128 + 15)
    posteriors, again = model.step(ones(0), state)
    assert again[0].tobytes() == state[0].tobytes()
    # 1/256 is a step of the posterior; the sigmoid is a table.
    np.testing.assert_allclose(posteriors, 1 / (1 + np.exp(-1.5)), atol=1 / 256)


def test_a_state_is_requantised_between_unequal_scales(tmp_path: Path) -> None:
    model = TfliteModel(write_model(tmp_path / "m.tflite", INT8, after=(0.2, -100)))
    _, state = model.step(ones(3.0), model.fresh_state())
    assert np.all(state[0] == -128 + 30), "3.0, as the state that enters stores it"
    for _ in range(5):
        _, state = model.step(ones(0), state)
    assert np.all(state[0] == -128 + 30)


def test_what_int8_cannot_hold_is_its_largest(tmp_path: Path) -> None:
    model = TfliteModel(write_model(tmp_path / "m.tflite", INT8, after=(0.3, -128)))
    _, state = model.step(ones(1000), model.fresh_state())
    assert np.all(state[0] == 127)
    _, state = model.step(ones(20), state)  # the sum, 45.5, fits the state that leaves only
    assert np.all(state[0] == 127)


def test_a_tflite_file_is_a_model_for_the_detector(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.tflite", INT8)
    scores = KeywordDetector(path, vad="off").score(np.zeros(16_000, np.int16))
    assert len(scores) == 96
    assert np.all(scores[1:] == 0.5)  # sigmoid of what silence leaves behind, smoothed over two


def test_every_format_of_a_shipped_model_hears_the_demo_alike() -> None:
    heard = {}
    for name in shipped_models():
        for path in sorted(MODELS.glob(f"{name}.*[xe]")):  # .onnx and .tflite
            hits = KeywordDetector(load_model(path, check=True)).listen(RECORDING)
            heard[path.name] = [hit.end for hit in hits]
    expected = heard["alexa.onnx"]
    assert len(expected) == 3
    assert heard["alexa.tflite"] == expected
    for name in ("alexa-int8.onnx", "alexa-int8.tflite"):
        assert heard[name] == pytest.approx(expected, abs=0.041)  # one output earlier or later


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert "there is no model file" in refused(tmp_path / "gone.tflite")


@pytest.mark.parametrize(
    "content", [b"", b"not a model", b"\0\0\0\0TFL3" * 40, bytes(range(256)) * 50]
)
def test_what_is_no_model_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    assert "not a model that LiteRT can load" in refused(path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.tflite").read_bytes()
    for size in range(8, len(whole), len(whole) // 7):
        path = tmp_path / "half.tflite"
        path.write_bytes(whole[:size])
        refused(path)


def test_a_model_without_metadata_is_said(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.tflite", metadata=None)
    assert "without kwspot metadata" in refused(path)


def test_metadata_that_is_no_json_is_said(tmp_path: Path) -> None:
    assert "not JSON" in refused(write_model(tmp_path / "m.tflite", metadata="{"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"front_end": FrontEnd(mels=80)}, "'features' has shape (8, 40)"),
        ({"outputs_per_step": 4}, "'posteriors' has shape"),
        ({"states": ()}, "disagree about input 'state'"),
        ({"states": (State("state", "next_state", (8, 41)),)}, "'state' has shape"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    assert message in refused(write_model(tmp_path / "m.tflite", **changes))


def test_a_quantised_tensor_without_a_scale_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.tflite", INT8, after=(0.0, 0))
    assert "'next_state' holds int8 at scale 0" in refused(path)


def test_a_scale_of_0_inside_the_graph_does_not_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCALES, "inside", (0.0, 0))
    assert "has a scale of 0" in refused(write_model(tmp_path / "m.tflite", INT8))


def test_a_model_names_its_runtime_and_greets_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = TfliteModel(write_model(tmp_path / "m.tflite"))
    assert model.runtime.startswith("LiteRT 2.")
    assert capfd.readouterr() == ("", "")


def test_without_litert_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "m.tflite")
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'kwspot[tflite]'" in refused(path)


def test_metadata_is_read_by_hand_and_garbage_is_none(tmp_path: Path) -> None:
    content = write_model(tmp_path / "m.tflite").read_bytes()
    assert read_metadata(content, METADATA_KEY) == dump_info(REMEMBER)
    assert read_metadata(content, "other") is None
    rng = np.random.default_rng(3)
    for size in rng.integers(0, len(content), 50):
        read_metadata(content[:size], METADATA_KEY)
        damaged = bytearray(content)
        for place in rng.integers(0, 200, 8):
            damaged[place] = int(rng.integers(256))
        read_metadata(bytes(damaged), METADATA_KEY)
