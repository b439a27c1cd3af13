import re
from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export import formats
from kwspot_export.commands import export
from kwspot_export.distill_recipe import read_finetune_recipe
from kwspot_export.finetune import Finetuning
from kwspot_export.formats import FORMATS, dealt, export_formats, finished_run
from kwspot_export.student import FRAMES_PER_STEP
from kwspot_export.train import Run
from kwspot_export.validation import block_peaks, smoothed
from toy_distill import finetune_text

from kwspot.cli import main
from kwspot.loader import load_model


def command(run: Run, recipe_path: Path, data: Path, output: Path, *more: str) -> int:
    arguments = ["export", "--checkpoint", run.folder, "--recipe", recipe_path, "--data", data]
    return main([*map(str, arguments), "--output-dir", str(output), *more])


def test_the_keyword_is_in_every_fourth_window() -> None:
    order = dealt(40, np.random.default_rng(1))
    assert sorted(order) == list(range(40))
    assert all(np.sum(four < 10) == 1 for four in order.reshape(10, 4))


@pytest.mark.slow
def test_a_run_becomes_a_model_file(
    finished: Run,
    recipe_path: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(finished, recipe_path, data, tmp_path) == 0
    assert re.fullmatch(r".*toy.onnx  [\d.]+ kB  differs .* \S+\n", capsys.readouterr().out)
    info = load_model(tmp_path / "toy.onnx", check=True).info
    assert info.name == "toy"


def test_calibration_is_in_random_order_and_always_the_same(finished: Run) -> None:
    first, again = (finished_run(finished, finished.folder / "best.pt") for _ in range(2))
    features = first.calibration.features
    assert features.shape == (160 * 240, 40)
    assert len(first.calibration.kept) >= 120 * FRAMES_PER_STEP
    assert torch.equal(features, again.calibration.features)
    assert first.info == again.info


def test_an_int8_file_alarms_as_often_at_its_own_thresholds_as_float_at_its_own(
    finished: Run, tmp_path: Path
) -> None:
    run = finished_run(finished, finished.folder / "best.pt")
    made = export_formats(run, ["onnx", "onnx-int8"], tmp_path)
    stream = finished.trials.negatives[0].float().numpy()
    steps = stream[: len(stream) // FRAMES_PER_STEP * FRAMES_PER_STEP]
    alarms, thresholds = [], []
    for model in (load_model(one.path) for one in made):
        state, posteriors = model.fresh_state(), []
        for step in steps.reshape(-1, FRAMES_PER_STEP, 40):
            found, state = model.step(step, state)
            posteriors.append(found[:, 0].copy())
        peaks = block_peaks(smoothed(np.concatenate(posteriors), model.info.decision.smoothing))
        points = model.info.keywords[0].operating_points
        alarms.append([int(np.sum(peaks >= points[name].threshold)) for name in points])
        thresholds.append(points)
    exact, int8 = np.array(alarms)
    # A threshold above all that eight bits say would never be reached: it is their highest score.
    reached = [point.threshold < peaks.max() - 1e-4 for point in thresholds[1].values()]
    assert any(reached) and np.all(np.abs(exact - int8)[reached] <= 1)
    assert thresholds[0] == run.info.keywords[0].operating_points != thresholds[1]


def test_the_command_knows_every_format() -> None:
    assert set(export.FORMATS) == set(FORMATS)


def test_a_format_that_needs_more_is_said(
    finished: Run,
    recipe_path: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    assert command(finished, recipe_path, data, tmp_path, "--to", "onnx", "tflite") == 2
    assert "pip install 'kwspot-export[tflite]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "there are no weights"), (b"", "does not hold"), (b"junk", "does not hold")],
)
def test_what_are_no_weights_is_said(
    content: bytes | None,
    reason: str,
    recipe_path: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / "run" / "best.pt"
    weights.parent.mkdir()
    if content is not None:
        weights.write_bytes(content)
    arguments = ["export", "--checkpoint", weights, "--recipe", recipe_path, "--data", data]
    assert main([*map(str, arguments), "--output-dir", str(tmp_path / "models")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_a_fine_tuned_net_of_two_outputs_becomes_a_model_file(data: Path, tmp_path: Path) -> None:
    recipe_path, folder = tmp_path / "words.toml", tmp_path / "runs" / "words"
    recipe_path.write_text(finetune_text(), encoding="utf-8")
    job = Finetuning(read_finetune_recipe(recipe_path), data, folder, tmp_path / "runs" / "cache")
    folder.mkdir(parents=True)
    torch.save(job.net.state_dict(), folder / "model.pt")
    arguments = ["export", "--checkpoint", folder, "--recipe", recipe_path, "--data", data]
    arguments += ["--to", "onnx", "onnx-int8", "--output-dir", tmp_path / "models"]
    assert main([*map(str, arguments)]) == 0
    exact, int8 = (
        load_model(tmp_path / "models" / name, check=True).info
        for name in ("words.onnx", "words-int8.onnx")
    )
    for info in (exact, int8):
        assert [keyword.label for keyword in info.keywords] == ["beep boop"]
        assert info.embedding == 6
    assert exact.keywords != int8.keywords, "each has thresholds for its own scores"
