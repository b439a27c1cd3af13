"""The TFLite exports of small random nets beside torch and ONNX Runtime."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export import tflite_export
from kwspot_export.heads import JointNet, PooledEncoder, PooledHeads
from kwspot_export.onnx_export import export_onnx, run_onnx
from kwspot_export.parity import ParityError, agreement
from kwspot_export.quantise import Calibration
from kwspot_export.student import FRAMES_PER_STEP, FrameNet, Streaming
from sound import words
from toy import (
    Exported,
    assert_one_sentence,
    describe,
    random_features,
    random_net,
    random_transformer,
)

from kwspot.detector import KeywordDetector
from kwspot.loader import load_model

pytest.importorskip("litert_torch")

from kwspot_export.tflite_export import (
    PARITY_TOLERANCE,
    export_tflite,
    export_tflite_int8,
    lite_form,
    run_tflite,
)

from kwspot.modelfile import ModelInfo
from kwspot.tflite_model import LiteGraph, TfliteModel


def sound() -> Calibration:
    return Calibration(random_features(4 * 120 * FRAMES_PER_STEP, seed=3)[0])


@pytest.fixture(scope="module")
def float_path(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "random.tflite"
    assert export_tflite(exported.net, exported.info, path) <= PARITY_TOLERANCE
    return path


@pytest.fixture(scope="module")
def int8_path(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "random-int8.tflite"
    assert export_tflite_int8(exported.net, exported.info, path, sound()).largest < 0.1
    return path


def test_both_forms_of_a_step_are_one(exported: Exported) -> None:
    gathered, last = exported.net.streaming(), lite_form(exported.net)
    features = random_features(FRAMES_PER_STEP, seed=2)[0]
    with torch.no_grad():
        expected = gathered(features, *gathered.fresh_states())
        found = last(features, *last.fresh_states())
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b.reshape(a.shape), atol=1e-6)


def test_torch_onnx_and_tflite_stream_alike(exported: Exported, float_path: Path) -> None:
    features = random_features(50 * FRAMES_PER_STEP, seed=9)
    with torch.no_grad():
        expected = torch.sigmoid(exported.net(features))[0].numpy()
    assert expected.std() > 0.02, "posteriors that stand still prove nothing"
    for path, run in ((exported.path, run_onnx), (float_path, run_tflite)):
        (posteriors,) = run(path, load_model(path).info, features[0].numpy())
        np.testing.assert_allclose(posteriors, expected, atol=PARITY_TOLERANCE)


def test_int8_streams_as_torch_does(exported: Exported, int8_path: Path) -> None:
    features = random_features(50 * FRAMES_PER_STEP, seed=9)[0]
    info = TfliteModel(int8_path).info
    found = agreement(exported.net, info, int8_path, run_tflite, features)
    assert found.largest < 0.1 and found.correlation > 0.99


def test_int8_states_pass_from_step_to_step_as_they_are(int8_path: Path) -> None:
    graph, info = LiteGraph(int8_path), TfliteModel(int8_path).info
    for state in info.states:
        before, after = graph.inputs[state.input], graph.outputs[state.output]
        assert before.dtype is np.int8
        assert (before.scale, before.zero) == (after.scale, after.zero)


def test_metadata_come_back_with_the_states_of_this_form(
    exported: Exported, float_path: Path, int8_path: Path
) -> None:
    for path in (float_path, int8_path):
        info = load_model(path, check=True).info
        assert replace(info, states=exported.info.states, self_test=None) == exported.info
        assert [len(state.shape) for state in info.states] == [4] * len(info.states)


@pytest.mark.parametrize("encoder", [random_net().encoder, random_transformer(layers=1)])
def test_joint_nets_of_every_encoder_are_exported(encoder: torch.nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = JointNet(encoder, PooledHeads(encoder.width, 4, speaker_size=3, background=2)).eval()
    torch.nn.init.normal_(net.heads.label.weight)
    info = describe(net, ("left", "right"), embedding=3)
    assert export_tflite(net, info, tmp_path / "joint.tflite") <= PARITY_TOLERANCE
    found = export_tflite_int8(net, info, tmp_path / "joint-int8.tflite", sound())
    assert 0 < found.largest < 0.1 and found.correlation > 0.99


def test_every_word_of_a_file_is_heard_in_every_format(exported: Exported, tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = FrameNet(exported.net.encoder, 3).eval()  # type: ignore[arg-type]
    torch.nn.init.normal_(net.head.weight, std=2.0)
    info = describe(net, ("red", "green", "blue"))
    files = [tmp_path / name for name in ("words.onnx", "words.tflite", "words-int8.tflite")]
    export_onnx(net, info, files[0])
    export_tflite(net, info, files[1])
    export_tflite_int8(net, info, files[2], sound())
    clip, options = words(4.0, seed=1), {"refractory": 0, "vad": "off"}
    scores = [KeywordDetector(file, **options).score(clip) for file in files]
    assert scores[0].std(axis=0).min() > 0.02, "scores that stand still prove nothing"
    np.testing.assert_allclose(scores[1], scores[0], atol=PARITY_TOLERANCE)
    np.testing.assert_allclose(scores[2], scores[0], atol=0.1)
    hits, lite_hits = (KeywordDetector(file, **options).process(clip) for file in files[:2])
    assert len({hit.keyword for hit in hits}) > 1
    assert [(hit.keyword, hit.end) for hit in lite_hits] == [(h.keyword, h.end) for h in hits]


def test_an_onnx_and_a_tflite_file_are_heard_together(
    exported: Exported, float_path: Path, tmp_path: Path
) -> None:
    info = replace(exported.info, keywords=(replace(exported.info.keywords[0], label="other"),))
    export_onnx(exported.net, info, tmp_path / "other.onnx")
    pair = [float_path, tmp_path / "other.onnx"]
    clip = words(2.0, seed=1)
    alone = [KeywordDetector(path, vad="off").score(clip) for path in pair]
    np.testing.assert_array_equal(KeywordDetector(pair, vad="off").score(clip), np.hstack(alone))


def test_an_encoder_alone_is_exported(tmp_path: Path) -> None:
    net = PooledEncoder(random_net().encoder).eval()
    info = replace(describe(net, ()), embedding=8)
    assert export_tflite(net, info, tmp_path / "encoder.tflite") <= PARITY_TOLERANCE


def test_a_graph_that_differs_is_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = tflite_export._convert

    def wrong(streaming: Streaming, info: ModelInfo) -> bytes:
        other = lite_form(exported.net)
        other.head.bias.data += 0.1
        return convert(other, info)

    monkeypatch.setattr(tflite_export, "_convert", wrong)
    target = tmp_path / "models" / "wrong.tflite"
    with pytest.raises(ParityError, match=r"wrong.tflite was not written: .* differ by") as refusal:
        export_tflite(exported.net, exported.info, target)
    assert_one_sentence(refusal.value)
    assert list(target.parent.iterdir()) == []
