import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from kwspot_export.effort import Verifying
from kwspot_export.loop import TrainingError
from kwspot_export.publish import publish
from kwspot_export.publish_verifier_net import FirstLayers, publish_verifier_net
from kwspot_export.rounding import round_weights
from kwspot_export.teachers import TeacherError, open_teacher
from kwspot_export.train import Run
from kwspot_export.validation import block_peaks
from kwspot_export.verifier_head import VerifierHead, fit_head
from kwspot_export.verifier_train import Verified, calibrate_verifier, train_verifier
from kwspot_export.verifier_windows import draw_windows, ending_at, scores_of
from torch import nn
from toy import assert_one_sentence
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from kwspot import KeywordDetector, load_model
from kwspot.cli import main
from kwspot.features import SAMPLE_RATE
from kwspot.loader import VERIFIER_NET, models_folder
from kwspot.model import Model
from kwspot.modelfile import OperatingPoint, Provenance
from kwspot.verifier import Verifier, VerifierInfo, read_verifier, write_verifier
from kwspot.verifier_net import VerifierNet, installed_net, probe_samples

SMALL = Verifying(composed=128, mined=100, passes=2, steps=60)
MADE = Provenance("Apache-2.0", "toys", "by a test", {})
NOTHING = VerifierInfo(1, "", "", 0, 0.5, 1.0, 1.0, 0.0, {}, None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("whisper")
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        max_source_positions=120,
        vocab_size=11,
    )
    WhisperEncoder(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def net(whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> VerifierNet:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    publish_verifier_net(str(whisper), path, layers=2)
    return VerifierNet(path)


def test_a_net_is_the_first_layers_of_its_teacher(net: VerifierNet, whisper: Path) -> None:
    samples = probe_samples(net.info.samples)
    frames = torch.from_numpy(samples).unfold(0, 400, 160)
    power = torch.fft.rfft(frames * torch.hann_window(400)).abs().square()
    teacher = open_teacher(whisper)
    first = FirstLayers(teacher, 2).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        wanted = first(power).numpy()
    assert wanted.shape == (net.info.outputs, net.info.width) == (50, 16)
    # The file's weights have eight bits, and its values a variance of 1.
    assert np.abs(net(samples) - wanted).max() < 0.1
    assert net.judge().right
    card = net.path.with_suffix(".md").read_text(encoding="utf-8")
    assert "first 2 layers" in card and "MIT" in card


def test_a_teacher_that_is_none_is_refused(whisper: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(TeacherError, match="has 3 layers, not 4") as error:
        publish_verifier_net(str(whisper), path, layers=4)
    assert_one_sentence(error.value)
    hubert = transformers.HubertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8,),
        conv_stride=(320,),
        conv_kernel=(400,),
        num_feat_extract_layers=1,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    transformers.HubertModel(hubert).save_pretrained(tmp_path / "hubert")
    with pytest.raises(TeacherError, match="is no Whisper encoder"):
        publish_verifier_net(str(tmp_path / "hubert"), path)
    assert not path.exists()


def test_products_are_rounded_along_their_outputs(whisper: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(0, 1, (40, 50)).astype(np.float32)
    weight *= np.geomspace(0.01, 1, 50, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (40, 40))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (40, 50))],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    round_weights(model)
    onnx.checker.check_model(model)
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    rounded = session.run(["y"], {"x": np.eye(40, dtype=np.float32)})[0]
    half_a_step = np.abs(weight).max(axis=0) / 254
    assert (np.abs(rounded - weight) <= half_a_step * 1.01).all()
    assert (np.abs(rounded - weight) > 0).any()


def test_a_head_is_the_same_in_numpy_as_in_torch() -> None:
    torch.manual_seed(0)
    head = VerifierHead(width=12, outputs=9, channels=6).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.4)
    verifier = Verifier(NOTHING, head.arrays(), Path())
    for seed in range(5):
        hidden = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (9, 12))).float()
        with torch.no_grad():
            wanted = float(head(hidden[None]))
        assert verifier.logit(hidden.numpy()) == pytest.approx(wanted, abs=2e-4)


def test_a_head_learns_what_hidden_states_tell() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(0, 1, (300, 9, 12)).astype(np.float16)
    labels = (np.arange(300) % 3 == 0).astype(np.float32)
    hidden[labels == 1, -2:, :4] += 2  # at the end of the window alone
    head = fit_head(hidden[:200], labels[:200], 150, seed=1, device="cpu")
    with torch.no_grad():
        logits = head(torch.from_numpy(hidden[200:].astype(np.float32))).numpy()
    assert ((logits > 0) == (labels[200:] == 1)).mean() > 0.95


@pytest.fixture(scope="module")
def model(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("verified") / "toy.onnx"
    publish(finished, path)
    return load_model(path)


def test_scores_of_a_stream_are_those_of_the_runtime(model: Model) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE + 77).astype(np.float32)
    scores = scores_of(model, samples)
    alone = KeywordDetector(model, vad="off", verify=False).score(samples)[:, 0]
    assert len(scores) == 3 * SAMPLE_RATE // 1280 * 2
    np.testing.assert_array_equal(scores[-len(alone) :], alone)
    assert not scores[: -len(alone)].any()


def test_a_window_ends_where_it_is_asked_to() -> None:
    samples = np.arange(1, 11, dtype=np.float32)
    np.testing.assert_array_equal(ending_at(samples, 7, 3), [5, 6, 7])
    np.testing.assert_array_equal(ending_at(samples, 2, 4), [0, 0, 1, 2])


