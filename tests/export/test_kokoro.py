"""The Kokoro engine against a stand-in for its model: what is asked of it."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from kwspot_export.accents import REGIONS, pronounce, region_of
from kwspot_export.engines import SpeechError, held_out, open_engine
from kwspot_export.engines.kokoro import Kokoro

NAMES = [f"v{n}" for n in range(16)]
SPOKEN = {"en-us": "kəmpjˈuːɾɚ", "en-gb": "kəmpjˈuːtə", "en-029": "kəmpjˈuːta"}


class Model:
    """Notes what it is asked to say and hums."""

    def __init__(self) -> None:
        self.voices = {name: np.full((3, 1, 256), n, np.float32) for n, name in enumerate(NAMES)}
        self.tokenizer = SimpleNamespace(phonemize=lambda text, region: SPOKEN[region])
        self.asked: list[tuple[str, float, float, float]] = []

    def create(self, sounds, style, speed, is_phonemes):
        assert is_phonemes and style.shape == (3, 1, 256)
        if sounds == "?":
            raise ValueError("no phonemes")
        self.asked.append((sounds, float(style[0, 0, 0]), float(style[0, 0, 255]), speed))
        return np.full(24_000, 0.5, np.float32), 24_000


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kokoro:
    module = ModuleType("kokoro_onnx")
    threads = []

    def session(path, options, providers):
        threads.append(options.intra_op_num_threads)
        return path

    module.Kokoro = SimpleNamespace(from_session=lambda model, voices: Model())
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    module.__spec__ = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "kokoro_onnx", module)
    (tmp_path / "kokoro.onnx").touch()
    (tmp_path / "voices.bin").touch()
    opened = open_engine(str(tmp_path))
    assert threads == [1]
    return opened


def asked(engine: Kokoro) -> tuple[str, float, float, float]:
    return engine._kokoro.asked[-1]


@pytest.mark.parametrize("accent", ["en-us", "en-gb", "en-gb#3", "en-029#4711"])
def test_a_voice_has_an_accent(engine: Kokoro, accent: str) -> None:
    samples = engine.say("computer", f"v1@0.9/{accent}")
    assert len(samples) == 16_000
    assert asked(engine) == (pronounce(SPOKEN[region_of(accent)], accent), 1, 1, 0.9)


def test_ipa_is_said_with_the_accent_too(engine: Kokoro) -> None:
    engine.say("/θˈɪn/!", "v1@1/en-us")
    assert asked(engine)[0] == "θˈɪn!"
    engine.say("/θˈɪn/", "v1@1/en-us#7")
    assert asked(engine)[0] == pronounce("θˈɪn", "en-us#7")


def test_mixed_and_crossed_voices(engine: Kokoro) -> None:
    engine.say("computer", "mix:v2*0.5+v4*0.5@1/en-us")
    assert asked(engine)[1:3] == (3, 3)
    engine.say("computer", "swap:v2+v4@1/en-us")
    assert asked(engine)[1:3] == (2, 4)


@pytest.mark.parametrize("role", ["train", "validation"])
def test_drawn_voices_can_speak_and_keep_to_their_role(engine: Kokoro, role: str) -> None:
    rng = np.random.default_rng(0)
    voices = [engine.draw(role, rng) for _ in range(100)]
    for voice in voices:
        engine.say("computer", voice)
    assert {region_of(voice.rpartition("/")[2]) for voice in voices} == set(REGIONS)
    drawn = {name for voice in voices for name in re.findall(r"v\d+", voice.partition("@")[0])}
    assert drawn == set(held_out(sorted(NAMES), role))


def test_what_cannot_be_said_is_told(engine: Kokoro) -> None:
    engine._kokoro.tokenizer.phonemize = lambda text, region: "?"
    with pytest.raises(SpeechError, match="cannot say 'xyzzy'"):
        engine.say("xyzzy", "v1@1/en-us")
