from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from kwspot_export import onnx_export
from kwspot_export.onnx_export import (
    OPSET,
    PARITY_TOLERANCE,
    ParityError,
    export_onnx,
    parity,
)
from kwspot_export.student import FRAMES_PER_STEP, StreamingNet
from onnx import numpy_helper
from toy import Exported, assert_one_sentence, random_features

from kwspot.model import OnnxModel
from kwspot.modelfile import METADATA_KEY, dump_info, parse_info


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
    assert exported.difference == parity(exported.net, streaming, OnnxModel(exported.path))
    assert 0 <= exported.difference <= PARITY_TOLERANCE


def test_metadata_come_back_as_they_were_written(exported: Exported) -> None:
    assert OnnxModel(exported.path).info == exported.info
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
    monkeypatch.setattr(onnx_export, "_graph", lambda streaming, info: graph)
    target = tmp_path / "models" / "wrong.onnx"
    with pytest.raises(ParityError, match=r"wrong.onnx was not written: .* differ by") as refusal:
        export_onnx(exported.net, exported.info, target)
    assert_one_sentence(refusal.value)
    assert list(target.parent.iterdir()) == []


def test_a_failed_export_leaves_the_model_that_was_there(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = altered(exported.path, 0.01)
    monkeypatch.setattr(onnx_export, "_graph", lambda streaming, info: graph)
    target = tmp_path / "good.onnx"
    target.write_bytes(b"yesterday's model")
    with pytest.raises(ParityError):
        export_onnx(exported.net, exported.info, target)
    assert target.read_bytes() == b"yesterday's model"


def test_a_streaming_net_that_differs_is_found(exported: Exported) -> None:
    streaming = StreamingNet(exported.net)
    streaming.linears[1].bias.data[0] += 0.1
    assert parity(exported.net, streaming, OnnxModel(exported.path)) > PARITY_TOLERANCE
