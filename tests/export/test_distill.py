import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export.distill import Distillation
from kwspot_export.distill_recipe import DistillRecipe, read_distill_recipe, read_finetune_recipe
from kwspot_export.encoder_file import EncoderFileError, load_encoder
from kwspot_export.finetune import Finetuning
from kwspot_export.loop import TrainingError
from kwspot_export.recipe import RecipeError
from toy import assert_one_sentence, other_words
from toy_distill import OBJECTIVES, distill_text, finetune_text, write_teachers

from kwspot import KeywordDetector
from kwspot.cli import main
from kwspot.features import FrontEnd


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teachers(tmp_path_factory.mktemp("teachers"))


def read(folder: Path, text: str) -> DistillRecipe:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return read_distill_recipe(path)


def start(recipe: DistillRecipe, data: Path, teachers: Path, folder: Path) -> Distillation:
    return Distillation(recipe, data, folder, data / "cache", teachers, workers=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(OBJECTIVES))
def test_every_system_distils_and_resumes_to_the_bit(
    kind: str, data: Path, teachers: Path, tmp_path: Path
) -> None:
    recipe = read(tmp_path, distill_text(kind))
    steps: list[float] = []
    whole = start(recipe, data, teachers, tmp_path / "whole").fit(lambda s: steps.append(s.loss))
    assert len(steps) == 6 and np.isfinite(steps).all()

    def stop(step: object) -> None:
        if step.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(recipe, data, teachers, tmp_path / "parts").fit(stop)
    parts = start(recipe, data, teachers, tmp_path / "parts").fit(lambda step: None)
    encoders = [load_encoder(path, FrontEnd())[0].state_dict() for path in (whole, parts)]
    assert all(torch.equal(a, b) for a, b in zip(*(e.values() for e in encoders), strict=True))


def test_a_student_comes_closer_to_its_teacher(data: Path, teachers: Path, tmp_path: Path) -> None:
    recipe = read(
        tmp_path, distill_text("distance").replace("steps = 6", "steps = 150\nlearning_rate = 1e-2")
    )
    steps: list[float] = []
    start(recipe, data, teachers, tmp_path / "run").fit(lambda s: steps.append(s.loss))
    assert np.mean(steps[-5:]) < 0.8 * np.mean(steps[:5])


def test_views_are_chosen_by_the_recipe(data: Path, teachers: Path, tmp_path: Path) -> None:
    text = distill_text("s3rl") + "\n"
    text = text.replace("[s3rl]\n", "[s3rl]\nbatch_view = false\ncodebook = false\n")
    text = text.replace("steps = 6", "steps = 10")
    start(read(tmp_path, text), data, teachers, tmp_path / "run").fit(lambda step: None)
    (row,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(row).keys() == {"step", "loss", "feature_view"}
    assert json.loads(row)["loss"] == 1.0  # L / sg(L)


def test_only_train_clips_with_stated_licences_are_heard(
    data: Path, teachers: Path, tmp_path: Path
) -> None:
    recipe = read(tmp_path, distill_text("distance"))
    job = start(recipe, data, teachers, tmp_path / "run")
    assert {clip.role for clip in job.clips} == {"train"}
    assert not any(clip.mentions("poob peeb") for clip in job.clips)
    licences = {k: v for k, v in recipe.sound.licences.items() if k != "toy-wake"}
    bare = replace(recipe, sound=replace(recipe.sound, licences=licences))
    with pytest.raises(TrainingError, match="toy-wake") as caught:
        start(bare, data, teachers, tmp_path / "run")
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[distance]\nlayers = [1, 2]", "", "exactly one"),
        ("layers = [1, 2]\n", "layers = [7]\n", "layer 7"),
        ("[student]\nchannels = 8", "[student]\nchanels = 8", "chanels"),
    ],
)
def test_recipes_that_cannot_be_are_refused(
    old: str, new: str, reason: str, data: Path, teachers: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=reason) as caught:
        recipe = read(tmp_path, distill_text("distance").replace(old, new))
        start(recipe, data, teachers, tmp_path / "run").fit(lambda step: None)
    assert_one_sentence(caught.value)


