import json
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import voice
from tiny import VOICE, write_model

from kwspot import KeywordDetector, VoiceError, load_model
from kwspot.cli import main
from kwspot.enrolment import Enrolment, Utterance, likenesses
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.likeness import Likeness
from kwspot.model import Model
from kwspot.voices import read_profile, sha256_of, unit


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("voice") / "voice.onnx", tells_voices=True)


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return load_model(path)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Five clips of a dark voice."""
    folder = tmp_path / "ana"
    folder.mkdir()
    for number in range(5):
        soundfile.write(folder / f"{number}.wav", voice(False, number), SAMPLE_RATE)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "kwspot" / "voices"


def enroll(*arguments: object) -> int:
    return main(["enroll", *map(str, arguments)])


def test_a_profile_is_the_mean_of_what_listening_would_compare(model: Model) -> None:
    enrolment = Enrolment(model, "loud")
    heard = [enrolment.hear(str(seed), voice(False, seed)) for seed in range(5)]
    profile, judged = enrolment.profile(heard)
    assert judged == heard
    assert (profile.model, profile.sha256) == (model.path.name, sha256_of(model))
    assert (profile.clips, profile.threshold) == (5, VOICE.threshold)
    mean = unit(np.mean([unit(utterance.embedding) for utterance in heard], axis=0))
    np.testing.assert_allclose(profile.direction, mean, atol=1e-6)
    detector, asked = KeywordDetector(model, vad="off"), []
    detector.recognise(lambda number, embedding: (asked.append(embedding), None))
    before = np.zeros(model.info.receptive_field * 160, np.float32)
    list(detector.listen(np.concatenate([before, voice(False, 0)])))
    np.testing.assert_array_equal(asked[0], heard[0].embedding)


def clipped(samples: FloatArray) -> FloatArray:
    return np.clip(10 * samples, -1, 1)


@pytest.mark.parametrize(
    ("samples", "fault"),
    [
        (np.zeros(16_000, np.float32), "silent or too quiet"),
        (voice(False, 9, level=0.001), "silent or too quiet (-60 dBFS)"),
        (clipped(voice(False, 9)), "clipped"),
        (voice(False, 9, seconds=0.1), "'loud' was not heard in it"),
    ],
)
def test_clips_that_tell_nothing_are_named(samples: FloatArray, fault: str, model: Model) -> None:
    utterance = Enrolment(model, "loud").hear("clip", samples)
    assert utterance.embedding is None
    assert fault in str(utterance.fault)


def test_of_several_detections_in_a_clip_the_first_counts(model: Model) -> None:
    pause = np.zeros(16_000, np.float32)
    first, second = voice(False, 1), voice(True, 1)
    heard = Enrolment(model, "loud").hear("both", np.concatenate([first, pause, second])).embedding
    alone = Enrolment(model, "loud").hear("first", first).embedding
    np.testing.assert_array_equal(heard, alone)


@pytest.mark.parametrize("odd", range(5))
def test_one_of_another_voice_is_left_out_and_said(odd: int, model: Model) -> None:
    enrolment = Enrolment(model, "loud")
    heard = [enrolment.hear(f"clip {i}", voice(i == odd, i)) for i in range(5)]
    profile, judged = enrolment.profile(heard)
    assert profile.clips == 4
    assert [i for i, utterance in enumerate(judged) if utterance.fault] == [odd]
    assert "not like the others" in str(judged[odd].fault)
    alone, _ = enrolment.profile([u for i, u in enumerate(heard) if i != odd])
    assert profile == alone


@pytest.mark.parametrize("bright", [(), (0,), (0, 1)])
def test_fewer_than_three_that_agree_are_refused(bright: tuple[int, ...], model: Model) -> None:
    enrolment = Enrolment(model, "loud")
    count = 2 if not bright else 2 + len(bright)
    heard = [enrolment.hear(f"clip {i}", voice(i in bright, i)) for i in range(count)]
    with pytest.raises(VoiceError, match=rf"of {count} clips can be used, 3 are needed") as error:
        enrolment.profile(heard)
    assert "\n" not in str(error.value)


def test_the_likeness_of_a_clip_is_to_the_others_alone() -> None:
    one, other = np.array([1.0, 0.0], np.float32), np.array([0.0, 2.0], np.float32)
    assert likenesses([one, one, other], Likeness()) == pytest.approx([0.5**0.5, 0.5**0.5, 0.0])
    assert Utterance("clip", one).fault is None


def test_the_command_enrolls_lists_and_deletes(
    path: Path, recordings: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(recordings / "odd.wav", voice(True, 1), SAMPLE_RATE)
    soundfile.write(recordings / "quiet.wav", voice(False, 1, level=1e-3), SAMPLE_RATE)
    assert enroll("ana", "--model", path, "--recordings", recordings) == 0
    said = capsys.readouterr().out
    assert "left out odd.wav: not like the others" in said
    assert "left out quiet.wav: silent or too quiet" in said
    assert "5 of 7 clips agree" in said and str(home / "ana.json") in said
    assert stat.S_IMODE((home / "ana.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert enroll("--list") == 0
    assert capsys.readouterr().out.startswith("ana          voice.onnx, 5 clips")
    assert enroll("--delete", "ana") == 0
    assert not any(home.iterdir())
    assert enroll("--list") == 0
    assert enroll("--delete", "ana") == 2
    assert "'ana' is not enrolled" in capsys.readouterr().err


def test_enrolled_voices_are_printed_and_others_are_not_heard(
    path: Path, recordings: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    for place in ([], ["--profiles", elsewhere]):
        assert enroll("ana", "--model", path, "--recordings", recordings, *place) == 0
    pause = np.zeros(16_000, np.float32)
    stream = np.concatenate([pause, voice(False, 50), pause, voice(True, 50), pause])
    soundfile.write(tmp_path / "both.wav", stream, SAMPLE_RATE)
    listen = ["listen", "--model", str(path), "--input", str(tmp_path / "both.wav")]
    capsys.readouterr()
    for options in (["--profiles"], ["--profiles", str(elsewhere)]):
        assert main([*listen, *options]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.split()[-2] == "ana" and "unknown voice" in second
    assert main([*listen, "--only", "ana", "--json"]) == 0
    (hit,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert hit["speaker"] == "ana" and hit["speaker_score"] >= VOICE.threshold
    assert main([*listen, "--json"]) == 0
    assert {json.loads(line)["speaker"] for line in capsys.readouterr().out.splitlines()} == {None}
    assert main([*listen, "--only", "eve"]) == 2
    assert "'eve' is not enrolled" in capsys.readouterr().err


def test_the_microphone_takes_five_clips_and_asks_again(
    path: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    said = [voice(False, 0), clipped(voice(False, 9)), *(voice(False, i) for i in range(1, 5))]
    parts = [np.concatenate([np.zeros(24_000, np.float32), part]) for part in said]
    stream = np.concatenate([*parts, np.zeros(24_000, np.float32)])
    stream += rng.normal(0, 1e-4, len(stream)).astype(np.float32)
    soundfile.write(tmp_path / "session.wav", stream, SAMPLE_RATE)
    assert enroll("ana", "--model", path, "--input", tmp_path / "session.wav") == 0
    out, err = capsys.readouterr()
    assert out.count("good:") == 5 and out.count("again, please: too loud") == 1
    assert "1 of 5: say «loud»" in err
    assert read_profile("ana", home).clips == 5
    soundfile.write(tmp_path / "short.wav", stream[: len(stream) // 2], SAMPLE_RATE)
    assert enroll("ben", "--model", path, "--input", tmp_path / "short.wav") == 1
    assert "of 5 clips" in capsys.readouterr().err
    assert [file.name for file in home.iterdir()] == ["ana.json"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ana"], "name the model"),
        ([], "name the voice"),
        (["--delete"], "name the voice"),
        (["../ana", "--model", "{model}"], "is no name for a voice"),
        (["ana", "--model", "{model}", "--keyword", "hey"], "no keyword 'hey'"),
        (["ana", "--model", "{model}", "--recordings", "gone"], "cannot read gone"),
        (["ana", "--model", "{model}", "--recordings", "empty"], "holds no recordings"),
        (["ana", "--model", "{model}", "--recordings", "few"], "2 of 2 clips can be used, 3 are"),
    ],
)
def test_what_cannot_be_enrolled_ends_in_one_sentence(
    arguments: list[str],
    reason: str,
    path: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "few"):
        Path(folder).mkdir()
    for number in range(2):
        soundfile.write(f"few/{number}.wav", voice(False, number), SAMPLE_RATE)
    assert enroll(*(argument.format(model=path) for argument in arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert len(err.splitlines()) == 1
    assert not home.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tells_voices": True}, "told apart by model.onnx, 4 numbers, threshold 0.950"),
        ({}, "told apart by voice-net.onnx, "),
    ],
)
def test_info_says_what_tells_voices_apart_and_how_well(
    changes: dict[str, object],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_model(tmp_path / "model.onnx", **changes)
    assert main(["info", str(path)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("  voices")]
    assert said in line
    assert "no security" in line
