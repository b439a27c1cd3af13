from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from kwspot_export import onnx_export
from kwspot_export.heads import JointNet, PooledHeads
from kwspot_export.onnx_export import (
    OPSET,
    PARITY_TOLERANCE,
    export_encoder,
    export_onnx,
    run_onnx,
)
from kwspot_export.parity import ParityError, parity
from kwspot_export.student import FRAMES_PER_STEP, Encoder, StreamingNet
from onnx import numpy_helper
from toy import (
    Exported,
    assert_one_sentence,
    describe,
    random_features,
    random_net,
    random_transformer,
)

from kwspot.cli import main
from kwspot.detector import KeywordDetector
from kwspot.errors import ModelError
from kwspot.features import FrontEnd
from kwspot.model import OnnxModel
from kwspot.modelfile import METADATA_KEY, Provenance, dump_info, parse_info


def altered(path: Path, change: float) -> onnx.ModelProto:
    """Load an exported graph and add `change` to one number of its largest weight."""
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += change
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return model


def test_the_exported_file_streams_as_torch_does(exported: Exported) -> None:
    steps = 50
    features = random_features(steps * FRAMES_PER_STEP, seed=9)
    with torch.no_grad():
        whole = torch.sigmoid(exported.net(features))[0].numpy()
    model = OnnxModel(exported.path)
    state, outputs = model.fresh_state(), []
    for step in features[0].split(FRAMES_PER_STEP):
        posteriors, state = model.step(step.numpy(), state)
        outputs.append(posteriors)
    streamed = np.concatenate(outputs)
    assert streamed.std() > 0.02, "posteriors that stand still prove nothing"
    np.testing.assert_allclose(streamed, whole, atol=PARITY_TOLERANCE)


def test_the_difference_that_was_found_is_returned(exported: Exported) -> None:
    streaming = StreamingNet(exported.net)
    found = parity(exported.net, streaming, exported.info, exported.path, run_onnx)
    assert exported.difference == found
    assert 0 <= exported.difference <= PARITY_TOLERANCE


def test_metadata_come_back_as_they_were_written(exported: Exported) -> None:
    assert replace(OnnxModel(exported.path).info, self_test=None) == exported.info
    assert parse_info(dump_info(exported.info), "here") == exported.info


def test_the_file_holds_the_graph_and_its_metadata_and_nothing_else(exported: Exported) -> None:
    model = onnx.load(exported.path)
    onnx.checker.check_model(model)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    assert [prop.key for prop in model.metadata_props] == [METADATA_KEY]
    assert [file.name for file in exported.path.parent.iterdir()] == [exported.path.name]


def test_parameters_are_in_the_file_once(exported: Exported) -> None:
    streaming = StreamingNet(exported.net)
    size = 4 * sum(parameter.numel() for parameter in streaming.parameters())
    stored = sum(len(t.raw_data) for t in onnx.load(exported.path).graph.initializer)
    assert size <= stored < 1.05 * size + 500  # a few constants of slices besides


def test_the_export_says_nothing(exported: Exported) -> None:
    assert exported.said == []  # torch's remark on torchvision; its FutureWarning would be an error


