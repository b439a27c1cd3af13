"""Each thing that may be wrong with a machine is found, and said with what to do."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from sound import as_int16, words
from test_microphone import BLOCK, FakePortAudio
from tiny import write_model

from kwspot import KeywordDetector, doctor, microphone
from kwspot.cli import main
from kwspot.doctor import FAIL, OK, WARN, Finding
from kwspot.model import OnnxModel
from kwspot.selftest import record

SPEECH = as_int16(words(3.0, seed=1))


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    plain = OnnxModel(write_model(folder / "plain.onnx"))
    return write_model(folder / "golden.onnx", self_test=record(plain, 1e-3))


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakePortAudio]:
    monkeypatch.setattr(doctor, "STALL_SECONDS", 0.05)
    monkeypatch.setattr(microphone, "STALL_SECONDS", 0.01)
    monkeypatch.setattr(microphone, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(doctor, "RECORD_SECONDS", 1.0)
    clock = itertools.count()
    monkeypatch.setattr(doctor, "perf_counter", lambda: next(clock) / 1000)

    def plugged(*names: str, hears: np.ndarray = SPEECH) -> FakePortAudio:
        portaudio = FakePortAudio(*names)
        portaudio.spoken_at_start = list(hears[: len(hears) // BLOCK * BLOCK].reshape(-1, BLOCK))
        monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
        return portaudio

    return plugged


def states(findings: list[Finding]) -> dict[str, str]:
    assert all(bool(found.advice) == (found.state != OK) for found in findings)
    return {found.subject: found.state for found in findings}


def test_a_healthy_machine_passes_every_check(
    plug: Callable[..., FakePortAudio], golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plug("USB")
    assert main(["doctor", "--model", str(golden)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert all(line.startswith("ok ") for line in lines[:-1]), out
    for subject in ("ONNX Runtime", "model", "speed", "gate", "microphone", "clipping", "level"):
        assert any(line.startswith(f"ok    {subject}") for line in lines), subject
    assert lines[-1].endswith("warnings 0, failures 0") and "speak" in err


def test_a_failure_is_status_1_with_advice_below_it(
    plug: Callable[..., FakePortAudio], golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plug("USB", hears=np.zeros(32_000, np.int16))
    assert main(["doctor", "--model", str(golden)]) == 1
    out = capsys.readouterr().out
    assert "fail  silence: nothing but digital silence\n      -> is it muted" in out
    assert "warnings 0, failures 1" in out


def test_microphones_that_are_missing_busy_or_stall_fail(
    plug: Callable[..., FakePortAudio],
) -> None:
    plug()
    (found,) = doctor.microphone(None)
    assert found.state == FAIL and "no microphone was found" in found.text
    plug("USB").busy = True
    (found,) = doctor.microphone(None)
    assert found.state == FAIL and "cannot open" in found.text
    (found,) = doctor.microphone("another")
    assert found.state == FAIL and "no microphone matches 'another'" in found.text
    plug("USB", hears=SPEECH[: 5 * BLOCK]).plugged = []
    assert states(list(doctor.microphone(None))) == {"microphone": OK, "recording": FAIL}


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (words(2.0, seed=1), {"clipping": OK, "level": OK}),
        (np.clip(words(2.0, seed=1) * 50, -1, 1), {"clipping": WARN, "level": OK}),
        (words(2.0, seed=1) / 100, {"clipping": OK, "level": WARN}),
        (words(0.05, seed=1), {"clipping": OK, "level": OK}),
        (np.zeros(16_000), {"silence": FAIL}),
        (np.full(16_000, 0.2), {"silence": FAIL}),
    ],
    ids=["speech", "clipped", "faint", "short", "silent", "constant"],
)
def test_levels_are_judged(samples: np.ndarray, expected: dict[str, str]) -> None:
    assert states(list(doctor.levels(samples.astype(np.float32)))) == expected


def test_a_recording_stands_in_for_the_microphone(tmp_path: Path) -> None:
    path = tmp_path / "me.wav"
    soundfile.write(path, SPEECH, 16_000)
    assert states(list(doctor.recording(str(path))))["recording"] == OK
    soundfile.write(path, SPEECH, 8_000)
    assert states(list(doctor.recording(str(path))))["recording"] == WARN
    assert states(list(doctor.recording(str(tmp_path / "gone.wav")))) == {"recording": FAIL}


@pytest.mark.parametrize(
    ("version", "machine", "state"),
    [("1.27.0", "aarch64", FAIL), ("1.27.0", "x86_64", OK), ("1.30.0", "aarch64", OK)],
)
def test_an_onnxruntime_that_is_known_to_be_wrong_fails(
    monkeypatch: pytest.MonkeyPatch, version: str, machine: str, state: str
) -> None:
    fake = ModuleType("onnxruntime")
    fake.__version__ = version
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setattr(doctor.platform, "machine", lambda: machine)
    assert states(list(doctor.runtimes()))["ONNX Runtime"] == state


def test_missing_runtimes_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    assert states(list(doctor.runtimes())) == {"ONNX Runtime": FAIL, "LiteRT": OK}


def test_models_that_are_missing_untested_or_computed_wrongly_fail(
    golden: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nobody", str(tiny_path)):
        (found,) = doctor.model(name)
        assert found.state == FAIL and found.advice
    right = OnnxModel.step
    monkeypatch.setattr(OnnxModel, "step", lambda *a: (right(*a)[0] + 0.5, right(*a)[1]))
    assert next(doctor.model(str(golden))).state == FAIL


def test_a_damaged_verifier_fails_and_ends_no_other_check(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "golden.onnx"
    path.write_bytes(golden.read_bytes())
    (tmp_path / "golden.verifier.npy").write_bytes(b"junk")
    (found,) = doctor.model(str(path))
    assert found.state == FAIL and "is no verifier" in found.text
    assert main(["info", str(path), "--check"]) == 2
    assert "golden.verifier.npy is no verifier" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "state"), [(0.001, OK), (0.07, WARN), (0.09, FAIL)])
def test_speed_is_held_against_the_length_of_a_step(
    tiny_model: OnnxModel, monkeypatch: pytest.MonkeyPatch, seconds: float, state: str
) -> None:
    ticks = iter(np.arange(1000) * seconds)
    monkeypatch.setattr(doctor, "perf_counter", lambda: next(ticks))
    assert doctor.speed("tiny", KeywordDetector(tiny_model)).state == state


def test_a_gate_that_fails_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.gate().state == OK
    for answer, state in ((False, FAIL), (True, WARN)):
        with monkeypatch.context() as patch:
            patch.setattr(doctor.Gate, "hear", lambda self, step, answer=answer: answer)
            assert doctor.gate().state == state
    monkeypatch.setitem(sys.modules, "_webrtcvad", None)
    assert doctor.gate().state == FAIL
