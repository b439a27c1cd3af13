from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from kwspot_export import samples_export
from kwspot_export.onnx_export import export_onnx
from kwspot_export.parity import ParityError
from kwspot_export.samples_export import export_from_samples
from toy import assert_one_sentence, describe, random_net

from kwspot import ModelError
from kwspot.detector import KeywordDetector
from kwspot.model import OnnxModel
from kwspot.modelfile import SAMPLES_KEY, parse_info


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net, folder = random_net(), tmp_path_factory.mktemp("samples")
    info = describe(net, ("word",))
    export_onnx(net, info, folder / "toy.onnx")
    assert export_from_samples(net, info, folder / "toy-samples.onnx") <= 1e-4
    return folder


def test_averaged_posteriors_are_the_detectors_scores(folder: Path) -> None:
    session = onnxruntime.InferenceSession(folder / "toy-samples.onnx")
    text = session.get_modelmeta().custom_metadata_map[SAMPLES_KEY]
    info = parse_info(text, "toy-samples.onnx")
    rng = np.random.default_rng(1)
    samples = (0.1 * rng.standard_normal(30 * info.step_samples)).astype(np.float32)
    names = ["posteriors", *(state.output for state in info.states)]
    states = {state.input: np.zeros(state.shape, np.float32) for state in info.states}
    found = []
    for step in np.split(samples, 30):
        posteriors, *following = session.run(names, {"samples": step} | states)
        states = dict(zip(states, following, strict=True))
        found.append(posteriors)
    past = np.zeros((info.decision.smoothing - 1, 1), np.float32)
    windows = np.concatenate([past, *found])[:, 0]
    averaged = np.convolve(windows, np.ones(info.decision.smoothing), "valid")
    averaged /= info.decision.smoothing
    scores = KeywordDetector(folder / "toy.onnx", vad="off").score(samples)[:, 0]
    np.testing.assert_allclose(averaged, scores, atol=1e-4)


def test_kwspot_itself_refuses_the_file(folder: Path) -> None:
    with pytest.raises(ModelError, match="takes samples") as caught:
        OnnxModel(folder / "toy-samples.onnx")
    assert_one_sentence(caught.value)


def test_a_file_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_export, "povey_window", lambda length: np.ones(length, np.float32))
    net = random_net()
    with pytest.raises(ParityError, match="was not written") as caught:
        export_from_samples(net, describe(net, ("word",)), tmp_path / "toy-samples.onnx")
    assert_one_sentence(caught.value)
    assert not list(tmp_path.iterdir())
