import copy
import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export.encoders import build_encoder
from kwspot_export.recipe import Recipe, RecipeError
from kwspot_export.student import FrameNet
from kwspot_export.train import Progress, Run, TrainingError
from torch import Tensor
from toy import Commanded, assert_one_sentence, start_run, write_manifest

from kwspot.manifest import read_manifests


class Interrupted(Exception):
    pass


def interrupt_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step:
            raise Interrupted

    return report


def never_called(progress: Progress) -> None:
    raise AssertionError("a step was taken")


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, map_location="cpu")


def assert_same_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def assert_same_run(left: Path, right: Path) -> None:
    """Compare all that two runs leave behind: weights, optimiser, hard negatives, scores."""
    assert_same_bits(weights(left / "best.pt"), weights(right / "best.pt"))
    a, b = (torch.load(folder / "checkpoint.pt") for folder in (left, right))
    for part in ("net", "average"):
        assert_same_bits(a[part], b[part])
    for index, moments in a["optimizer"]["state"].items():
        assert_same_bits(moments, b["optimizer"]["state"][index])
    for part in ("recipe", "step", "best", "hard"):
        assert a[part] == b[part]
    assert (left / "metrics.jsonl").read_text() == (right / "metrics.jsonl").read_text()


def names(run: Run, part: np.ndarray) -> set[str]:
    return {run.split.clips[index].name for index in part}


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(
    finished: Run, commanded: Commanded
) -> None:
    assert_same_run(finished.folder, commanded.folder)


