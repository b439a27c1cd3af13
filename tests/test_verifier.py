import json
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import as_int16, words
from tiny import INFO, redescribe, write_model, write_verifier_net

from kwspot import CalibrationError, KeywordDetector, ModelError, Samples, load_model
from kwspot.calibration import refit
from kwspot.cli import main
from kwspot.detector import Detection
from kwspot.features import FloatArray
from kwspot.loader import VERIFIER_NET, Model, models_folder
from kwspot.modelfile import OperatingPoint, Provenance
from kwspot.place import write_place
from kwspot.place_fit import fit_place, place_of
from kwspot.verifier import (
    FORMAT,
    TAPS,
    WEIGHTS,
    Verifier,
    VerifierInfo,
    find_verifier,
    own_logit,
    read_verifier,
    verifier_path,
    write_verifier,
)
from kwspot.verifier_net import VerifierNet, installed_net, probe_samples

CLIP = words(6.0, seed=3)
POINTS = {"low": OperatingPoint(0.8, 0.1), "medium": OperatingPoint(0.5, 0.5)}
POINTS["high"] = OperatingPoint(0.3, 2.0)
VERIFIER = VerifierInfo(
    format=FORMAT,
    keyword="tiny",
    net="quarters.onnx",
    samples=3440,
    candidate=0.5,
    score_weight=0.5,
    head_weight=1.0,
    offset=0.25,
    operating_points=POINTS,
    provenance=Provenance("Apache-2.0", "none", "random weights", {}),
)


