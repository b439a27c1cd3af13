from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from kwspot_export.distill_recipe import FinetuneRecipe, read_finetune_recipe
from kwspot_export.encoder_file import EncoderFileError, begin_encoder, save_encoder
from kwspot_export.encoders import build_encoder
from kwspot_export.examples import SILENCE, UNKNOWN
from kwspot_export.finetune import Finetuning
from kwspot_export.publish_joint import calibrate, calibrate_voices
from kwspot_export.recipe import RecipeError, Student
from kwspot_export.train import Run
from toy import assert_one_sentence, clip, glide, write_manifest
from toy_distill import finetune_text

from kwspot.cli import main
from kwspot.endpoints import speech_span
from kwspot.features import SAMPLE_RATE, FrontEnd

STUDENT = Student(channels=8, dilations=(1, 2))


@pytest.fixture
def finetuning(tmp_path: Path) -> FinetuneRecipe:
    path = tmp_path / "words.toml"
    path.write_text(finetune_text(), encoding="utf-8")
    return read_finetune_recipe(path)


def start(recipe: FinetuneRecipe, data: Path, folder: Path) -> Finetuning:
    return Finetuning(recipe, data, folder, data / "cache", workers=0)


def test_words_end_where_the_last_second_holds_them(
    finetuning: FinetuneRecipe, data: Path, tmp_path: Path
) -> None:
    examples = start(finetuning, data, tmp_path).examples
    assert examples.names == ("_silence_", "_unknown_", "beep boop")
    words = np.flatnonzero(examples.labels == 2)
    assert len(words) > 10
    for segment in examples.segments.audio(words):
        _, end = speech_span(segment)
        assert 1.05 < end / SAMPLE_RATE < 1.6
    clips = [examples.segments.corpus.clips[i] for i in examples.segments.clips[words]]
    assert all(clip.says("beep boop") for clip in clips)
    others = examples.segments.clips[examples.labels == UNKNOWN]
    assert not any(examples.segments.corpus.clips[i].mentions("beep boop") for i in others)
    assert np.sum(examples.labels == SILENCE) > 0


def test_draws_are_balanced_over_words_and_speakers(
    finetuning: FinetuneRecipe, data: Path, tmp_path: Path
) -> None:
    examples, rng = start(finetuning, data, tmp_path).examples, np.random.default_rng(0)
    labels = examples.labels[examples.draw_words(4000, 0.3, 0.1, rng)]
    assert np.bincount(labels) / 4000 == pytest.approx([0.1, 0.3, 0.6], abs=0.03)
    speakers = examples.speakers[examples.draw_voices(4000, rng)]
    share = 1 / examples.speaker_count
    assert np.bincount(speakers) / 4000 == pytest.approx(share, abs=0.03)


def test_a_frozen_encoder_stays_to_the_bit(
    finetuning: FinetuneRecipe, data: Path, tmp_path: Path
) -> None:
    job = start(replace(finetuning, frozen=True), data, tmp_path)
    before = {name: value.clone() for name, value in job.encoder.state_dict().items()}
    heads = [p.detach().clone() for p in job.net.heads.parameters()]
    job.fit(lambda step: None)
    assert all(torch.equal(before[n], v) for n, v in job.encoder.state_dict().items())
    assert not all(
        torch.equal(a, b) for a, b in zip(heads, job.net.heads.parameters(), strict=True)
    )


def test_tasks_take_turns(finetuning: FinetuneRecipe, data: Path, tmp_path: Path) -> None:
    pace = replace(finetuning.pace, steps=10)
    alone = replace(finetuning.keywords, turns=0)
    for folder, recipe, names in (
        ("both", replace(finetuning, pace=pace), {"keywords", "speakers"}),
        ("voices", replace(finetuning, pace=pace, keywords=alone), {"speakers"}),
    ):
        steps: list[int] = []
        start(recipe, data, tmp_path / folder).fit(lambda s, steps=steps: steps.append(s.step))
        assert len(steps) == 10 * len(names)
        first = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()[0]
        assert all((f'"{name}"' in first) == (name in names) for name in ("keywords", "speakers"))


def test_the_threshold_for_voices_is_that_of_people_who_were_not_trained_on(
    finetuning: FinetuneRecipe, data: Path, tmp_path: Path
) -> None:
    rng, rows = np.random.default_rng(0), []
    said = [(f"v{i}", "red") for i in range(6) for _ in range(4)] + [("w1", "red")] * 4
    for number, (speaker, text) in enumerate(said):
        samples = clip(rng, glide(rng, 0.4, 300 + 200 * int(speaker[1:]), 900))
        path = tmp_path / f"voices-{number}.flac"
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
        seconds = f"{len(samples) / SAMPLE_RATE:.3f}"
        rows.append((str(path), seconds, text, speaker, "validation", "toy-speech"))
    manifest = tmp_path / "voices.csv"
    write_manifest(manifest, rows)
    without = start(finetuning, data, tmp_path / "run")
    assert calibrate_voices(without) is None
    manifests = (*finetuning.sound.manifests, str(manifest))
    sound = replace(finetuning.sound, manifests=manifests)
    speakers = replace(finetuning.speakers, clips=("wake/", "other/", str(tmp_path)))
    recipe = replace(finetuning, sound=sound, speakers=speakers)
    point = calibrate_voices(start(recipe, data, tmp_path / "run"))
    assert point is not None and point.speakers == 6, "w1 is among the voices for training"
    assert calibrate_voices(start(replace(recipe, speakers=None), data, tmp_path / "run")) is None


@pytest.mark.parametrize(
    ("head", "old", "new", "reason"),
    [
        ("", 'words = ["beep boop"]', 'words = ["never said"]', "never said"),
        ("", 'clips = ["wake/", "other/"]', 'clips = ["noise/"]', "two speakers"),
        ("", '[keywords]\nwords = ["beep boop"]\n', "", "'keywords' is missing"),
    ],
)
def test_recipes_that_cannot_be_are_refused(
    head: str, old: str, new: str, reason: str, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "words.toml"
    path.write_text(finetune_text(head=head).replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError, match=reason) as caught:
        calibrate(start(read_finetune_recipe(path), data, tmp_path))
    assert_one_sentence(caught.value)


def test_a_net_begins_with_the_encoder_it_is_given(
    recipe: object, data: Path, tmp_path: Path
) -> None:
    torch.manual_seed(9)
    encoder = build_encoder(40, STUDENT)
    path = tmp_path / "encoder.pt"
    save_encoder(path, encoder, STUDENT, FrontEnd(), "somewhere")
    run = Run(recipe, data, tmp_path / "run", data / "cache", workers=0, encoder=path)
    assert run.origin == "somewhere"
    weights = run.net.encoder.state_dict()
    assert all(torch.equal(weights[n], v) for n, v in encoder.state_dict().items())
    with pytest.raises(EncoderFileError, match="asks for") as caught:
        begin_encoder(path, Student(channels=16), FrontEnd())
    assert_one_sentence(caught.value)


def test_a_model_without_keywords_is_refused_before_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "voices.toml"
    text = finetune_text().replace('words = ["beep boop"]', 'words = ["beep boop"]\nturns = 0')
    path.write_text(text, encoding="utf-8")
    arguments = ["finetune", "--recipe", path, "--data", data, "--run", tmp_path / "run"]
    assert main([str(a) for a in arguments]) == 2
    assert "learns no keywords" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    silent = replace(read_finetune_recipe(path), speakers=None)
    with pytest.raises(RecipeError, match="no task has a turn") as caught:
        start(silent, data, tmp_path / "run")
    assert_one_sentence(caught.value)
