"""Eight bits, beside torch: small nets with random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from kwspot_export import quantise
from kwspot_export.heads import JointNet, PooledHeads
from kwspot_export.onnx_export import run_onnx
from kwspot_export.parity import Agreement, ParityError, agreement
from kwspot_export.quantise import Calibration, check_agreement, export_onnx_int8
from kwspot_export.student import FRAMES_PER_STEP, StreamingNet
from toy import (
    Exported,
    assert_one_sentence,
    describe,
    random_features,
    random_net,
    random_transformer,
)

from kwspot.loader import load_model


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return Calibration(random_features(4 * 120 * FRAMES_PER_STEP, seed=3)[0])


@pytest.fixture(scope="module")
def int8(
    exported: Exported, calibration: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Agreement]:
    path = tmp_path_factory.mktemp("int8") / "random.onnx"
    return path, export_onnx_int8(exported.net, exported.info, path, calibration)


def test_the_int8_file_streams_as_torch_does(
    int8: tuple[Path, Agreement], exported: Exported
) -> None:
    path, found = int8
    model = load_model(path, check=True)
    assert replace(model.info, self_test=None) == exported.info
    features = random_features(50 * FRAMES_PER_STEP, seed=9)[0]
    other = agreement(exported.net, model.info, path, run_onnx, features)
    assert 0 < found.largest < 0.1 and other.largest < 0.1
    assert other.correlation > 0.99


def test_products_are_in_eight_bits_and_in_the_file_once(
    int8: tuple[Path, Agreement], exported: Exported
) -> None:
    tensors = onnx.load(int8[0]).graph.initializer
    weights = [t for t in tensors if t.data_type == onnx.TensorProto.UINT8 and t.dims]
    parameters = sum(
        p.numel() for n, p in StreamingNet(exported.net).named_parameters() if "w" in n
    )
    assert sum(int(np.prod(t.dims)) for t in weights) >= parameters
    assert int8[0].stat().st_size < exported.path.stat().st_size
    assert [file.name for file in int8[0].parent.iterdir()] == [int8[0].name]


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [random_net().encoder, random_transformer(layers=1)])
def test_joint_nets_of_every_encoder_are_quantised(
    encoder: torch.nn.Module, calibration: Calibration, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    net = JointNet(encoder, PooledHeads(encoder.width, 4, speaker_size=3, background=2)).eval()
    torch.nn.init.normal_(net.heads.label.weight)
    info = describe(net, ("left", "right"), embedding=3)
    found = export_onnx_int8(net, info, tmp_path / "joint.onnx", calibration)
    assert 0 < found.largest < 0.1 and found.correlation > 0.99


def test_what_is_kept_is_no_part_of_what_is_seen(calibration: Calibration) -> None:
    assert torch.equal(torch.cat([calibration.seen, calibration.kept]), calibration.features)
    assert len(calibration.kept) == 120 * FRAMES_PER_STEP


def test_calibration_feeds_the_state_back(exported: Exported, calibration: Calibration) -> None:
    streaming = StreamingNet(exported.net)
    inputs = calibration.inputs(streaming)
    assert len(inputs) == 360
    with torch.no_grad():
        _, *after = streaming(*inputs[7])
    assert all(torch.equal(a, b) for a, b in zip(after, inputs[8][1:], strict=True))


def test_too_little_to_prove_it_on_is_refused(exported: Exported, tmp_path: Path) -> None:
    few = Calibration(random_features(400 * FRAMES_PER_STEP)[0])
    net, info, file = exported.net, exported.info, exported.path
    with pytest.raises(ParityError, match="100 steps are kept") as refusal:
        check_agreement(net, info, file, run_onnx, few, tmp_path / "m.onnx")
    assert_one_sentence(refusal.value)


def test_an_int8_file_that_is_off_is_not_written(
    exported: Exported,
    calibration: Calibration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet = Calibration(calibration.features.clone())
    quiet.seen.mul_(0.05)  # calibrated on a whisper, all else is clipped
    target = tmp_path / "models" / "off.onnx"
    monkeypatch.setattr(quantise, "MOST_MEAN", 1e-3)
    with pytest.raises(ParityError, match=r"off.onnx was not written: .* differs") as refusal:
        export_onnx_int8(exported.net, exported.info, target, quiet)
    assert_one_sentence(refusal.value)
    assert list(target.parent.iterdir()) == []
