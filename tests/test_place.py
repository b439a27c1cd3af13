import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import words
from tiny import INFO, write_model

from kwspot import CalibrationError, KeywordDetector, Samples
from kwspot.cli import main
from kwspot.features import SAMPLE_RATE
from kwspot.loader import load_model
from kwspot.model import OnnxModel
from kwspot.place import read_place, write_place
from kwspot.place_fit import fit_place, highest_scores, place_of

SENSITIVITIES = ("low", "medium", "high")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("room") / "room.flac"
    soundfile.write(path, words(90, seed=3), SAMPLE_RATE)
    return path


@pytest.fixture
def place_path(tiny_model: OnnxModel, tmp_path: Path) -> Path:
    fit = fit_place(tiny_model, [("room", Samples(words(61, seed=3)))])
    write_place(place_of(tiny_model, fit), tmp_path / "room.json")
    return tmp_path / "room.json"


def sentence(error: pytest.ExceptionInfo[CalibrationError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_detector_uses_the_thresholds_of_a_place(tiny_path: Path, place_path: Path) -> None:
    stored = json.loads(place_path.read_text())["thresholds"]["tiny"]
    for sensitivity in SENSITIVITIES:
        detector = KeywordDetector(tiny_path, thresholds=place_path, sensitivity=sensitivity)
        assert detector.thresholds == {"tiny": stored[sensitivity]}
    assert KeywordDetector(tiny_path).thresholds == {"tiny": 0.6}


def test_several_recordings_count_together_each_from_its_start(tiny_model: OnnxModel) -> None:
    parts = [(str(seed), Samples(words(40, seed))) for seed in (1, 2)]
    fit = fit_place(tiny_model, parts)
    assert fit.hours == pytest.approx(80 / 3600)
    alone = [fit_place(tiny_model, [part, part]) for part in parts]
    assert {s for s in fit.suspects} == {s for one in alone for s in one.suspects}


def test_suspects_are_where_the_model_would_fire_at_low_sensitivity(tiny_path: Path) -> None:
    samples = words(70, seed=4)
    scores = KeywordDetector(tiny_path, vad="off").score(samples)[:, 0]
    model = load_model(tiny_path)
    fit = fit_place(model, [("room", Samples(samples))])
    low = model.info.keywords[0].operating_points["low"].threshold
    missing = len(samples) // model.info.output_samples - len(scores)
    blocks = {int((missing + i) * 0.04 // 2) for i in np.flatnonzero(scores >= low)}
    assert {suspect.time for suspect in fit.suspects} == {2.0 * block for block in blocks} != set()
    found = [suspect.score for suspect in fit.suspects]
    assert found == sorted(found, reverse=True)


def test_a_clip_scores_what_it_reaches_in_silence(tiny_model: OnnxModel) -> None:
    clip = words(1.0, seed=5)
    (highest,) = highest_scores(tiny_model, "tiny", [Samples(clip)])
    detector = KeywordDetector(tiny_model, vad="off")
    pad = np.zeros(tiny_model.info.receptive_field * 160, np.float32)
    assert highest == detector.score(np.concatenate([pad, clip, pad])).max()


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (words(20, seed=0), "20 s of background say nothing"),
        (np.zeros(70 * SAMPLE_RATE, np.float32), "background is silent"),
        (np.full(70 * SAMPLE_RATE, 2e-5, np.float32), "background is silent"),
    ],
)
def test_a_background_that_says_nothing_is_refused(
    samples: np.ndarray, reason: str, tiny_model: OnnxModel
) -> None:
    with pytest.raises(CalibrationError, match=reason) as error:
        fit_place(tiny_model, [("room", Samples(samples))])
    sentence(error)


def test_thresholds_of_another_model_file_are_refused(place_path: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.onnx", name="other")
    with pytest.raises(
        CalibrationError, match=r"model file tiny.onnx with .*, not of .*other.onnx"
    ):
        KeywordDetector(other, thresholds=place_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no file of thresholds"),
        ("{", "is no file of thresholds"),
        ("\xff", "is no file of thresholds"),
        ("[1]", "that this kwspot reads"),
        ('{"format": 2}', "that this kwspot reads"),
        ('{"format": 1}', "the setting 'model' is missing"),
        ('{"format": 1, "colour": 3}', "unknown setting 'colour'"),
    ],
)
def test_a_file_that_holds_no_thresholds_is_refused(
    text: str, reason: str, tiny_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "room.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CalibrationError, match=reason) as error:
        KeywordDetector(tiny_path, thresholds=path)
    assert "room.json" in sentence(error)


@pytest.mark.parametrize("threshold", [None, 0.0, -1.0, 1.5])
def test_impossible_thresholds_are_refused(
    threshold: object, place_path: Path, tiny_model: OnnxModel
) -> None:
    values = json.loads(place_path.read_text())
    values["thresholds"]["tiny"]["low"] = threshold
    if threshold is None:
        del values["thresholds"]["tiny"]["low"]
    place_path.write_text(json.dumps(values))
    with pytest.raises(CalibrationError, match=r"low") as error:
        read_place(place_path, tiny_model)
    sentence(error)


def test_missing_files_and_two_thresholds_are_refused(
    tiny_path: Path, place_path: Path, tmp_path: Path
) -> None:
    heard = (replace(INFO.keywords[0], label="other"),)
    other = write_model(tmp_path / "other.onnx", name="other", keywords=heard)
    with pytest.raises(CalibrationError, match=r"cannot read .*gone.json: No such file"):
        KeywordDetector(tiny_path, thresholds=place_path.parent / "gone.json")
    with pytest.raises(ValueError, match="choose one"):
        KeywordDetector(tiny_path, thresholds=place_path, threshold=0.5)
    with pytest.raises(CalibrationError, match="are those of one model"):
        KeywordDetector([tiny_path, other], thresholds=place_path)


def test_the_command_writes_what_listen_reads(
    tiny_path: Path, background: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "room.json"
    clips = tmp_path / "clips"
    clips.mkdir()
    soundfile.write(clips / "one.wav", words(1.0, seed=5), SAMPLE_RATE)
    before = tiny_path.read_bytes()
    arguments = ["calibrate", "--model", tiny_path, "--background", background.parent]
    arguments += ["--positives", clips, "--output", output]
    assert main([str(a) for a in arguments]) == 0
    assert tiny_path.read_bytes() == before
    said = capsys.readouterr().out
    for line in (
        r"0.03 h of background",
        "of 1 positives",
        "too short to tell 0.1, 0.5, 2 an hour",
        "fire even at low sensitivity",
        "room.flac at ",
        "raised above what was heard here",
        f"wrote {output}",
    ):
        assert line in said
    listen = ["listen", "--model", tiny_path, "--input", background, "--json"]
    assert main([str(a) for a in [*listen, "--thresholds", output]]) == 0
    heard = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    detector = KeywordDetector(tiny_path, thresholds=output)
    assert heard == [vars(hit) for hit in detector.listen(background)]
    assert main([str(a) for a in listen]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(heard), "a place that fires is quieter"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--background", "gone.wav"], "cannot read gone.wav"),
        (["--background", "empty.wav"], "empty file"),
        (["--background", "folder"], "holds no recordings"),
        (["--background", "README.md"], "no audio"),
        (["--background", "x.wav", "--output", "gone/room.json"], "there is no folder gone"),
        (["--background", "x.wav", "--keyword", "other"], "no keyword 'other'"),
    ],
)
def test_what_cannot_be_calibrated_ends_in_one_sentence(
    arguments: list[str],
    reason: str,
    tiny_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "README.md").write_text("no audio")
    assert main(["calibrate", "--model", str(tiny_path), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert len(err.splitlines()) == 1


def test_two_kinds_of_thresholds_on_the_command_line_are_refused(
    tiny_path: Path, place_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["listen", "--model", tiny_path, "--input", "x.wav", "--threshold", "0.5"]
    assert main([str(a) for a in [*arguments, "--thresholds", place_path]]) == 2
    assert "choose one" in capsys.readouterr().err
