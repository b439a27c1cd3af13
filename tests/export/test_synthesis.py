import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from kwspot_export import neighbours
from kwspot_export.engines import SpeechError, held_out, open_engine
from kwspot_export.engines.espeak import VARIANTS, Espeak
from kwspot_export.synthesis import VALIDATED, Line, synthesise
from toy import assert_one_sentence

from kwspot.cli import main
from kwspot.manifest import read_manifest

# Stands in for the program: hums a tone whose pitch is the voice's, is silent when told to hush.
PROGRAM = """#!{python}
import io, math, struct, sys, wave
options, text = dict(zip(sys.argv[1:-2:2], sys.argv[2:-2:2])), sys.stdin.read()
if "xyzzy" in text:
    sys.exit("no such word")
loud = 0 if "hush" in text else 8000
step = 2 * math.pi * (100 + 5 * int(options["-p"])) / 22050
samples = [round(loud * math.sin(step * n)) for n in range(22050 * 60 // int(options["-s"]))]
with wave.open(out := io.BytesIO(), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(22050)
    file.writeframes(struct.pack(f"<{{len(samples)}}h", *samples))
sys.stdout.buffer.write(out.getvalue())
"""


@pytest.fixture(autouse=True)
def espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.flac"))}


def test_clips_are_there_as_the_manifest_says(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    manifest = synthesise(
        [Line("Hey Jarvis", 12, "tts"), Line("jar", 2, "near")],
        ["espeak-ng"],
        tmp_path / "out",
        report=lambda *now: seen.append(now),
    )
    clips = read_manifest(manifest)
    assert sorted({c.name.rsplit("/", 1)[0] for c in clips}) == ["near/jar", "tts/hey_jarvis"]
    assert [c.role for c in clips].count("validation") == 12 // VALIDATED
    assert seen == [(n, 14) for n in range(1, 15)]
    for clip in clips:
        samples, rate = soundfile.read(clip.path)
        assert rate == 16000 and abs(len(samples) / rate - clip.seconds) < 0.006
    assert len({c.speaker for c in clips}) > 10
    said = json.loads((manifest.parent / "synthesis.json").read_text())
    assert set(said["licences"]) == {c.source for c in clips}


def test_a_stopped_run_goes_on_and_a_longer_one_begins_with_the_shorter(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Stopped

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    synthesise([Line("go", 6, "tts")], ["espeak-ng"], whole)
    with pytest.raises(Stopped):
        synthesise([Line("go", 5, "tts")], ["espeak-ng"], parts, report=stop)
    manifest = parts / "manifest.csv"
    manifest.write_text(manifest.read_text() + "tts/go/0000")  # killed while it wrote a row
    synthesise([Line("go", 6, "tts")], ["espeak-ng"], parts)
    assert contents(parts) == contents(whole)
    rows = [sorted((f / "manifest.csv").read_text().splitlines()) for f in (parts, whole)]
    assert rows[0] == rows[1]


def test_voices_of_validation_are_heard_in_no_training() -> None:
    rng, engine = np.random.default_rng(0), Espeak()
    bases = {
        role: {engine.draw(role, rng).partition("@")[0].partition("+")[2] for _ in range(200)}
        for role in ("train", "validation")
    }
    assert not bases["train"] & bases["validation"]
    assert bases["train"] | bases["validation"] == set(VARIANTS)
    with pytest.raises(SpeechError, match="not enough"):
        held_out(["only"], "train")


@pytest.mark.parametrize(
    ("text", "match"), [("hush", "spell it as it sounds"), ("xyzzy", "no such word")]
)
def test_what_cannot_be_said_is_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(SpeechError, match=match) as caught:
        synthesise([Line(text, 2, "tts")], ["espeak-ng"], tmp_path / "out")
    assert_one_sentence(caught.value)


def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    program = Path(os.environ["PATH"].partition(os.pathsep)[0]) / "espeak-ng"
    program.write_text(
        program.read_text().replace("import io,", "import time; time.sleep(1)\nimport io,")
    )
    command = [sys.executable, "-m", "kwspot", "synthesise", "go", "--clips", "50"]
    with subprocess.Popen([*command, "--output", str(tmp_path / "out")]) as process:
        while not list(tmp_path.glob("out/tts/go/*.flac")):
            assert process.poll() is None
            time.sleep(0.1)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_a_folder_of_other_engines_or_another_seed_is_refused(tmp_path: Path) -> None:
    synthesise([Line("go", 1, "tts")], ["espeak-ng"], tmp_path / "out")
    with pytest.raises(SpeechError, match="another seed") as caught:
        synthesise([Line("go", 1, "tts")], ["espeak-ng"], tmp_path / "out", seed=2)
    assert_one_sentence(caught.value)


def test_a_folder_that_cannot_be_written_or_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "synthesis.json").write_text("{")
    for name, match in (("file", "cannot write clips to"), ("damaged", "is damaged")):
        with pytest.raises(SpeechError, match=match) as caught:
            synthesise([Line("go", 1, "tts")], ["espeak-ng"], tmp_path / name)
        assert_one_sentence(caught.value)


def test_the_command_says_phrases_and_their_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(neighbours, "neighbours", lambda phrase, count: ["stop", "slow", "low"])
    arguments = ["synthesise", "go", "slow", "Go", "--clips", "2", "--neighbours", "3"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    manifest = Path(capsys.readouterr().out.strip())
    clips = [clip.name for clip in read_manifest(manifest)]
    assert len(clips) == len(set(clips))
    names = sorted({name.rsplit("/", 1)[0] for name in clips})
    assert names == ["near/low", "near/stop", "tts/go", "tts/slow"]
    assert main(["synthesise", "!?", "--output", str(tmp_path / "other")]) == 2
    assert "no word" in capsys.readouterr().err


def test_what_is_no_engine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpeechError, match="no speech engine"):
        open_engine(str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SpeechError, match="apt install"):
        open_engine("espeak-ng")