def test_an_encoder_file_that_does_not_fit_is_refused(
    data: Path, teachers: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "encoder.pt"
    damaged.write_bytes(b"nothing of the kind")
    path = start(read(tmp_path, distill_text("distance")), data, teachers, tmp_path / "run").fit(
        lambda step: None
    )
    for file, front_end, reason in (
        (tmp_path / "none.pt", FrontEnd(), "cannot read"),
        (damaged, FrontEnd(), "no encoder"),
        (path, FrontEnd(mels=32), "hears through"),
    ):
        with pytest.raises(EncoderFileError, match=reason) as caught:
            load_encoder(file, front_end)
        assert_one_sentence(caught.value)


@pytest.mark.slow
def test_one_command_goes_from_a_teacher_to_a_model_that_listens(
    data: Path, teachers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, model = tmp_path / "s3rl.toml", tmp_path / "out" / "s3rl.onnx"
    recipe.write_text(distill_text("s3rl", "words.toml"), encoding="utf-8")
    (tmp_path / "words.toml").write_text(finetune_text(), encoding="utf-8")
    arguments = ["distill", "--recipe", recipe, "--data", data, "--teachers", teachers]
    arguments += ["--run", tmp_path / "runs" / "s3rl", "--output", model, "--workers", 0]
    assert main([str(a) for a in arguments]) == 0
    detector = KeywordDetector(model, vad="off")
    assert [keyword.label for keyword in detector.info.keywords] == ["beep boop"]
    assert detector.info.embedding == 6
    scores = detector.score(other_words(np.random.default_rng(0), 8))
    assert np.isfinite(scores).all() and 0 <= scores.min() <= scores.max() <= 1
    card = model.with_suffix(".md").read_text(encoding="utf-8")
    assert "whisper" in card and "CC BY 4.0" in card
    assert main(["info", str(model)]) == 0


def test_cache_alone_stops_before_training(data: Path, teachers: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "distance.toml"
    recipe.write_text(distill_text("distance"), encoding="utf-8")
    run = tmp_path / "runs" / "distance"
    arguments = ["distill", "cache", "--recipe", recipe, "--data", data, "--teachers", teachers]
    assert main([str(a) for a in [*arguments, "--run", run]]) == 0
    assert list((tmp_path / "runs" / "cache" / "targets").glob("*/00000.targets"))
    assert not (run / "encoder.pt").exists()


SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from kwspot_export import processes
from kwspot_export.distill import Distillation
from kwspot_export.distill_recipe import read_distill_recipe, read_finetune_recipe
from kwspot_export.finetune import Finetuning
folder, data, teachers = (Path(p) for p in sys.argv[1:])
losses = []
with processes.process_group("cpu"):
    note = lambda step: losses.append(step.loss)
    for kind in ("distance", "s3rl"):
        recipe = read_distill_recipe(folder / f"{{kind}}.toml")
        Distillation(recipe, data, folder / kind, data / "cache", teachers, workers=0).fit(note)
    recipe = read_finetune_recipe(folder / "words.toml")
    Finetuning(recipe, data, folder / "words", data / "cache", workers=0).fit(note)
    (folder / f"losses-{{processes.number()}}.json").write_text(json.dumps(losses))
"""


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(data: Path, teachers: Path, tmp_path: Path) -> None:
    runs = {}
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        for kind in ("distance", "s3rl"):
            (folder / f"{kind}.toml").write_text(distill_text(kind), encoding="utf-8")
        (folder / "words.toml").write_text(finetune_text(), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        script = SCRIPT.format(tests=str(Path(__file__).parent))
        command = [sys.executable, "-c", script, str(folder), str(data), str(teachers)]
        group = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started = [
            subprocess.Popen(
                command, env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            )
            for rank in range(world)
        ]
        assert [process.wait(timeout=120) for process in started] == [0] * world
        runs[world] = [
            json.loads((folder / f"losses-{rank}.json").read_text()) for rank in range(world)
        ]
    (alone,), (first, second) = runs[1], runs[2]
    assert first == second
    # Sums in another order, through a few steps of AdamW, which divides small by small.
    np.testing.assert_allclose(first, alone, rtol=2e-3)


def test_finetuning_needs_an_encoder_or_a_student(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_text(finetune_text(), encoding="utf-8")
    recipe = replace(read_finetune_recipe(path), student=None)
    with pytest.raises(EncoderFileError, match="--encoder") as caught:
        Finetuning(recipe, data, tmp_path / "run", data / "cache", workers=0)
    assert_one_sentence(caught.value)
