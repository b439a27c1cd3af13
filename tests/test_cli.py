import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import as_int16, words
from tiny import write_model

from kwspot import AudioFile, KeywordDetector
from kwspot.cli import main

KWSPOT = [sys.executable, "-m", "kwspot"]


def kwspot(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*KWSPOT, *map(str, arguments)], input=stdin, capture_output=True, timeout=60
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "words.wav"
    soundfile.write(path, as_int16(words(4.0, seed=1)), 16000)
    return path


def expected(tiny_path: Path, recording: Path) -> list[dict]:
    return [vars(hit) for hit in KeywordDetector(tiny_path).listen(recording)]


def test_json_is_one_object_a_detection(tiny_path: Path, recording: Path) -> None:
    done = kwspot("listen", "--model", tiny_path, "--input", recording, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    hits = [json.loads(line) for line in done.stdout.splitlines()]
    assert hits == expected(tiny_path, recording) != []
    assert list(hits[0]) == ["keyword", "score", "start", "end", "speaker", "speaker_score"]


def test_a_closed_stdin_is_said(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["listen", "--model", str(tiny_path), "--input", "-"]) == 2
    assert "it is closed" in capsys.readouterr().err


def test_raw_pcm_on_stdin_is_heard_like_the_file(tiny_path: Path, recording: Path) -> None:
    pcm = as_int16(np.concatenate(list(AudioFile(recording)))).tobytes()
    done = kwspot("listen", "--model", tiny_path, "--input", "-", "--json", stdin=pcm)
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected(tiny_path, recording)


def test_text_output_says_what_when_and_how_much_was_heard(
    tiny_path: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", "--model", str(tiny_path), "--input", str(recording)]) == 0
    out, err = capsys.readouterr()
    hits = expected(tiny_path, recording)
    assert len(out.splitlines()) == len(hits)
    assert out.startswith("tiny ")
    assert f"heard 4.0 s of audio, {len(hits)} detections" in err


def test_options_reach_the_detector(
    tiny_path: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["listen", "--model", str(tiny_path), "--input", str(recording), "--json"]
    for option, settings in (
        (["--threshold", "0.9"], {"threshold": 0.9}),
        (["--sensitivity", "high", "--vad", "off"], {"sensitivity": "high", "vad": "off"}),
        (["--refractory", "2"], {"refractory": 2.0}),
    ):
        main(common + option)
        lines = capsys.readouterr().out.splitlines()
        hits = [vars(h) for h in KeywordDetector(tiny_path, **settings).listen(recording)]
        assert [json.loads(line) for line in lines] == hits


@pytest.mark.parametrize(
    "arguments",
    [
        ["listen", "--model", "gone.onnx", "--input", "x.wav"],
        ["listen", "--model", "README.md", "--input", "x.wav"],
        ["info", "nothing"],
        ["listen", "--model", "TINY", "--input", "gone.wav"],
        ["listen", "--model", "TINY", "--input", "TINY"],
        ["listen", "--model", "TINY", "--input", "."],
    ],
)
def test_bad_files_end_in_one_sentence_and_status_2(
    tiny_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_path) if a == "TINY" else a for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kwspot: ")
    assert len(err.splitlines()) == 1


def test_a_model_with_other_features_ends_in_one_sentence(tmp_path: Path) -> None:
    model = write_model(tmp_path / "wide.onnx", mels=80)
    done = kwspot("listen", "--model", model, "--input", "x.wav")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [["--threshold", "2"], ["--threshold", "x"], ["--refractory", "-1"], ["--vad", "x"]],
)
def test_options_out_of_range_are_refused_before_anything_is_read(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["listen", "--model", "alexa", *arguments])


def test_a_microphone_that_is_not_there_is_said() -> None:
    done = kwspot("listen", "--model", "alexa", "--device", "no such microphone")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert b"Traceback" not in done.stderr


def test_a_closed_pipe_is_no_error(tiny_path: Path, recording: Path) -> None:
    command = [*KWSPOT, "listen", "--model", str(tiny_path), "--input", str(recording), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_ctrl_c_ends_with_a_summary(tiny_path: Path) -> None:
    command = [*KWSPOT, "listen", "--model", str(tiny_path), "--input", "-", "--json"]
    command.remove("--json")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(as_int16(words(4.0, seed=1)).tobytes())
        process.stdin.flush()
        assert process.stdout is not None
        process.stdout.readline()  # it has heard something
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert b"s of audio, " in err
        assert b"Traceback" not in err


def test_the_meter_is_drawn_on_a_terminal_and_leaves_no_trace_in_the_output(
    tiny_path: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "short.wav"  # a terminal nobody reads holds about 4 kB
    soundfile.write(recording, as_int16(words(1.5, seed=1)), 16000)
    master, slave = os.openpty()
    command = [*KWSPOT, "listen", "--model", str(tiny_path), "--input", str(recording)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave) as process:
        out, _ = process.communicate(timeout=30)
    os.close(slave)
    drawn = os.read(master, 1 << 16).decode(errors="replace")
    os.close(master)
    assert "level" in drawn
    assert "\x1b" not in out.decode()


def test_the_demo_hears_the_keyword_three_times_at_the_right_times(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo"]) == 0
    out, _ = capsys.readouterr()
    ends = [float(line.split()[4]) for line in out.splitlines() if line.startswith("alexa")]
    truth = json.loads((Path(__file__).parent / "demo_truth.json").read_text())
    spoken = [item for item in truth if item["keyword"]]
    assert len(ends) == len(spoken) == 3
    for end, item in zip(ends, spoken, strict=True):
        assert item["start"] < end < item["end"] + 0.5
    assert "kwspot listen --model alexa" in out


def test_info_describes_a_model(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tiny_path)]) == 0
    out = capsys.readouterr().out
    assert "Apache-2.0" in out
    assert "threshold 0.600" in out
    assert main(["info", str(tiny_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    for command in (
        "listen",
        "demo",
        "record",
        "review",
        "calibrate",
        "eval",
        "bench",
        "info",
        "devices",
        "serve",
        "doctor",
        "train",
    ):
        assert command in out
    assert main([]) == 2