@pytest.mark.parametrize("change", [0.01, np.nan])
def test_a_graph_that_differs_is_not_written(
    exported: Exported, change: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = altered(exported.path, change)
    monkeypatch.setattr(onnx_export, "graph_of", lambda streaming, info: graph)
    target = tmp_path / "models" / "wrong.onnx"
    with pytest.raises(ParityError, match=r"wrong.onnx was not written: .* differ by") as refusal:
        export_onnx(exported.net, exported.info, target)
    assert_one_sentence(refusal.value)
    assert list(target.parent.iterdir()) == []


def test_a_failed_export_leaves_the_model_that_was_there(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = altered(exported.path, 0.01)
    monkeypatch.setattr(onnx_export, "graph_of", lambda streaming, info: graph)
    target = tmp_path / "good.onnx"
    target.write_bytes(b"yesterday's model")
    with pytest.raises(ParityError):
        export_onnx(exported.net, exported.info, target)
    assert target.read_bytes() == b"yesterday's model"


def test_a_streaming_net_that_differs_is_found(exported: Exported) -> None:
    streaming = StreamingNet(exported.net)
    streaming.encoder.linears[1].bias.data[0] += 0.1
    found = parity(exported.net, streaming, exported.info, exported.path, run_onnx)
    assert found > PARITY_TOLERANCE


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A convolutional encoder, four labels of which two are background, and a speaker head."""
    return export_joint(random_net().encoder, tmp_path_factory.mktemp("joint") / "joint.onnx")


def export_joint(encoder: Encoder, path: Path) -> Exported:
    torch.manual_seed(1)
    net = JointNet(encoder, PooledHeads(encoder.width, 4, speaker_size=3, background=2)).eval()
    torch.nn.init.normal_(net.heads.label.weight)
    info = describe(net, ("left", "right"), embedding=3)
    return Exported(net, info, path, export_onnx(net, info, path), [])


def test_a_joint_net_is_exported_with_all_its_outputs(joint: Exported) -> None:
    assert joint.difference <= PARITY_TOLERANCE
    features = random_features(160)
    session = onnxruntime.InferenceSession(joint.path)
    model = OnnxModel(joint.path)
    state, posteriors, embeddings = model.fresh_state(), [], []
    for step in features[0].split(FRAMES_PER_STEP):
        feed = {"features": step.numpy()}
        feed |= {s.input: values for s, values in zip(model.info.states, state, strict=True)}
        expected = session.run(["embedding"], feed)[0]
        scores, found, state = model.step_and_embed(step.numpy(), state)
        np.testing.assert_array_equal(found, expected)
        embeddings.append(found)
        posteriors.append(scores)
    with torch.no_grad():
        logits, embedding = joint.net(features)
    scores = np.concatenate(posteriors)
    assert scores.std() > 0.02, "posteriors that stand still prove nothing"
    whole = torch.softmax(logits[0], dim=1)[:, 2:].numpy()
    np.testing.assert_allclose(scores, whole, atol=PARITY_TOLERANCE)
    streamed = np.concatenate(embeddings)
    np.testing.assert_allclose(streamed, embedding[0].numpy(), atol=PARITY_TOLERANCE)


def test_the_detector_runs_a_joint_net_of_several_keywords(joint: Exported) -> None:
    detector = KeywordDetector(joint.path, vad="off", threshold=0.05)
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * 16000).astype(np.float32)
    scores = detector.score(noise)
    assert scores.shape[1] == 2 and len(scores) >= 120
    assert (scores > 0).all() and (scores.sum(axis=1) < 1).all()
    assert {hit.keyword for hit in detector.listen(noise)} <= {"left", "right"}


def test_a_transformer_is_exported(tmp_path: Path) -> None:
    joint = export_joint(random_transformer(layers=1), tmp_path / "joint.onnx")
    assert joint.difference <= PARITY_TOLERANCE
    assert replace(OnnxModel(joint.path).info, self_test=None) == joint.info
    assert [state.shape for state in joint.info.states] == [(5, 32), (24, 16)]


def test_an_output_that_the_metadata_deny_is_refused(joint: Exported, tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    for size, message in ((0, "disagree about output 'embedding'"), (4, "has shape")):
        model = onnx.load(joint.path)
        del model.metadata_props[:]
        text = dump_info(replace(joint.info, embedding=size))
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
        onnx.save(model, path)
        with pytest.raises(ModelError, match=message) as refusal:
            OnnxModel(path)
        assert_one_sentence(refusal.value)


def test_a_wrong_embedding_alone_is_found(joint: Exported) -> None:
    streaming = joint.net.streaming()
    streaming.heads.speaker.bias.data[0] += 0.1
    assert parity(joint.net, streaming, joint.info, joint.path, run_onnx) > PARITY_TOLERANCE


def test_an_encoder_is_exported_alone_and_detects_nothing(tmp_path: Path) -> None:
    encoder, path = random_net().encoder, tmp_path / "encoder.onnx"
    provenance = Provenance("Apache-2.0", "none", "random weights", {})
    assert export_encoder(encoder, "encoder", provenance, path, FrontEnd()) <= PARITY_TOLERANCE
    session = onnxruntime.InferenceSession(path)
    output = session.get_outputs()[0]
    assert (output.name, output.shape) == ("embedding", [2, 8])
    with pytest.raises(ModelError, match="names no keyword: an encoder alone") as refusal:
        OnnxModel(path)
    assert_one_sentence(refusal.value)


def test_info_tells_of_the_speaker_embedding(
    joint: Exported, exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(joint.path)]) == 0
    assert "told apart by voice-net.onnx" in capsys.readouterr().out, (
        "it has no threshold of its own"
    )
    assert main(["info", str(exported.path)]) == 0
    assert "told apart by voice-net.onnx" in capsys.readouterr().out
