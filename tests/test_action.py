"""`kwspot listen --exec`: a command at each detection, without a shell, without waiting."""

import json
import sys
import time
from pathlib import Path

import pytest
import soundfile
from sound import as_int16, words

from kwspot import Detection, KwspotError, action
from kwspot.action import Action
from kwspot.cli import main

HIT = Detection("hey you; touch hacked", 0.9, 1.0, 1.5)
WRITE = f"{sys.executable} -c 'import sys; open(sys.argv[1], \"a\").write(repr(sys.argv[2:]))'"


def test_values_are_filled_into_words_and_no_shell_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Action(WRITE + " out {keyword} 'a b' '{\"at\": {end}}' $(touch hacked) '{other}'")
    run(HIT)
    run.wait()
    written = "['hey you; touch hacked', 'a b', '{\"at\": 1.50}', '$(touch', 'hacked)', '{other}']"
    assert (tmp_path / "out").read_text() == written
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("speaker", ["ana", None])
def test_the_speaker_is_filled_in_where_there_is_one(
    speaker: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Action(WRITE + " out '<{speaker}>'")
    run(Detection("hey", 0.9, 1.0, 1.5, speaker))
    run.wait()
    assert (tmp_path / "out").read_text() == f"['<{speaker or ''}>']"


@pytest.mark.parametrize("command", ["", "no-such-program {keyword}", "'half", "~/x"])
def test_a_command_that_cannot_be_run_is_refused_at_the_start(command: str) -> None:
    with pytest.raises(KwspotError, match=r"there is no program|cannot be read"):
        Action(command)
    assert main(["listen", "--model", "alexa", "--input", "x.wav", "--exec", command]) == 2


def test_a_command_that_fails_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for command in (f"{sys.executable} -c 'import sys; sys.exit(3)'", "{keyword}/program"):
        run = Action(command)
        run(HIT)
        run.wait()
    failed, missing = (record.message for record in caplog.records)
    assert failed.endswith("ended with status 3")
    assert missing == "hey you; touch hacked/program cannot be run: No such file or directory"


def test_commands_do_not_pile_up_and_nobody_waits_for_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(action, "MOST", 2)
    run = Action(f"{sys.executable} -c 'import time; time.sleep(1)'")
    began = time.monotonic()
    for _ in range(3):
        run(HIT)
    assert time.monotonic() - began < 0.9
    (warning,) = caplog.records
    assert warning.message == "2 commands still run: none is started for hey you; touch hacked"
    run.wait()
    run(HIT)
    run.wait()
    assert len(caplog.records) == 1


def test_listen_runs_it_and_keeps_its_own_output_clean(
    tiny_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "words.wav"
    soundfile.write(recording, as_int16(words(1.5, seed=1)), 16000)
    say = f"{sys.executable} -c 'import sys; print(*sys.argv[1:])' heard {{keyword}} {{score}}"
    listen = ["listen", "--model", str(tiny_path), "--input", str(recording), "--json"]
    assert main([*listen, "--exec", say]) == 0
    out, err = capfd.readouterr()
    hits = [json.loads(line) for line in out.splitlines()]
    assert sorted(err.splitlines()) == sorted(f"heard tiny {hit['score']:.3f}" for hit in hits)
    assert hits
