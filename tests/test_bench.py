"""The bench measures and reports; how long anything takes is not tested."""

import json
import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import words
from tiny import INFO, write_model

import kwspot.stopwatch
from kwspot.bench import (
    Case,
    Cost,
    Engine,
    Result,
    Spread,
    benchmark,
    dump_report,
    parse_report,
)
from kwspot.cli import main
from kwspot.commands.bench import FIGURES, cells
from kwspot.comparison import compare
from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE
from kwspot.gate import Gate
from kwspot.scenes import SCENES, scene

SHORT = ["--seconds", "2", "--runs", "1"]


WARM = [figure for figure in FIGURES if figure != "cold_start_ms"]


def fake(script: str, threads: int = 1, **environment: str | None) -> Case:
    engine = Engine("fake", (sys.executable, "-c", script), dict(environment))
    return Case(engine, "speech", threads=threads)


def run_fake(script: str, threads: int = 1, **environment: str | None) -> Cost:
    (result,) = benchmark([fake(script, threads, **environment)], seconds=1, runs=1).results
    return result.runs[0]


def result(*cpu: float, **fields: object) -> Result:
    runs = tuple(Cost(80, value, 0.005, 400, 900, None, 60) for value in cpu)
    spread = Spread(sorted(cpu)[len(cpu) // 2], min(cpu), max(cpu))
    plain = {"name": "m", "audio": "home", "seconds": 60.0, "vad": "off", "threads": 1}
    summary = {"cpu_ms_per_s": spread}
    return Result(**plain | fields, summary=summary, runs=runs, cold_starts_ms=())


def printing(**figures: object) -> str:
    all_figures = {f.name: 1.0 for f in fields(Cost)} | figures
    return f"print({json.dumps(json.dumps(all_figures))})"


def test_every_figure_of_every_run_is_reported(tiny_path, tmp_path, capsys):
    output = tmp_path / "bench.json"
    model = ["--model", str(tiny_path)]
    arguments = [*model, *model, "--seconds", "2", "--runs", "2", "--vad", "off", "--json"]
    assert main(["bench", *arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert output.read_text() == printed
    report = parse_report(printed, "printed")
    assert [result.name for result in report.results] == [str(tiny_path)] * 2
    for result in report.results:
        assert (result.audio, result.seconds, result.vad) == ("home", 2.0, "off")
        assert set(result.summary) == set(WARM)
        assert len(result.runs) == 2
        for run in result.runs:
            assert all(0 < getattr(run, f.name) < math.inf for f in fields(Cost))
            assert run.chunk_ms == 80
            assert run.p50_us <= run.p99_us
        for name, spread in result.summary.items():
            assert spread.lowest == min(getattr(run, name) for run in result.runs)
            assert spread.lowest <= spread.median <= spread.highest
    machine = report.machine
    assert machine.cores > 0 and machine.cpu and machine.numpy == np.__version__


def test_models_are_measured_together_when_asked_for(tiny_path, tmp_path, capsys):
    other = write_model(tmp_path / "b.onnx", keywords=(replace(INFO.keywords[0], label="b"),))
    models = ["--model", str(tiny_path), "--model", str(other)]
    assert main(["bench", *models, *SHORT, "--together", "--vad", "off", "--json"]) == 0
    (result,) = parse_report(capsys.readouterr().out, "printed").results
    assert result.name == f"{tiny_path} + {other}"
    same = ["--model", str(tiny_path), "--model", str(tiny_path), "--together"]
    assert main(["bench", *same, *SHORT]) == 2
    assert "both hear 'tiny'" in capsys.readouterr().err


def test_the_table_says_what_was_measured(tiny_path, capsys):
    assert main(["bench", "--model", str(tiny_path), *SHORT]) == 0
    table = capsys.readouterr().out
    assert "home: 2 s of each minute 42 s of silence" in table
    assert table.count(str(tiny_path)) == 2  # gate off and on
    assert all(FIGURES[figure][0] in table for figure in WARM)


def test_sounds_gates_and_chunks_combine(tiny_path, capsys):
    options = ["--scene", "music", "--scene", "silence", "--chunk", "10", "--chunk", "100"]
    arguments = ["--model", str(tiny_path), *SHORT, *options, "--vad", "off", "--json"]
    assert main(["bench", *arguments]) == 0
    results = parse_report(capsys.readouterr().out, "printed").results
    combined = [(r.audio, r.chunk_ms) for r in results]
    assert combined == [("music", 10), ("music", 100), ("silence", 10), ("silence", 100)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot drop files")
def test_cold_starts_are_measured_when_asked_for(tiny_path, capsys):
    arguments = ["--model", str(tiny_path), *SHORT, "--vad", "off", "--cold", "--json"]
    assert main(["bench", *arguments]) == 0
    (result,) = parse_report(capsys.readouterr().out, "printed").results
    assert result.summary["cold_start_ms"].median == result.cold_starts_ms[0] > 0


def test_a_recording_is_heard_to_its_end_and_named_without_its_folder(tiny_path, tmp_path, capsys):
    recording = tmp_path / "talk.wav"
    soundfile.write(recording, words(1.0, seed=3), SAMPLE_RATE)
    arguments = ["--model", str(tiny_path), *SHORT, "--input", str(recording), "--json"]
    assert main(["bench", *arguments, "--vad", "webrtc"]) == 0
    report = parse_report(capsys.readouterr().out, "printed")
    (result,) = report.results
    assert (result.audio, result.seconds, result.vad) == ("talk.wav", 1.0, "webrtc")


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
        (["--plot", "nowhere/bench.png"], "kwspot: cannot write nowhere/bench.png: "),
        (["--output", "."], "kwspot: cannot write .: it is a folder"),
        (["--compare", "no.json", "no.json"], "kwspot: cannot read no.json: "),
        (["--seconds", "0.01"], "kwspot: the audio is shorter than one chunk of 0.08 s"),
    ],
)
def test_what_cannot_be_measured_ends_with_one_sentence(tiny_path, capsys, arguments, sentence):
    assert main(["bench", "--model", str(tiny_path), *SHORT, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(sentence) and captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    "option",
    [["--seconds", "nan"], ["--seconds", "x"], ["--runs", "0"], ["--chunk", "0.03"]],
)
def test_impossible_options_are_refused(option, capsys):
    with pytest.raises(SystemExit) as end:
        main(["bench", "--model", "tiny", *option])
    assert end.value.code == 2
    assert f"{option[1]!r} is no" in capsys.readouterr().err


def test_cases_take_turns_on_the_same_audio(tmp_path):
    log = tmp_path / "log"
    script = "import sys; open({!r}, 'a').write({!r} + open(sys.argv[1], 'rb').read(64).hex()); "
    cases = [fake(script.format(str(log), f"\n{name} ") + printing()) for name in "ab"]
    benchmark(cases, seconds=0.1, runs=2)
    names, audio = zip(*(line.split() for line in log.read_text().split("\n")[1:]), strict=True)
    assert names == ("a", "b", "a", "b")
    assert len(set(audio)) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_engine_gets_its_threads_and_its_own_environment(monkeypatch, threads):
    monkeypatch.setenv("REMOVED", "1")
    script = f"import os; assert os.environ['OMP_NUM_THREADS'] == '{threads}'; "
    script += "assert 'REMOVED' not in os.environ; "
    assert run_fake(script + printing(rtf=2.0), threads, REMOVED=None).rtf == 2.0


def test_an_engine_starts_from_compiled_modules(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    script = "import sys; assert not sys.dont_write_bytecode; "
    assert run_fake(script + printing(rtf=2.0)).rtf == 2.0


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


def seconds_of(name: str, count: int) -> np.ndarray:
    return np.concatenate([block for block, _ in zip(scene(name), range(count), strict=False)])


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_is_always_the_same(name):
    first, again = seconds_of(name, 60), seconds_of(name, 60)
    assert first.tobytes() == again.tobytes()
    assert first.dtype == np.float32 and np.abs(first).max() < 1


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("silence", 0.0, 0.15),  # until the detector has learned the noise
        ("speech", 0.5, 0.75),  # talk is half of it, and the gate closes a second late
        ("music", 0.9, 1.0),
        ("home", 0.2, 0.45),
    ],
)
def test_scenes_open_the_gate_as_often_as_they_should(name, least, most):
    gate = Gate("webrtc", 1280)
    steps = seconds_of(name, 60).reshape(-1, 1280)
    assert least <= np.mean([gate.hear(step) for step in steps]) <= most


def test_cells_show_the_range_only_if_there_is_one():
    figures = ["cpu_ms_per_s", "start_ms"]
    assert cells(result(5.0), figures) == ["5.00", "-"]
    assert cells(result(4.0, 5.0, 6.123), figures) == ["5.00 (4.00-6.12)", "-"]


def report(tmp_path: Path, name: str, *results: Result) -> Path:
    path = tmp_path / name
    fake_report = benchmark([fake(printing())], seconds=0.1, runs=1)
    path.write_text(dump_report(replace(fake_report, results=results)))
    return path


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((5.0, 5.1, 5.2, 5.3), (4.0, 4.1, 4.2, 4.3), "less"),
        ((5.0, 5.1, 5.2, 5.3), (6.0, 6.1, 6.2, 6.3), "more"),
        ((5.0, 5.1, 5.2, 5.3), (4.0, 4.1, 4.2, 5.0), "noise"),
        ((5.0, 5.1, 5.2), (4.0, 4.1, 4.2), "too few runs"),  # 1 of 10 by chance
    ],
)
def test_what_changed_is_told_from_noise(tmp_path, capsys, before, after, verdict):
    paths = [report(tmp_path, f"{i}.json", result(*cpu)) for i, cpu in enumerate((before, after))]
    (change,) = compare(*(parse_report(path.read_text(), "there") for path in paths))
    assert change.verdict == verdict
    assert main(["bench", "--compare", *map(str, paths)]) == 0
    printed = capsys.readouterr().out
    assert f"{change.percent:+.1f} %  {verdict}\n" in printed
    assert "m, home, gate off, 80 ms, threads 1" in printed


def test_reports_without_a_common_case_are_not_compared(tmp_path, capsys):
    one, other = result(5.0), result(5.0, vad="webrtc")
    paths = [report(tmp_path, f"{i}.json", r) for i, r in enumerate((one, other))]
    assert main(["bench", "--compare", *map(str, paths)]) == 2
    assert capsys.readouterr().err.startswith("kwspot: the reports have no case in common")


def test_a_plot_is_drawn_and_a_missing_matplotlib_is_said(tiny_path, tmp_path, capsys, monkeypatch):
    path = tmp_path / "bench.png"
    arguments = ["bench", "--model", str(tiny_path), *SHORT, "--vad", "off", "--plot", str(path)]
    assert main(arguments) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err == "kwspot: plots need matplotlib: pip install 'kwspot[plot]'\n"


def test_reports_survive_the_way_through_json_and_nothing_else_does():
    full = benchmark([fake(printing(start_ms=None))], seconds=0.1, runs=1)
    assert parse_report(dump_report(full), "there") == full
    with pytest.raises(KwspotError, match=r"^there is not JSON"):
        parse_report("no", "there")
    with pytest.raises(KwspotError, match=r"^there: the setting 'machine' is missing"):
        parse_report("{}", "there")
