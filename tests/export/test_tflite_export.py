"""The TFLite exports of small random nets beside torch and ONNX Runtime."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export import tflite_export
from kwspot_export.parity import ParityError, agreement, streamed_posteriors, whole
from kwspot_export.quantise import Calibration
from kwspot_export.student import FRAMES_PER_STEP, StreamingNet
from toy import Exported, assert_one_sentence, random_features

from kwspot.model import OnnxModel

pytest.importorskip("litert_torch")

from kwspot_export.tflite_export import (
    PARITY_TOLERANCE,
    ChannelsLastNet,
    export_tflite,
    export_tflite_int8,
)

from kwspot.tflite_model import TfliteModel


@pytest.fixture(scope="module")
def float_path(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "random.tflite"
    assert export_tflite(exported.net, exported.info, path) <= PARITY_TOLERANCE
    return path


@pytest.fixture(scope="module")
def int8_path(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "random-int8.tflite"
    calibration = Calibration(random_features(4 * 120 * FRAMES_PER_STEP, seed=3)[0])
    assert export_tflite_int8(exported.net, exported.info, path, calibration).largest < 0.1
    return path


def test_both_forms_of_a_step_are_one(exported: Exported) -> None:
    gathered, last = StreamingNet(exported.net), ChannelsLastNet(exported.net)
    features = random_features(FRAMES_PER_STEP, seed=2)[0]
    with torch.no_grad():
        expected = gathered(features, *gathered.fresh_states())
        found = last(features, *last.fresh_states())
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b.reshape(a.shape), atol=1e-6)


def test_torch_onnx_and_tflite_stream_alike(exported: Exported, float_path: Path) -> None:
    features = random_features(50 * FRAMES_PER_STEP, seed=9)[0]
    expected = whole(exported.net, features)
    assert expected.std() > 0.02, "posteriors that stand still prove nothing"
    for model in (OnnxModel(exported.path), TfliteModel(float_path)):
        np.testing.assert_allclose(
            streamed_posteriors(model, features), expected, atol=PARITY_TOLERANCE
        )


def test_int8_streams_as_torch_does(exported: Exported, int8_path: Path) -> None:
    features = random_features(50 * FRAMES_PER_STEP, seed=9)[0]
    found = agreement(exported.net, TfliteModel(int8_path), features)
    assert found.largest < 0.1 and found.correlation > 0.99


def test_int8_states_pass_from_step_to_step_as_they_are(int8_path: Path) -> None:
    model = TfliteModel(int8_path)
    assert all(state.dtype == np.int8 for state in model.fresh_state())
    assert all(before.like(after) for before, after in model._states)


def test_metadata_come_back_with_the_states_of_this_form(
    exported: Exported, float_path: Path, int8_path: Path
) -> None:
    for path in (float_path, int8_path):
        info = TfliteModel(path).info
        assert replace(info, states=exported.info.states) == exported.info
        assert [len(state.shape) for state in info.states] == [4] * len(info.states)


def test_a_graph_that_differs_is_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = tflite_export._convert

    def wrong(streaming: ChannelsLastNet) -> bytes:
        other = ChannelsLastNet(exported.net)
        other.head.bias.data = other.head.bias + 0.1  # not in place: it is the net's own
        return convert(other.eval())

    monkeypatch.setattr(tflite_export, "_convert", wrong)
    target = tmp_path / "models" / "wrong.tflite"
    with pytest.raises(ParityError, match=r"wrong.tflite was not written: .* differ by") as refusal:
        export_tflite(exported.net, exported.info, target)
    assert_one_sentence(refusal.value)
    assert list(target.parent.iterdir()) == []
