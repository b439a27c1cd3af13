import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tiny import INFO, refused, write_model

from kwspot import ModelError
from kwspot.features import FrontEnd
from kwspot.loader import load_model, shipped_models
from kwspot.model import OnnxModel
from kwspot.modelfile import Decision, Keyword, State, dump_info, parse_info


def test_metadata_survives_the_file(tiny_model: OnnxModel) -> None:
    assert tiny_model.info == INFO


def test_a_step_takes_features_and_state_and_returns_both(tiny_model: OnnxModel) -> None:
    features, state = np.ones((8, 40), np.float32), tiny_model.fresh_state()
    posteriors, after = tiny_model.step(features, state)
    assert posteriors.shape == (2, 1)
    assert [s.shape for s in after] == [s.shape for s in INFO.states]
    assert all(not s.any() for s in state), "the caller's state was written to"


def test_a_state_given_twice_gives_the_same_while_it_is_fresh(tiny_model: OnnxModel) -> None:
    features, fresh = np.ones((8, 40), np.float32), tiny_model.fresh_state()
    first, _ = tiny_model.step(features, fresh)
    kept = first.copy()
    again, after = tiny_model.step(features, fresh)
    np.testing.assert_array_equal(again, first)
    tiny_model.step(3 * features, after)
    np.testing.assert_array_equal(first, kept)  # posteriors are the caller's own


def test_steps_are_those_of_the_session_without_bound_memory(tiny_model: OnnxModel) -> None:
    rng, state = np.random.default_rng(1), tiny_model.fresh_state()
    names = [s.input for s in INFO.states]
    outputs = ["posteriors", *(s.output for s in INFO.states)]
    plain = tiny_model.fresh_state()
    for _ in range(5):
        features = rng.normal(10, 3, (8, 40)).astype(np.float32)
        feed = dict(zip(names, plain, strict=True)) | {"features": features}
        expected, *plain = tiny_model._session.run(outputs, feed)
        posteriors, state = tiny_model.step(features, state)
        np.testing.assert_array_equal(posteriors, expected)
        for ours, theirs in zip(state, plain, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_an_output_depends_on_its_receptive_field_and_no_more(tiny_model: OnnxModel) -> None:
    rng = np.random.default_rng(1)
    frames = rng.normal(10, 3, (80, 40)).astype(np.float32)

    def last(changed: int | None) -> np.ndarray:
        features, state = frames.copy(), tiny_model.fresh_state()
        if changed is not None:
            features[changed] += 5
        for step in np.split(features, 10):
            posteriors, state = tiny_model.step(step, state)
        return posteriors[-1]

    oldest = 80 - INFO.receptive_field
    assert last(oldest) != last(None)
    assert last(oldest - 1) == last(None)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert "there is no model file" in refused(tmp_path / "gone.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 50])
def test_what_is_no_model_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert "not a model that ONNX Runtime can load" in refused(path)


def test_a_truncated_model_is_refused(tmp_path: Path, tiny_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(tiny_path.read_bytes()[:1000])
    refused(path)


def test_a_model_of_a_newer_opset_is_said(tmp_path: Path) -> None:
    assert "needs a newer ONNX Runtime" in refused(write_model(tmp_path / "new.onnx", opset=999))


def test_a_model_without_metadata_is_said(tmp_path: Path) -> None:
    path = write_model(tmp_path / "plain.onnx", metadata=None)
    assert "without kwspot metadata" in refused(path)


def test_metadata_that_is_no_json_is_said(tmp_path: Path) -> None:
    assert "not JSON" in refused(write_model(tmp_path / "m.onnx", metadata="{"))


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 99}'])
def test_metadata_of_another_format_is_said(tmp_path: Path, text: str) -> None:
    assert "this kwspot reads 1" in refused(write_model(tmp_path / "m.onnx", metadata=text))


def test_unknown_and_missing_metadata_is_said() -> None:
    values = asdict(INFO)
    with pytest.raises(ModelError, match="unknown setting 'colour'"):
        parse_info(json.dumps(values | {"colour": "red"}), "m.onnx")
    del values["receptive_field"]
    with pytest.raises(ModelError, match="'receptive_field' is missing"):
        parse_info(json.dumps(values), "m.onnx")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"front_end": FrontEnd(mels=80)}, r"'features' has shape \(8, 40\)"),
        ({"front_end": FrontEnd(sample_rate=8000)}, "expects 8000 Hz"),
        ({"front_end": FrontEnd(hop=0)}, "impossible front end"),
        ({"front_end": FrontEnd(high_hz=9000.0)}, "impossible mel bands"),
        ({"frames_per_step": 4}, "'features' has shape"),
        ({"frames_per_step": 0}, "impossible steps"),
        ({"outputs_per_step": 4}, "'posteriors' has shape"),
        ({"decision": Decision(smoothing=0)}, "impossible steps"),
        ({"keywords": ()}, "names no keyword: an encoder alone detects nothing"),
        ({"embedding": 3}, "disagree about output 'embedding'"),
        ({"embedding": -1}, "impossible embedding: -1"),
        ({"keywords": (Keyword("tiny", {}, 0.3),)}, "no threshold for 'tiny' at 'low'"),
        ({"states": INFO.states[:1]}, "disagree about input 'state_1'"),
        (
            {"states": (*INFO.states[:1], replace(INFO.states[1], shape=(1, 4, 9)))},
            "'state_1' has shape",
        ),
        (
            {"states": (INFO.states[0], State("state_1", "elsewhere", INFO.states[1].shape))},
            "disagree about output 'elsewhere'",
        ),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = write_model(tmp_path / "odd.onnx", **changes)
    with pytest.raises(ModelError, match=message):
        load_model(path)


def test_an_unknown_name_lists_the_installed_models() -> None:
    with pytest.raises(ModelError, match="alexa"):
        load_model("jarviss")


def test_installed_models_load_by_name_and_describe_themselves() -> None:
    assert "alexa" in shipped_models()
    for name in shipped_models():
        info = load_model(name).info
        assert info.name == name
        assert info.provenance.licence == "Apache-2.0"
        for keyword in info.keywords:
            low, medium, high = (keyword.operating_points[s] for s in ("low", "medium", "high"))
            assert 1 >= low.threshold >= medium.threshold >= high.threshold > 0


def test_dumped_information_is_read_back() -> None:
    assert parse_info(dump_info(INFO), "x") == INFO
