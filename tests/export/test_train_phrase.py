"""`kwspot train PHRASE` on toy data, with a fake espeak-ng whose words are tones."""

import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from browser import Browser, needs_browser
from kwspot_export import effort, phrase, phrase_training, pronunciation
from kwspot_export.commands import train_phrase
from kwspot_export.effort import Effort, Verifying, estimate, peak_memory
from kwspot_export.encoder_file import save_encoder
from kwspot_export.encoders import build_encoder
from kwspot_export.engines import SpeechError
from kwspot_export.recipe import FrontEnd, Student
from toy import assert_one_sentence, clip, keyword, other_words, recordings, write_manifest

from kwspot import KeywordDetector
from kwspot.cli import main
from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE

# A word is a tone of its own, so that the phrase is the same tones in every voice.
PROGRAM = """#!{python}
import io, math, struct, sys, wave
options, text = dict(zip(sys.argv[1:-2:2], sys.argv[2:-2:2])), sys.stdin.read()
if "hush" in text:
    sys.exit("no such word")
samples, pitch = [], 0.9 + int(options["-p"]) / 400
for word in text.strip(".,!?").lower().split():
    step = 2 * math.pi * pitch * (300 + sum(map(ord, word)) % 17 * 120) / 22050
    samples += [round(8000 * math.sin(step * n)) for n in range(22050 // 4)]
samples = [0] * 3000 + samples + [0] * 3000
with wave.open(out := io.BytesIO(), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(22050)
    file.writeframes(struct.pack(f"<{{len(samples)}}h", *samples))
sys.stdout.buffer.write(out.getvalue())
"""
TINY = Effort(12, 2, 1, steps=8, seeds=2, minings=1, verifying=Verifying(64, 50, 1, 20))


