import re
from pathlib import Path

import numpy as np
import pytest
from kwspot_export.calibration import calibrated
from kwspot_export.train import Run
from toy import RECIPE, Commanded, other_words

from kwspot import KeywordDetector
from kwspot.cli import main
from kwspot.model import OnnxModel
from kwspot.modelfile import SENSITIVITIES


def test_the_command_makes_a_model_that_the_detector_runs(commanded: Commanded) -> None:
    assert commanded.status == 0
    detector = KeywordDetector(commanded.model, vad="off")
    assert detector.info.name == "toy"
    assert list(detector.thresholds) == ["beep boop"]
    scores = detector.score(other_words(np.random.default_rng(0), 10))
    assert scores.shape[1] == 1 and 0 <= scores.min() < scores.max() <= 1


def test_sensitivities_are_ordered(commanded: Commanded) -> None:
    (keyword,) = OnnxModel(commanded.model).info.keywords
    low, medium, high = (keyword.operating_points[s].threshold for s in SENSITIVITIES)
    assert 1 >= low > medium > high > 0


def test_thresholds_keep_their_promise_on_the_validation_streams(
    finished: Run, commanded: Commanded
) -> None:
    # The same run, as test_train.py proves.
    score = calibrated(finished.best_net(), finished.score).score
    (keyword,) = OnnxModel(commanded.model).info.keywords
    for name, asked in finished.recipe.false_alarms_per_hour.items():
        point = keyword.operating_points[name]
        assert point.false_alarms_per_hour == asked
        assert np.sum(score.alarms >= point.threshold) / score.hours <= asked


def test_the_model_says_where_it_comes_from(finished: Run, commanded: Commanded) -> None:
    info = OnnxModel(commanded.model).info
    assert info.provenance.licence == "Apache-2.0"
    assert info.provenance.data == "kokoro-82m, toy-sounds, toy-speech, toy-wake"
    assert info.provenance.recipe == "toy.toml, seed 5, encoder: scratch"
    assert {"kwspot", "kwspot-export", "torch", "onnx", "python"} == set(info.provenance.versions)
    assert info.decision == finished.recipe.decision
    assert info.front_end == finished.recipe.front_end
    assert info.keywords[0].seconds == pytest.approx(0.4, abs=0.1)  # of words with soft edges


def test_the_card_names_every_source_with_its_licence(commanded: Commanded) -> None:
    card = commanded.model.with_suffix(".md").read_text(encoding="utf-8")
    for row in ("| toy-wake | public domain | 4 |", "| toy-speech | CC BY 4.0 | 5 |"):
        assert row in card
    assert "toy-secret" not in card
    (keyword,) = OnnxModel(commanded.model).info.keywords
    for name, point in keyword.operating_points.items():
        assert f"| {name} | {point.threshold:.4f} |" in card


def test_the_command_tells_what_it_does_and_lets_libraries_be_silent(commanded: Commanded) -> None:
    lines = commanded.said.splitlines()
    # Logged lines are whole, above the bar.
    (mined,) = (line for line in lines if line.startswith("step 3: "))
    assert re.fullmatch(r"step 3: \d+ hard negatives in \d+ s of clips; worst: .*\w", mined)
    assert "step 12/12" in lines[-1]
    assert not any("onnx" in line or "torchvision" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("seed = 5", "sead = 5"), "unknown setting 'sead'"),
        (("made.csv", "gone.csv"), "cannot read the manifest .*gone.csv"),
        (("kokoro-82m =", "toy-voices ="), "states no licence for kokoro-82m"),
    ],
    ids=["recipe", "manifest", "licence"],
)
def test_what_cannot_be_trained_ends_in_one_sentence(
    change: tuple[str, str],
    reason: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tmp_path / "changed.toml"
    recipe.write_text(RECIPE.replace(*change))
    arguments = ["train", "--recipe", recipe, "--data", data, "--run", tmp_path / "run"]
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    (line,) = (line for line in error.splitlines() if line.startswith("kwspot: "))
    assert re.search(reason, line)
    assert not list(tmp_path.glob("**/*.onnx"))
