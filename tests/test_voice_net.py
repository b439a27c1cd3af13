from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import TONES, VOICE, redescribe, write_model, write_voice_net

from kwspot import ModelError, load_model
from kwspot.cli import main
from kwspot.loader import VOICE_NET, models_folder, shipped_models
from kwspot.voice_net import VoiceNet, installed_voice_net
from kwspot.voices import unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_voice_net(tmp_path / "tones.onnx")


def test_a_voice_net_maps_frames_to_an_embedding(path: Path) -> None:
    net = VoiceNet(path)
    features = np.zeros((net.info.frames, 40), np.float32)
    features[:, :10] = 1  # the lowest quarter alone
    np.testing.assert_allclose(net(features), [7.5, -2.5, -2.5, -2.5])
    assert net.runtime.startswith("ONNX Runtime ")


def test_the_self_test_tells_whether_the_net_is_computed_rightly(path: Path) -> None:
    answer = VoiceNet(path).answer()
    assert np.linalg.norm(answer) == pytest.approx(1)
    right = VoiceNet(write_voice_net(path, self_test=tuple(map(float, answer))))
    assert right.judge().right and right.judge().difference < 1e-6
    for wrong in (tuple(-answer), tuple(answer[::-1]), (), (1.0,) * (TONES + 1)):
        net = VoiceNet(write_voice_net(path, self_test=tuple(map(float, wrong))))
        assert not net.judge().right


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "is no net that tells voices apart"),
        ("{", "is not JSON"),
        ("[]", "does not read"),
        ('{"format": 2}', "does not read"),
        ({"frames": 99}, "its metadata says"),
        ({"embedding": 3}, "its metadata says"),
        ({"colour": "red"}, "unknown setting 'colour'"),
        ({"strangers": "@"}, "its strangers are not base64"),
        ({"voice": {**VOICE.__dict__, "threshold": 1.5}}, "its metadata says"),
    ],
)
def test_files_that_are_no_voice_net_are_refused(
    text: str | dict[str, object] | None, reason: str, path: Path
) -> None:
    redescribe(path, text)
    with pytest.raises(ModelError, match=reason) as error:
        VoiceNet(path)
    assert "\n" not in str(error.value) and path.name in str(error.value)


def test_a_voice_net_is_no_keyword_model_and_the_reverse(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="without kwspot metadata"):
        load_model(path)
    with pytest.raises(ModelError, match="is no net that tells voices apart"):
        VoiceNet(write_model(tmp_path / "word.onnx"))


def test_the_installed_net_is_right_and_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    net = installed_voice_net()
    assert net is installed_voice_net() and net.path == models_folder() / VOICE_NET
    assert net.judge().right
    assert net.path.stem not in shipped_models()
    assert net.info.provenance.licence == "Apache-2.0"
    assert main(["info", "--check"]) == 0
    assert f"{net.info.name}: ok" in capsys.readouterr().out


def test_a_check_that_fails_for_the_installed_net_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = VoiceNet(path)
    wrong.info = replace(wrong.info, self_test=(1.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr("kwspot.commands.info.installed_voice_net", lambda: wrong)
    assert main(["info", "--check"]) == 1
    assert "tones: WRONG" in capsys.readouterr().out


def test_level_and_direction_are_apart(path: Path) -> None:
    features = np.random.default_rng(0).random((100, 40)).astype(np.float32)
    net = VoiceNet(path)
    np.testing.assert_allclose(unit(net(features)), unit(net(2 * features)), atol=1e-6)