def random_head(width: int = 4, outputs: int = 5, channels: int = 3) -> dict[str, FloatArray]:
    rng = np.random.default_rng(1)
    shapes = {
        "project": (width, channels),
        "project_bias": (channels,),
        "first": (TAPS * channels, channels),
        "first_bias": (channels,),
        "second": (TAPS * channels, channels),
        "second_bias": (channels,),
        "out": (channels * -(-outputs // 2) + 1,),
    }
    return {n: rng.normal(0, 0.5, shape).astype(np.float32) for n, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model with its verifier, and the verifier's net where installed ones are looked for."""
    write_model(tmp_path / "tiny.onnx")
    write_verifier_net(tmp_path / "quarters.onnx")
    write_verifier(VERIFIER, random_head(), tmp_path / "tiny.verifier.npy")
    for module in ("verifier", "verifier_net"):
        monkeypatch.setattr(f"kwspot.{module}.models_folder", lambda: tmp_path)
    installed_net.cache_clear()
    yield tmp_path
    installed_net.cache_clear()


@pytest.fixture
def model(folder: Path) -> Model:
    return load_model(folder / "tiny.onnx")


def by_hand(model: Model, folder: Path, samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Verify a whole clip at once: the scores of the model alone and those that should come out."""
    alone = KeywordDetector(model, vad="off", verify=False).score(samples)[:, 0]
    verifier = read_verifier(folder / "tiny.verifier.npy")
    net, wanted = VerifierNet(folder / "quarters.onnx"), np.zeros_like(alone)
    steps = len(samples) // 1280
    padded = np.pad(samples, (VERIFIER.samples, 0))
    for row, score in enumerate(alone):
        step = steps - (len(alone) - row - 1) // 2
        if score >= VERIFIER.candidate:
            heard = padded[step * 1280 : step * 1280 + VERIFIER.samples]
            wanted[row] = verifier.score(score, verifier.logit(net(heard)))
    return alone, wanted


def test_candidates_are_heard_again_and_nothing_else_scores(model: Model, folder: Path) -> None:
    alone, wanted = by_hand(model, folder, CLIP)
    assert 5 < (wanted > 0).sum() < len(wanted) - 5
    np.testing.assert_array_equal(KeywordDetector(model, vad="off").score(CLIP)[:, 0], wanted)
    np.testing.assert_array_equal(
        KeywordDetector(model, vad="off", verify=False).score(CLIP)[:, 0], alone
    )


@pytest.mark.parametrize("vad", ["off", "webrtc", "energy"])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=20))
def test_any_chunking_gives_the_same_detections(
    tmp_path_factory: pytest.TempPathFactory, vad: str, cuts: list[int]
) -> None:
    # Hypothesis calls it many times: the fixtures that patch would be torn down only once.
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp() / "verified"
        if not folder.exists():
            folder.mkdir()
            write_model(folder / "tiny.onnx")
            write_verifier_net(folder / "quarters.onnx")
            write_verifier(VERIFIER, random_head(), folder / "tiny.verifier.npy")
        for module in ("verifier", "verifier_net"):
            patch.setattr(f"kwspot.{module}.models_folder", lambda: folder)
        installed_net.cache_clear()
        model = load_model(folder / "tiny.onnx")
        pcm = as_int16(CLIP)
        whole = KeywordDetector(model, vad=vad).process(pcm)
        detector, hits = KeywordDetector(model, vad=vad), []
        for part in np.split(pcm, sorted(cuts)):
            hits += detector.process(part)
        installed_net.cache_clear()
    assert hits == whole


def test_a_new_stream_remembers_nothing(model: Model) -> None:
    detector = KeywordDetector(model, vad="off")
    first = detector.process(CLIP)
    detector.reset()
    assert first and detector.process(CLIP) == first


def test_thresholds_are_those_of_the_verifier(model: Model, folder: Path) -> None:
    assert KeywordDetector(model).thresholds == {"tiny": 0.5}
    assert KeywordDetector(model, sensitivity="low").thresholds == {"tiny": 0.8}
    assert KeywordDetector(model, verify=False).thresholds == {"tiny": 0.6}
    assert KeywordDetector(model).info.keywords[0].operating_points == POINTS
    assert model.info == INFO
    hits: list[Detection] = KeywordDetector(model, vad="off").process(CLIP)
    assert hits and all(hit.score >= 0.5 for hit in hits)


def test_of_several_models_only_those_with_a_verifier_are_verified(
    model: Model, folder: Path
) -> None:
    other = write_model(
        folder / "other.onnx", seed=8, keywords=(replace(INFO.keywords[0], label="other"),)
    )
    both = KeywordDetector([load_model(other), model], vad="off")
    alone = KeywordDetector(load_model(other), vad="off")
    scores = both.score(CLIP)
    np.testing.assert_array_equal(scores[:, 0], alone.score(CLIP)[:, 0])
    np.testing.assert_array_equal(scores[:, 1], by_hand(model, folder, CLIP)[1])


def test_all_formats_of_a_model_share_its_verifier(folder: Path) -> None:
    shared = folder / "tiny.verifier.npy"
    for name in ("tiny.onnx", "tiny-int8.onnx", "tiny.tflite", "tiny-int8.tflite"):
        assert verifier_path(folder / name) == shared
    int8 = shutil.copy(folder / "tiny.onnx", folder / "tiny-int8.onnx")
    found = find_verifier(load_model(int8))
    assert found is not None and found.info == VERIFIER


def test_a_net_is_loaded_at_the_first_candidate(model: Model) -> None:
    detector = KeywordDetector(model, vad="off")
    assert installed_net.cache_info().currsize == 0
    detector.process(CLIP)
    assert installed_net.cache_info().currsize == 1


def changed(folder: Path, **changes: Any) -> str:
    """Read a file with other values, which must be refused in one sentence; return it."""
    path = folder / "tiny.verifier.npy"
    _, info, *weights = np.load(path).item()
    text = json.dumps(json.loads(info) | changes).encode()
    fields = [(name, np.float32, one.shape) for name, one in zip(WEIGHTS, weights, strict=True)]
    record = np.array((0, text, *weights), [("crc32", "u4"), ("info", f"S{len(text)}"), *fields])
    record["crc32"] = zlib.crc32(record.tobytes()[4:])
    np.save(path, record)
    with pytest.raises(ModelError) as error:
        KeywordDetector(folder / "tiny.onnx")
    assert "\n" not in str(error.value) and path.name in str(error.value)
    return str(error.value)


def test_scores_near_0_and_1_count_alike_in_all_formats() -> None:
    verifier = Verifier(VERIFIER, random_head(), Path("tiny.verifier.npy"))
    # Eight bits have no score between 0.996 and 1.
    assert verifier.score(1.0, 0.5) == verifier.score(0.996, 0.5) == verifier.score(0.95, 0.5)
    assert verifier.score(0.0, 0.5) == verifier.score(0.05, 0.5) < verifier.score(0.06, 0.5)
    assert own_logit(0.5) == 0.0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keyword": "large"}, "verifies 'large', but"),
        ({"net": "absent.onnx"}, "needs absent.onnx, which is not installed"),
        ({"format": FORMAT + 1}, "does not read"),
        ({"candidate": 0.0}, "impossible operating points"),
        ({"operating_points": {}}, "impossible operating points"),
        ({"colour": "red"}, "unknown setting 'colour'"),
    ],
)
def test_what_a_verifier_says_of_itself_must_fit(
    changes: dict[str, object], reason: str, folder: Path
) -> None:
    assert reason in changed(folder, **changes)
    assert KeywordDetector(folder / "tiny.onnx", verify=False).thresholds == {"tiny": 0.6}


@pytest.mark.parametrize("content", [b"", b"no array", "pickled", "half", "number", "other"])
def test_damaged_files_are_refused(content: bytes | str, folder: Path) -> None:
    path = folder / "tiny.verifier.npy"
    if content == "pickled":
        np.save(path, np.array({"format": FORMAT}, dtype=object))
    elif content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content == "number":
        np.save(path, np.float32(1))
    elif content == "other":
        np.save(path, np.array(("{}",), [("info", "U2")]))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    refuse(path)


def test_a_file_with_one_wrong_bit_is_refused(folder: Path) -> None:
    path = folder / "tiny.verifier.npy"
    content = path.read_bytes()
    header = content.index(b"\n") + 1
    for bit in range(8 * header, 8 * len(content), 97):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        refuse(path)


@pytest.mark.parametrize(("old", "new"), [(b"}", b"("), (b"<f4", b"<f9"), (b"crc32", b"crc23")])
def test_a_damaged_header_is_refused(old: bytes, new: bytes, folder: Path) -> None:
    path = folder / "tiny.verifier.npy"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    refuse(path)


def refuse(path: Path) -> None:
    with pytest.raises(ModelError, match="is no verifier, or a damaged one") as error:
        read_verifier(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "is no net that verifies words"),
        ("{", "is not JSON"),
        ('{"format": 2}', "does not read"),
        ({"frames": 24}, "its metadata says"),
        ({"width": 3}, "its metadata says"),
        ({"colour": "red"}, "unknown setting 'colour'"),
    ],
)
def test_files_that_are_no_net_are_refused(
    text: str | dict[str, object] | None, reason: str, folder: Path
) -> None:
    path = folder / "quarters.onnx"
    redescribe(path, text)
    with pytest.raises(ModelError, match=reason) as error:
        VerifierNet(path)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    path.unlink()
    with pytest.raises(ModelError, match="is missing"):
        VerifierNet(path)


def test_the_self_test_of_a_net_tells_whether_it_is_computed_rightly(folder: Path) -> None:
    answer = VerifierNet(folder / "quarters.onnx").answer()
    for wanted, right in ((answer, True), (answer * 1.1, False), (answer[1:], False)):
        path = write_verifier_net(
            folder / "proved.onnx", self_test=tuple(float(value) for value in wanted)
        )
        assert VerifierNet(path).judge().right is right


def test_the_installed_net_hears_two_seconds_and_is_computed_rightly() -> None:
    net = VerifierNet(models_folder() / VERIFIER_NET)
    assert net.judge().right
    assert net(probe_samples(net.info.samples)).shape == (net.info.outputs, net.info.width)
    assert 1.9 < net.info.samples / 16_000 < 2.1


def test_scores_rise_with_both_logits() -> None:
    verifier = Verifier(VERIFIER, random_head(), Path("tiny.verifier.npy"))
    scores = [[verifier.score(s, h) for h in (-40.0, -1.0, 0.0, 1.0, 40.0)] for s in (0.5, 0.9, 1)]
    assert np.all(np.diff(scores, axis=0) >= 0) and np.all(np.diff(scores, axis=1) > 0)
    assert verifier.score(0.5, 0.0) == pytest.approx(1 / (1 + np.exp(-0.25)))


def test_listen_takes_models_at_their_word_if_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    soundfile.write(folder / "clip.wav", as_int16(CLIP), 16_000)
    heard = []
    for more in ([], ["--no-verify"]):
        arguments = ["listen", "--model", str(folder / "tiny.onnx"), "--json", "--vad", "off"]
        assert main([*arguments, "--input", str(folder / "clip.wav"), *more]) == 0
        heard.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    wanted = [
        len(KeywordDetector(folder / "tiny.onnx", vad="off", verify=v).process(as_int16(CLIP)))
        for v in (True, False)
    ]
    assert wanted[0] != wanted[1]
    assert abs(len(heard[0]) - wanted[0]) <= 1 and abs(len(heard[1]) - wanted[1]) <= 1


def test_the_thresholds_of_a_place_are_of_verified_scores_or_not(
    model: Model, folder: Path
) -> None:
    room = Samples(np.concatenate([CLIP] * 11))
    for verify in (True, False):
        fit = fit_place(model, [("room", room)], verify)
        path = folder / "room.json"
        write_place(place_of(model, fit, verify), path)
        detector = KeywordDetector(model, thresholds=path, verify=verify)
        assert detector.thresholds == {"tiny": fit.refits["tiny"]["medium"].threshold}
        with pytest.raises(CalibrationError, match="verified") as error:
            KeywordDetector(model, thresholds=path, verify=not verify)
        assert "\n" not in str(error.value)


def test_a_place_without_candidates_says_nothing_about_thresholds() -> None:
    peaks = np.zeros(3600)  # two hours
    peaks[:9] = 0.2
    assert all(found.share == 0 for found in refit(POINTS, peaks).values())
    assert refit(POINTS, peaks)["medium"].threshold == POINTS["medium"].threshold
    peaks[9] = 0.2001
    assert refit(POINTS, peaks)["medium"].share == 1