def test_windows_hold_the_keyword_where_its_end_is_known(
    finished: Run, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = draw_windows(finished, model, 32_240, composed=128, mined=40, passes=1)
    assert windows.samples.dtype == np.int16 and windows.samples.shape[1] == 32_240
    assert 16 <= windows.labels.sum() < 32  # of a quarter, without sentences
    assert 128 - 16 <= len(windows.labels) <= 168
    monkeypatch.setattr(finished, "workers", 2)  # whoever does it, they are the same
    again = draw_windows(finished, model, 32_240, composed=128, mined=40, passes=1)
    np.testing.assert_array_equal(windows.samples, again.samples)


def verify(run: Run, model: Model, net: VerifierNet) -> Verified:
    licences = run.recipe.data.licences
    return train_verifier(run, model, net, SMALL, MADE, licences, lambda *progress: None)


@pytest.fixture(scope="module")
def trained(
    finished: Run, model: Model, net: VerifierNet, tmp_path_factory: pytest.TempPathFactory
) -> Verifier:
    verify(finished, model, net)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kwspot.verifier.models_folder", lambda: net.path.parent)
        return read_verifier(model.path.with_name("toy.verifier.npy"))


def test_a_trained_verifier_says_how_it_came_about(trained: Verifier, net: VerifierNet) -> None:
    info = trained.info
    assert info.keyword == "beep boop" and info.net == net.path.name
    assert info.samples == net.info.samples
    assert 0.02 <= info.candidate <= 0.5 and info.head_weight > 0 and info.score_weight >= 0
    low, medium, high = (info.operating_points[n].threshold for n in ("low", "medium", "high"))
    assert low >= medium >= high > 0
    card = trained.path.with_suffix(".md").read_text(encoding="utf-8")
    assert "toy-wake" in card and "public domain" in card and "| medium |" in card
    assert "toy-secret" not in card


@pytest.fixture
def installed(net: VerifierNet, monkeypatch: pytest.MonkeyPatch) -> Iterator[VerifierNet]:
    """The toy net, where kwspot looks for those that come along."""
    for module in ("verifier", "verifier_net"):
        monkeypatch.setattr(f"kwspot.{module}.models_folder", lambda: net.path.parent)
    installed_net.cache_clear()
    yield net
    installed_net.cache_clear()


def test_the_detector_scores_as_the_calibration_did(
    trained: Verifier,
    finished: Run,
    model: Model,
    installed: VerifierNet,
) -> None:
    """What thresholds were fitted to is what a stream gets, peak by peak."""
    from kwspot_export.verifier_train import candidates

    samples = finished.validation_sound.stretch(0)
    found = KeywordDetector(model, vad="off").score(samples)[:, 0]
    scores = scores_of(model, samples)
    wanted = np.zeros(len(scores))
    for one in candidates(model, trained, installed, samples, scores, trained.info.candidate):
        own = 1 / (1 + np.exp(-one.own))
        wanted[one.output] = trained.score(own, one.head)
    assert wanted.any()
    peaks = block_peaks(np.pad(found, (len(scores) - len(found), 0)))
    np.testing.assert_allclose(peaks, block_peaks(wanted), atol=1e-3)


def test_a_verifier_is_for_one_word(finished: Run, model: Model, net: VerifierNet) -> None:
    keyword = replace(model.info.keywords[0], label="other")
    other = load_model(model.path)
    other.info = replace(model.info, keywords=(keyword,))
    with pytest.raises(TrainingError, match="hears other, the recipe is for 'beep boop'") as error:
        verify(finished, other, net)
    assert_one_sentence(error.value)


def test_a_verifier_is_calibrated_again_and_its_head_stays(
    trained: Verifier,
    finished: Run,
    model: Model,
    installed: VerifierNet,
    tmp_path: Path,
) -> None:
    other = load_model(shutil.copy(model.path, tmp_path / "toy.onnx"))
    with pytest.raises(TrainingError, match="has no verifier: leave --calibrate out") as error:
        calibrate_verifier(finished, other, lambda *progress: None)
    assert_one_sentence(error.value)
    path, card = tmp_path / "toy.verifier.npy", tmp_path / "toy.verifier.md"
    off = {name: OperatingPoint(0.999, 7.0) for name in trained.info.operating_points}
    write_verifier(replace(trained.info, operating_points=off), trained.weights, path)
    written = trained.path.with_suffix(".md").read_text(encoding="utf-8")
    card.write_text(written.replace("## Score", "By hand.\n\n## Score").replace("| low |", "| 1 |"))
    calibrate_verifier(finished, other, lambda *progress: None)
    found = read_verifier(path)
    assert found.info == trained.info
    assert all(np.array_equal(found.weights[k], v) for k, v in trained.weights.items())
    assert card.read_text(encoding="utf-8").replace("By hand.\n\n", "") == written


@pytest.mark.slow
def test_the_command_writes_a_verifier_that_the_detector_finds(
    finished: Run,
    model: Model,
    data: Path,
    recipe_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kwspot_export.effort.Verifying", lambda: SMALL)
    path = Path(shutil.copy(model.path, tmp_path / "toy.onnx"))
    arguments = ["train-verifier", "--model", path, "--recipe", recipe_path, "--data", data]
    assert main([str(part) for part in [*arguments, "--run", tmp_path / "runs" / "toy"]]) == 0
    assert "verified" in capsys.readouterr().out
    assert read_verifier(tmp_path / "toy.verifier.npy").info.net == VERIFIER_NET
    assert (models_folder() / VERIFIER_NET).is_file()
    assert KeywordDetector(path).info.keywords[0] != load_model(path).info.keywords[0]
    assert main([str(part) for part in [*arguments, "--calibrate"]]) == 0
    assert "verified" in capsys.readouterr().out
