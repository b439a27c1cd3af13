"""The bench measures and reports; how long anything takes is not tested."""

import json
import math
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import words

import kwspot.stopwatch
from kwspot.bench import (
    SYNTHETIC,
    Cost,
    Engine,
    Result,
    Spread,
    benchmark,
    dump_report,
    parse_report,
    synthetic_speech,
)
from kwspot.cli import main
from kwspot.commands.bench import FIGURES, cells
from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE
from kwspot.gate import Gate

SHORT = ["--seconds", "2", "--runs", "1"]


def engine(script: str, **environment: str | None) -> Engine:
    return Engine("fake", (sys.executable, "-c", script), dict(environment))


def run_fake(script: str, **environment: str | None) -> Cost:
    fake = engine(script, **environment)
    (result,) = benchmark([fake], audio=None, seconds=1, vad="off", runs=1).results
    return result.runs[0]


def printing(**figures: object) -> str:
    all_figures = {f.name: 1.0 for f in fields(Cost)} | figures
    return f"print({json.dumps(json.dumps(all_figures))})"


def test_every_figure_of_every_run_is_reported(tiny_path, tmp_path, capsys):
    output = tmp_path / "bench.json"
    model = ["--model", str(tiny_path)]
    arguments = [*model, *model, "--seconds", "2", "--runs", "2", "--json"]
    assert main(["bench", *arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert output.read_text() == printed
    report = parse_report(printed, "printed")
    assert (report.audio, report.seconds, report.vad) == (SYNTHETIC, 2.0, "off")
    assert [result.name for result in report.results] == [str(tiny_path)] * 2
    for result in report.results:
        assert set(result.summary) == set(FIGURES)
        assert len(result.runs) == 2
        for run in result.runs:
            assert all(0 < getattr(run, f.name) < math.inf for f in fields(Cost))
            assert run.step_ms == 80
            assert run.p50_us <= run.p99_us
        for name, spread in result.summary.items():
            assert spread.lowest == min(getattr(run, name) for run in result.runs)
            assert spread.lowest <= spread.median <= spread.highest
    machine = report.machine
    assert machine.cores > 0 and machine.cpu and machine.numpy == np.__version__


def test_the_table_says_what_was_measured(tiny_path, capsys):
    assert main(["bench", "--model", str(tiny_path), *SHORT]) == 0
    table = capsys.readouterr().out
    assert "2 s of synthetic speech" in table
    assert "gate off, so every step is heard" in table
    assert all(title in table for title, _ in FIGURES.values())


def test_a_recording_is_heard_to_its_end_and_named_without_its_folder(tiny_path, tmp_path, capsys):
    recording = tmp_path / "talk.wav"
    soundfile.write(recording, words(1.0, seed=3), SAMPLE_RATE)
    arguments = ["--model", str(tiny_path), *SHORT, "--input", str(recording), "--json"]
    assert main(["bench", *arguments, "--vad", "webrtc"]) == 0
    report = parse_report(capsys.readouterr().out, "printed")
    assert (report.audio, report.seconds, report.vad) == ("talk.wav", 1.0, "webrtc")


def test_silence_behind_a_gate_has_no_first_score(tiny_path, tmp_path, capsys):
    recording = tmp_path / "silence.wav"
    soundfile.write(recording, np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    arguments = ["--model", str(tiny_path), *SHORT, "--input", str(recording), "--json"]
    assert main(["bench", *arguments, "--vad", "energy"]) == 0
    (result,) = parse_report(capsys.readouterr().out, "printed").results
    assert result.runs[0].start_ms is None
    assert "start_ms" not in result.summary and result.summary["cpu_ms_per_s"].median > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "nowhere/no.onnx"], "kwspot: there is no model file nowhere/no.onnx"),
        (["--input", "no.wav"], "kwspot: cannot read no.wav: "),
        (["--output", "nowhere/bench.json"], "kwspot: cannot write nowhere/bench.json: "),
        (["--seconds", "0.01"], "kwspot: the audio is shorter than one step of 0.08 s"),
    ],
)
def test_what_cannot_be_measured_ends_with_one_sentence(tiny_path, capsys, arguments, sentence):
    assert main(["bench", "--model", str(tiny_path), *SHORT, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(sentence) and captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("option", [["--seconds", "nan"], ["--seconds", "x"], ["--runs", "0"]])
def test_impossible_options_are_refused(option, capsys):
    with pytest.raises(SystemExit) as end:
        main(["bench", "--model", "tiny", *option])
    assert end.value.code == 2
    assert f"{option[1]!r} is no" in capsys.readouterr().err


def test_engines_take_turns_on_the_same_audio(tmp_path):
    log = tmp_path / "log"
    script = "import sys; open({!r}, 'a').write({!r} + open(sys.argv[1], 'rb').read(64).hex()); "
    engines = [engine(script.format(str(log), f"\n{name} ") + printing()) for name in "ab"]
    benchmark(engines, audio=None, seconds=0.1, vad="off", runs=2)
    names, audio = zip(*(line.split() for line in log.read_text().split("\n")[1:]), strict=True)
    assert names == ("a", "b", "a", "b")
    assert len(set(audio)) == 1


def test_an_engine_gets_one_thread_and_its_own_environment(monkeypatch):
    monkeypatch.setenv("REMOVED", "1")
    script = "import os; assert os.environ['OMP_NUM_THREADS'] == '1'; assert 'REMOVED' not in "
    assert run_fake(script + "os.environ; " + printing(rtf=2.0), REMOVED=None).rtf == 2.0


def test_a_crash_is_told_from_a_refusal():
    with pytest.raises(RuntimeError, match=r"fake ended with 1:\n(.*\n)*ZeroDivisionError"):
        run_fake("1 / 0")
    with pytest.raises(KwspotError, match=r"^too old$"):
        run_fake("import sys; print('too old', file=sys.stderr); sys.exit(2)")


def test_peak_memory_is_not_that_of_a_large_parent(tiny_path):
    script = "import kwspot.stopwatch as s; print(s._peak_rss_mib())"
    ballast = np.ones(50_000_000)  # 381 MiB, which ru_maxrss would hand on
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 0 < float(done.stdout) < 200 < ballast.nbytes / 2**20


def test_the_stopwatch_needs_the_standard_library_only():
    """Peers load it in environments without kwspot and numpy."""
    path = kwspot.stopwatch.__file__
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({path!r})"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_synthetic_speech_is_always_the_same_and_closes_the_gate_in_its_pauses():
    first, again = (
        np.concatenate([block for block, _ in zip(synthetic_speech(), range(16), strict=False)])
        for _ in range(2)
    )
    assert first.tobytes() == again.tobytes()
    assert first.dtype == np.float32 and np.abs(first).max() < 1
    for vad in ("webrtc", "energy"):
        gate = Gate(vad, 1280)
        heard = np.mean([gate.hear(step) for step in first.reshape(-1, 1280)])
        assert 0.5 < heard < 0.75, vad  # talk is half of it, and the gate closes a second late


def test_cells_show_the_range_only_if_there_is_one():
    cost = Cost(80, 5.0, 0.005, 400, 900, None, 60)
    summary = {"cpu_ms_per_s": Spread(5.0, 4.0, 6.123), "p50_us": Spread(400.4, 399.6, 401)}
    assert cells(Result("m", summary, (cost,))) == ["5.00", "-", "400", "-", "-", "-"]
    assert cells(Result("m", summary, (cost, cost)))[0] == "5.00 (4.00-6.12)"


def test_reports_survive_the_way_through_json_and_nothing_else_does():
    fake = engine(printing(start_ms=None))
    report = benchmark([fake], audio=None, seconds=0.1, vad="off", runs=1)
    assert parse_report(dump_report(report), "there") == report
    with pytest.raises(KwspotError, match=r"^there is not JSON"):
        parse_report("no", "there")
    with pytest.raises(KwspotError, match=r"^there: the setting 'machine' is missing"):
        parse_report("{}", "there")


def test_every_adapter_in_the_folder_belongs_to_a_peer():
    folder = Path(__file__).parents[1] / "benchmarks" / "peers"
    text = (folder / "run.py").read_text()
    for adapter in folder.glob("*.py"):
        assert adapter.name == "run.py" or f'"{adapter.name}"' in text