@pytest.mark.slow
def test_a_run_interrupted_and_resumed_equals_one_that_was_not(
    finished: Run, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    # Once between two checkpoints, once right after hard negatives were mined at step 6.
    for step in (5, 7):
        with pytest.raises(Interrupted):
            start_run(recipe, data, tmp_path).fit(interrupt_at(step))
    reported: list[int] = []
    start_run(recipe, data, tmp_path).fit(lambda progress: reported.append(progress.step))
    assert reported == [7, 8, 9, 10, 11, 12], "it went on from the checkpoint of step 6"
    assert_same_run(finished.folder, tmp_path)


def test_training_moves_every_weight_and_the_average_lags_behind(finished: Run) -> None:
    torch.manual_seed(finished.recipe.seed)
    recipe = finished.recipe
    untrained = FrameNet(build_encoder(recipe.front_end.mels, recipe.student), 1).state_dict()
    for name, trained in finished.net.state_dict().items():
        average = finished.average.state_dict()[name]
        assert torch.isfinite(trained).all() and torch.isfinite(average).all()
        assert not torch.equal(trained, untrained[name]), name
        counted = name.endswith("num_batches_tracked")
        assert torch.equal(trained, average) == counted, name


def test_a_finished_run_is_not_trained_further(finished: Run) -> None:
    before = (finished.folder / "checkpoint.pt").read_bytes()
    again = copy.copy(finished)
    assert again.fit(never_called) == finished.folder / "best.pt"
    assert again.step == 12
    assert (finished.folder / "checkpoint.pt").read_bytes() == before


def test_a_changed_recipe_does_not_resume_a_run(finished: Run) -> None:
    schedule = replace(finished.recipe.schedule, learning_rate=1e-4)
    changed = copy.copy(finished)
    changed.recipe = replace(finished.recipe, schedule=schedule)
    with pytest.raises(
        TrainingError, match=r"made by another recipe .*: choose another"
    ) as refusal:
        changed.fit(never_called)
    assert_one_sentence(refusal.value)


def test_metrics_are_written_at_every_validation(finished: Run) -> None:
    lines = (finished.folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [4, 8, 12]
    for row in rows:
        recalls = [value for name, value in row.items() if name.startswith("recall_at_")]
        assert len(recalls) == 4 and all(0 <= recall <= 1 for recall in recalls)
        assert row["merit"] == pytest.approx(np.mean(recalls), abs=1e-4)  # rounded
        assert 0 < row["loss"] < 10


def test_hard_negatives_are_mined_from_training_clips(finished: Run) -> None:
    hard = torch.load(finished.folder / "checkpoint.pt")["hard"]
    assert hard, "an untrained net is fooled by everything"
    assert {index for index, _, _ in hard} <= set(finished.split.train.tolist())


def test_no_clip_of_role_test_has_a_part(finished: Run, data: Path) -> None:
    held = {
        c.name for c in read_manifests([data / "real.csv", data / "made.csv"]) if c.role == "test"
    }
    assert held == {"wake/7.flac", "speech/6.flac"}
    assert not held & {clip.name for clip in finished.split.clips}
    assert not held & {clip.name for clip in finished.corpus.clips}


def test_held_out_speakers_and_validation_clips_are_not_trained_on(finished: Run) -> None:
    split = finished.split
    learnt = names(finished, split.train) | names(finished, split.positives)
    tested = {
        *names(finished, split.validation),
        *names(finished, split.validation_positives),
    }
    assert not learnt & tested
    speakers = {clip.name: clip.speaker for clip in split.clips}
    assert not {"w2", "w5"} & {speakers[name] for name in learnt}, "every third of six speakers"
    assert names(finished, split.validation_positives) == {
        "wake/2.flac",
        "wake/5.flac",
        "wake/6.flac",
        "made/keyword/3.flac",
        "made/sentence/2.flac",
        "made/sentence/3.flac",
    }
    assert "other/w2.flac" in tested and "other/w1.flac" in learnt
    pools = finished.composer.pools
    drawn = {spot.index for spot in pools.positives} | {
        int(index)
        for part in (pools.negatives, pools.confusables, pools.noises, pools.room_indices)
        for index in part
    }
    assert names(finished, np.array(sorted(drawn))) <= learnt
    scored = set(split.validation_negatives) | set(split.validation_positives)
    assert not drawn & scored, "thresholds must not rest on what was trained on"


def test_synthetic_voices_are_not_held_out(finished: Run) -> None:
    trained = names(finished, finished.split.positives)
    assert {f"made/keyword/{i}.flac" for i in range(3)} <= trained


def test_no_keyword_is_among_the_negatives(finished: Run) -> None:
    split = finished.split
    for part in (split.train, split.validation, split.validation_negatives):
        assert not any(split.clips[index].mentions("beep boop") for index in part)


def test_ignored_texts_have_no_part(finished: Run) -> None:
    parts = vars(finished.split).copy()
    parts.pop("clips")
    assert not any("other/ignored.flac" in names(finished, part) for part in parts.values())


def test_clips_without_a_licence_are_validated_on_and_never_trained_on(finished: Run) -> None:
    assert "unlicensed/0.flac" in names(finished, finished.split.validation_negatives)
    assert set(finished.trained_sources()) == {"toy-wake", "toy-speech", "toy-sounds", "kokoro-82m"}


def test_trained_sources_count_clips_and_hours(finished: Run) -> None:
    clips, hours = finished.trained_sources()["toy-wake"]
    assert clips == 4  # six speakers of role train less two held out
    assert hours * 3600 == pytest.approx(4 * 0.7, abs=0.01)  # seconds


def test_a_source_that_is_trained_on_needs_a_licence(
    recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    licences = {k: v for k, v in recipe.data.licences.items() if k not in ("toy-speech",)}
    unlicensed = replace(recipe, data=replace(recipe.data, licences=licences))
    with pytest.raises(TrainingError, match="states no licence for toy-speech") as refusal:
        start_run(unlicensed, data, tmp_path)
    assert_one_sentence(refusal.value)


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        (
            lambda row: (
                not row["path"].startswith("wake/")
                and "keyword" not in row["path"]
                and "sentence" not in row["path"]
            ),
            "positives",
        ),
        (lambda row: row["role"] != "train" or "wake/" in row["path"], "train"),
        (lambda row: row["role"] == "train" and row["speaker"] == "w1", "validation"),
        (
            lambda row: "beep" not in row["text"].lower() or row["speaker"] in ("w1", "k1"),
            "validation positives",
        ),
    ],
    ids=["no keyword", "nothing else to train on", "nothing held out", "no keyword held out"],
)
def test_data_without_clips_for_a_part_are_refused(
    kept: Callable[[dict[str, str]], bool],
    missing: str,
    recipe: Recipe,
    data: Path,
    tmp_path: Path,
) -> None:
    for name in recipe.data.manifests:
        with (data / name).open(newline="") as file:
            rows = [tuple(row.values()) for row in csv.DictReader(file) if kept(row)]
        write_manifest(tmp_path / name, rows)
    reason = f"hold no clips for {missing} of 'beep boop'"
    with pytest.raises(TrainingError, match=reason) as refusal:
        start_run(recipe, tmp_path, tmp_path / "run")
    assert_one_sentence(refusal.value)


@pytest.mark.parametrize("part", ["noises", "negatives"])
def test_a_prefix_that_fits_no_clip_is_refused(
    part: str, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    wrong = {"noises": ("nosie/",), "negatives": recipe.data.negatives[1:]}
    mistyped = replace(recipe, data=replace(recipe.data, **{part: wrong[part]}))
    with pytest.raises(RecipeError, match=f"hold no {part}") as refusal:
        start_run(mistyped, data, tmp_path)
    assert_one_sentence(refusal.value)


def test_a_loss_that_is_no_number_stops_the_run(finished: Run, tmp_path: Path) -> None:
    run = copy.copy(finished)
    run.folder, run.step, run.net = tmp_path, 0, copy.deepcopy(finished.net)
    run.net.head.bias.data.fill_(torch.nan)
    with pytest.raises(TrainingError, match="the loss is nan at step 0: lower") as refusal:
        run.fit(never_called)
    assert_one_sentence(refusal.value)