@pytest.fixture(autouse=True, scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    program = tmp_path_factory.mktemp("bin") / "espeak-ng"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        for module in (phrase, phrase_training, pronunciation):
            monkeypatch.setattr(module, "missing_package", lambda: "panphon")
        monkeypatch.setattr(effort, "QUICK", TINY)
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as the command takes it, and an encoder to begin with."""
    base = tmp_path_factory.mktemp("phrase-data")
    rows = []
    for path, text, speaker, role, source, samples in recordings(np.random.default_rng(1)):
        name = path.replace("rooms/", "room_responses/")
        file = base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, samples, SAMPLE_RATE, subtype="PCM_16")
        rows.append((name, f"{len(samples) / SAMPLE_RATE:.3f}", text, speaker, role, source))
    write_manifest(base / "manifest.csv", rows)
    size, front_end = Student(channels=8, dilations=(1, 2)), FrontEnd()
    torch.manual_seed(0)
    encoder = build_encoder(front_end.mels, size)
    save_encoder(base / "encoder.pt", encoder, size, front_end, "toy")
    return base


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str


def command(*arguments: object) -> Said:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = main(["train", *map(str, arguments), "--workers", "1"])
    return Said(status, out.getvalue(), err.getvalue())


def options(folder: Path, place: Path) -> list[object]:
    return [
        *("--quick", "--data", folder, "--encoder", folder / "encoder.pt"),
        *("--run", place / "runs" / "beep", "--output", place / "models" / "beep.onnx"),
    ]


@dataclass(frozen=True)
class Finished:
    """A run that ended: the options that it had, the folder that it wrote to, what it said."""

    arguments: list[object]
    place: Path
    done: Said


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    pytest.importorskip("matplotlib")
    place = tmp_path_factory.mktemp("finished")
    own = place / "own"
    own.mkdir()
    rng = np.random.default_rng(3)
    soundfile.write(own / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    soundfile.write(own / "long.wav", other_words(rng, 60), SAMPLE_RATE)
    soundfile.write(own / "loud.wav", np.clip(clip(rng, keyword(rng)) * 50, -1, 1), SAMPLE_RATE)
    (own / "broken.wav").write_text("no sound")
    arguments = ["beep boop", *options(folder, place), "--recordings", own]
    return Finished(arguments, place, command(*arguments))


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_and_plays_the_report_and_asks_for_nothing(
    finished: Finished, tmp_path: Path
) -> None:
    page = finished.place / "models" / "beep.html"
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        players = browser.players()
        assert len(players) >= 2
        assert all(sound and seconds > 0.1 for sound, seconds in players)
        assert browser.play_first() == pytest.approx(players[0][1], abs=0.01)
        browser.assert_plots(2 + (finished.place / "models" / "beep.verifier.npy").exists())
        assert "Operating points" in browser.text()
        browser.assert_alone(page)


@pytest.mark.slow
def test_a_phrase_becomes_a_model_a_card_and_a_report(finished: Finished) -> None:
    arguments, tmp_path, done = finished.arguments, finished.place, finished.done
    rng = np.random.default_rng(4)
    assert done.status == 0, done.err
    for reason in ("silent: ", "too long: ", "clipped: ", "0 good, 4 left out", "broken.wav"):
        assert reason in done.err
    assert "«beep boop»: 12 clips by espeak-ng" in done.err
    assert "this takes about" in done.err and "GB of memory" in done.err
    assert "note: what sounds like it is left out" in done.err
    # Of so few steps and clips a verifier may come, or be said to learn nothing.
    verified = (tmp_path / "models" / "beep.verifier.npy").exists()
    assert verified != ("the model has no verifier: " in done.err)
    names = ["beep.onnx", "beep-int8.onnx", "beep.md", "beep.html"]
    names[3:3] = ["beep.verifier.npy"] * verified
    assert [Path(line).name for line in done.out.split()] == names

    detector = KeywordDetector(tmp_path / "models" / "beep.onnx", vad="off")
    assert list(detector.thresholds) == ["beep boop"]
    assert detector.info.name == "beep"
    assert "kwspot train 'beep boop', 2 seeds" in detector.info.provenance.recipe

    card = (tmp_path / "models" / "beep.md").read_text(encoding="utf-8")
    assert "| espeak-ng | no claim on its output |" in card
    assert "| toy-speech | not stated |" in card
    assert "toy-wake" not in card, "what holds the phrase is left out"
    page = (tmp_path / "models" / "beep.html").read_text(encoding="utf-8")
    assert page.count("<audio") >= 2 and page.count("<svg") == 2 + verified
    assert "too long" in page and "http-equiv" in page

    recipe = json.loads((tmp_path / "runs" / "beep" / "recipe.json").read_text())
    assert recipe["keyword"] == "beep boop"
    weights = (tmp_path / "runs" / "beep" / "best.pt").read_bytes()
    licences = tmp_path / "licences.toml"
    licences.write_text('weights = "Apache-2.0"\n[sources]\ntoy-speech = "CC0"\n')
    again = command(*arguments, "--licences", licences)
    assert again.status == 0
    card = (tmp_path / "models" / "beep.md").read_text(encoding="utf-8")
    assert "| toy-speech | CC0 |" in card and "Licence of the weights: Apache-2.0." in card
    detector = KeywordDetector(tmp_path / "models" / "beep.onnx")
    assert detector.info.provenance.licence == "Apache-2.0"
    assert (tmp_path / "runs" / "beep" / "best.pt").read_bytes() == weights, "nothing is learned"

    # With more clips, what was learned is where a new run begins.
    reviewed = tmp_path / "reviewed"
    reviewed.mkdir()
    rows = []
    for name, text, samples in (
        ("hit.flac", "beep boop", clip(rng, keyword(rng))),
        ("false.flac", "", clip(rng, other_words(rng, 3))),
    ):
        soundfile.write(reviewed / name, samples, SAMPLE_RATE)
        rows.append((name, "1", text, "me", "train", "reviewed"))
    write_manifest(reviewed / "manifest.csv", rows)
    run = tmp_path / "runs" / "beep"
    more = command(
        *("--continue", run, "--reviewed", reviewed, "--seeds", 1),
        *("--output", tmp_path / "models" / "more.onnx"),
    )
    assert more.status == 0, more.err
    settings = json.loads((run.with_name("beep-continued") / "settings.json").read_text())
    assert settings["begun_with"] == str(run / "best.pt")
    assert settings["effort"]["steps"] == TINY.steps // 3
    assert (TINY.seeds, settings["effort"]["seeds"]) == (2, 1)
    assert KeywordDetector(tmp_path / "models" / "more.onnx").info.name == "more"
    card = (tmp_path / "models" / "more.md").read_text(encoding="utf-8")
    assert "from a finished run of the phrase, which began with toy" in card


@pytest.mark.slow
def test_an_interrupted_run_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["beep boop", *options(folder, tmp_path)]
    learn = phrase_training.PhraseTraining.learn

    def stopped(self, decoding, report):  # type: ignore[no-untyped-def]
        def told(seed: int, step) -> None:  # type: ignore[no-untyped-def]
            if (seed, step.step) == (2, 5):
                raise KeyboardInterrupt
            report(seed, step)

        return learn(self, decoding, told)

    with monkeypatch.context() as patched:
        patched.setattr(phrase_training.PhraseTraining, "learn", stopped)
        assert command(*arguments).status == 130
    parts, whole = tmp_path / "runs" / "beep", tmp_path / "other" / "beep"
    first = (parts / "seed-1" / "best.pt").read_bytes()
    assert command(*arguments).status == 0
    assert (parts / "seed-1" / "best.pt").read_bytes() == first
    assert command(*arguments, "--run", whole).status == 0
    left, right = (torch.load(f / "best.pt") for f in (parts, whole))
    assert all(torch.equal(left[name], right[name]) for name in left)

    changed = command(*arguments, "--exclude", "other/")
    assert changed.status == 2
    (line,) = (line for line in changed.err.splitlines() if line.startswith("kwspot: "))
    assert "was begun with exclude none, not other/" in line


def test_a_full_disk_ends_in_one_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(phrase_training, "synthesise", full)
    done = command("beep boop", *options(folder, tmp_path))
    assert done.status == 2
    line = done.err.splitlines()[-1]
    assert "cannot write clips of the phrase" in line and "No space left on device" in line
    assert "the same command goes on" in line


def test_what_torch_raises_on_a_full_disk_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        with train_phrase._writing(tmp_path, "the training"):
            raise RuntimeError("PytorchStreamWriter failed writing file")

    with pytest.raises(RuntimeError, match="PytorchStreamWriter"):
        fails()
    monkeypatch.setattr(train_phrase, "FULL", 1e18)
    with pytest.raises(KwspotError, match="the disk is full") as refusal:
        fails()
    assert_one_sentence(refusal.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: ["", *a], "the phrase is empty"),
        (lambda a: ["hush", *a], "espeak-ng cannot say 'hush'"),
        (lambda a: ["/bip/", *a], "espeak-ng reads no IPA"),
        (lambda a: ["beep boop", "--recipe", "r.toml", *a], "give one of a phrase"),
        (lambda a: a, "give one of a phrase"),
        (lambda a: ["beep boop", "--quick"], "give --data a folder"),
        (lambda a: ["beep boop", *a, "--output", "beep.bin"], "should end in .onnx"),
        (lambda a: ["beep boop", *a, "--licences", "/nowhere"], "cannot read /nowhere"),
        (lambda a: ["beep boop", *a, "--voices", "/nowhere"], "is no speech engine"),
        (lambda a: ["beep boop", *a, "--recordings", "/"], "has no recordings"),
        (lambda a: ["--continue", "/", "--reviewed", "/"], "is no run"),
        (lambda a: ["--recipe", "r.toml", "--quick"], "--quick is for a phrase"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    change: Callable[[list], list],
    reason: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phrase_training, "find_recordings", _nothing)
    done = command(*change(options(folder, tmp_path)))
    assert done.status == 2
    (line,) = (line for line in done.err.splitlines() if line.startswith("kwspot: "))
    assert reason in line
    assert not list(tmp_path.rglob("*.flac"))


def _nothing(folder: Path, label: str) -> list:
    raise SpeechError(f"{folder} has no recordings")


def test_what_a_run_takes_is_estimated_and_measured() -> None:
    small = estimate(TINY, 20, 0.1, 1.0, 0.1, 2)
    assert 0 < small < estimate(TINY, 2000, 0.1, 1.0, 0.1, 2)
    assert small < estimate(effort.DEFAULT, 20, 0.1, 1.0, 0.1, 2)
    assert 0.01 < peak_memory(1) < 100
