"""The golden test in a model file: it finds a runtime that computes wrongly, and says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import INFO, write_model

from kwspot import ModelError, loader
from kwspot.cli import main
from kwspot.features import FloatArray
from kwspot.loader import load_model
from kwspot.model import ModelState, OnnxModel
from kwspot.modelfile import SelfTest
from kwspot.selftest import judge, record


class Wrong:
    """A runtime that computes a model wrongly: after each step, numbers are changed."""

    def __init__(self, right: OnnxModel, posteriors: float = 0.0, states: float = 0.0) -> None:
        self.info, self.path, self.runtime = right.info, right.path, "Broken 1.0"
        self.right = right
        self.posteriors, self.states = posteriors, states
        self.fresh_state = right.fresh_state

    def step(self, features: FloatArray, state: ModelState) -> tuple[FloatArray, ModelState]:
        posteriors, after = self.right.step(features, state)
        return posteriors + np.float32(self.posteriors), [
            s + np.float32(self.states) for s in after
        ]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    plain = OnnxModel(write_model(folder / "plain.onnx"))
    return write_model(folder / "golden.onnx", self_test=record(plain, 1e-3))


def test_a_model_that_is_computed_rightly_passes(golden: Path) -> None:
    verdict = judge(load_model(golden, check=True))
    assert verdict.right and verdict.difference < 1e-5
    assert verdict.allowed == 1e-3


@pytest.mark.parametrize("change", [{"posteriors": 0.01}, {"states": 0.1}, {"states": np.nan}])
def test_a_change_of_any_output_is_found(golden: Path, change: dict[str, float]) -> None:
    assert not judge(Wrong(OnnxModel(golden), **change)).right


def test_the_loader_names_the_runtime_that_is_wrong(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "OnnxModel", lambda path: Wrong(OnnxModel(path), states=0.1))
    load_model(golden)  # what is not asked for is not checked
    with pytest.raises(ModelError, match=r"Broken 1\.0 computes tiny wrongly") as refusal:
        load_model(golden, check=True)
    assert "\n" not in str(refusal.value)


def test_a_model_names_its_runtime_and_version(golden: Path) -> None:
    import onnxruntime

    assert load_model(golden).runtime == f"ONNX Runtime {onnxruntime.__version__}"


def test_a_file_without_a_self_test_is_said(tiny_path: Path) -> None:
    assert load_model(tiny_path).info.self_test is None
    with pytest.raises(ModelError, match="tiny holds no self-test"):
        load_model(tiny_path, check=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"fingerprint": "0" * 16}, "of another kwspot"), ({"states": (1.0,)}, "does not fit")],
)
def test_a_self_test_that_cannot_be_run_is_said(
    golden: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    stored = OnnxModel(golden).info.self_test
    assert isinstance(stored, SelfTest)
    path = write_model(tmp_path / "odd.onnx", self_test=replace(stored, **change))
    with pytest.raises(ModelError, match=message):
        load_model(path, check=True)


def test_the_sound_is_the_same_on_every_machine(golden: Path) -> None:
    stored = OnnxModel(golden).info.self_test
    assert stored is not None
    assert stored.fingerprint == "2cd51fa33ca64a1e", "files in the field hold this one"
    assert INFO.front_end.mels == 40


def test_info_checks_a_file_and_says_how_it_went(
    golden: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["info", str(golden), "--check"]) == 0
    assert ": ok, differs by" in capsys.readouterr().out
    monkeypatch.setattr(loader, "OnnxModel", lambda path: Wrong(OnnxModel(path), posteriors=0.1))
    assert main(["info", str(golden), "--check"]) == 1
    said = capsys.readouterr().out
    assert "WRONG, differs by" in said and "Broken 1.0" in said


def test_info_checks_all_installed_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--check"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == (
        [*loader.shipped_models(), "voice-net", "verifier-net-1"]
    )


@pytest.mark.parametrize("installed", [True, False])
def test_a_name_means_the_tflite_file_where_litert_is_installed(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("both.onnx", "both.tflite", "old.onnx", "light.tflite"):
        (tmp_path / name).touch()
    monkeypatch.setattr(loader, "models_folder", lambda: tmp_path)
    monkeypatch.setattr(loader.importlib.util, "find_spec", lambda name: installed or None)
    assert loader.find_model("both").name == ("both.tflite" if installed else "both.onnx")
    assert loader.find_model("old").name == "old.onnx"
    assert loader.find_model("light").name == "light.tflite"
    assert loader.shipped_models() == ["both", "light", "old"]
    assert loader.find_model("elsewhere/both.onnx") == Path("elsewhere/both.onnx")
