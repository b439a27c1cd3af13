"""Several words in one detector, of several files or of one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from allocations import growth
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import as_int16, words
from tiny import INFO, write_model

from kwspot import KeywordDetector, ModelError
from kwspot.cli import main
from kwspot.detector import Detection
from kwspot.features import FrontEnd
from kwspot.model import OnnxModel
from kwspot.modelfile import Decision, Keyword

CLIP = words(4.0, seed=1)
LABELS = ("red", "green", "blue")


def keywords(*labels: str) -> tuple[Keyword, ...]:
    return tuple(replace(INFO.keywords[0], label=label) for label in labels)


def tiny(folder: Path, label: str, seed: int, **changes: object) -> OnnxModel:
    path = folder / f"{label}.onnx"
    changes = {"name": label, "keywords": keywords(label)} | changes
    return OnnxModel(write_model(path, seed=seed, **changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[OnnxModel]:
    folder = tmp_path_factory.mktemp("words")
    decision = Decision(smoothing=3, release=0.7, refractory=0.4)
    return [
        tiny(folder, "red", 7),
        tiny(folder, "green", 8, decision=decision, receptive_field=60),
        tiny(folder, "blue", 9),
    ]


@pytest.fixture(scope="module")
def palette_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file that hears three words."""
    path = tmp_path_factory.mktemp("palette") / "palette.onnx"
    return write_model(path, words=3, seed=5, name="palette", keywords=keywords(*LABELS))


@pytest.fixture(scope="module")
def palette(palette_path: Path) -> OnnxModel:
    return OnnxModel(palette_path)


def by_the_rule(models: list[OnnxModel], samples: np.ndarray, vad: str) -> list[Detection]:
    """What separate detectors score, decided by the documented rule written out once more."""
    columns = [KeywordDetector(model, vad=vad).score(samples) for model in models]
    assert {len(column) for column in columns} == {len(columns[0])}
    rows, armed, wait, hits = np.hstack(columns), [True] * len(models), 0, []
    for number, row in enumerate(rows.tolist(), 1):
        time = number * INFO.output_samples
        ready = {}
        for i, (score, model) in enumerate(zip(row, models, strict=True)):
            threshold = model.info.keywords[0].operating_points["medium"].threshold
            armed[i] |= score < model.info.decision.release * threshold
            if armed[i] and score >= threshold and time >= wait:
                ready[i] = score / threshold
        if ready:
            best = max(ready, key=lambda i: ready[i])
            info = models[best].info
            armed[best], wait = False, time + round(info.decision.refractory * 16000)
            end = time / 16000
            start = max(0.0, end - info.keywords[0].seconds)
            hits.append(Detection(info.keywords[0].label, row[best], start, end))
    return hits


def test_together_models_score_as_each_does_alone(models: list[OnnxModel]) -> None:
    together = KeywordDetector(models, vad="off").score(CLIP)
    alone = [KeywordDetector(model, vad="off").score(CLIP) for model in models]
    np.testing.assert_array_equal(together, np.hstack(alone))


@pytest.mark.parametrize("vad", ["webrtc", "energy"])
def test_behind_a_gate_models_of_one_field_score_as_each_does_alone(
    models: list[OnnxModel], vad: str
) -> None:
    pair = [models[0], models[2]]
    clip = np.concatenate([words(2.5, seed, silence=3.0) for seed in (1, 2)])
    together = KeywordDetector(pair, vad=vad).score(clip)
    alone = [KeywordDetector(model, vad=vad).score(clip) for model in pair]
    assert len(together) < len(clip) / INFO.output_samples, "the gate was always open"
    np.testing.assert_array_equal(together, np.hstack(alone))


@pytest.mark.parametrize("seed", range(4))
def test_a_gate_costs_no_model_a_detection_whatever_its_field(
    models: list[OnnxModel], seed: int
) -> None:
    clip = words(2.5, seed, silence=3.0)
    gated, ungated = (KeywordDetector(models, vad=vad).process(clip) for vad in ("webrtc", "off"))
    loud = [hit for hit in ungated if 3.0 <= hit.end <= 6.0]
    assert len({hit.keyword for hit in loud}) > 1
    assert [hit for hit in gated if 3.0 <= hit.end <= 6.0] == loud


@pytest.mark.parametrize("seed", range(6))
def test_one_word_wins_by_the_rule(models: list[OnnxModel], seed: int) -> None:
    clip = words(4.0, seed)
    hits = KeywordDetector(models, vad="off").process(clip)
    alone = [hit for m in models for hit in KeywordDetector(m, vad="off").process(clip)]
    assert len({hit.keyword for hit in hits}) > 1
    assert len(hits) < len(alone), "no word was beaten"
    assert hits == by_the_rule(models, clip, "off")


def test_no_two_detections_are_closer_than_the_refractory_time(models: list[OnnxModel]) -> None:
    hits = KeywordDetector(models, vad="off", refractory=0.7).process(CLIP)
    assert len(hits) >= 3
    assert np.diff([hit.end for hit in hits]).min() >= 0.7 - 1e-9


@pytest.mark.parametrize("vad", ["off", "webrtc"])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=20), integers=st.booleans())
def test_any_chunking_and_sample_format_gives_the_same_bits(
    models: list[OnnxModel], palette: OnnxModel, vad: str, cuts: list[int], integers: bool
) -> None:
    pcm = as_int16(CLIP)
    samples = pcm if integers else pcm.astype(np.float32) / 32768
    for model in (models, palette):
        whole = KeywordDetector(model, vad=vad).process(pcm)
        detector = KeywordDetector(model, vad=vad)
        parts = [hit for p in np.split(samples, sorted(cuts)) for hit in detector.process(p)]
        assert parts == whole != []


def test_a_file_of_several_words_is_heard_like_its_posteriors(palette: OnnxModel) -> None:
    detector = KeywordDetector(palette, vad="off", refractory=0)
    scores = detector.score(CLIP)
    assert scores.shape[1] == 3
    assert tuple(detector.scores) == tuple(detector.thresholds) == LABELS
    assert list(detector.scores.values()) == scores[-1].tolist()
    detector.reset()
    assert {hit.keyword for hit in detector.process(CLIP)} == set(LABELS)


def test_info_tells_every_word_of_a_file(
    palette_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(palette_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("palette: red, green, blue\n")
    assert "  red,   medium  threshold 0.600" in out
    assert "  green, medium  threshold 0.600" in out


def test_files_of_one_and_of_several_words_join(palette: OnnxModel, tmp_path: Path) -> None:
    pair = [palette, tiny(tmp_path, "tiny", 7)]
    together = KeywordDetector(pair, vad="off")
    assert tuple(together.thresholds) == (*LABELS, "tiny")
    alone = [KeywordDetector(model, vad="off").score(CLIP) for model in pair]
    np.testing.assert_array_equal(together.score(CLIP), np.hstack(alone))


def test_reset_equals_a_new_detector(models: list[OnnxModel]) -> None:
    detector = KeywordDetector(models)
    detector.process(words(1.7, seed=5))
    detector.reset()
    assert set(detector.scores.values()) == {0.0}
    assert detector.process(CLIP) == KeywordDetector(models).process(CLIP)


def test_streams_of_the_same_models_do_not_disturb_each_other(models: list[OnnxModel]) -> None:
    clips = [words(3.0, seed) for seed in (1, 2)]
    alone = [KeywordDetector(models).process(clip) for clip in clips]
    detectors = [KeywordDetector(models), KeywordDetector(models[::-1])]
    together: list[list[Detection]] = [[], []]
    for start in range(0, len(clips[0]), 700):
        for i, detector in enumerate(detectors):
            together[i] += detector.process(clips[i][start : start + 700])
    assert together == alone


@pytest.mark.slow
def test_nothing_that_a_step_allocates_stays(models: list[OnnxModel]) -> None:
    detector = KeywordDetector(models, threshold=1.0)
    steps = as_int16(words(4.0, seed=3))[: 49 * 1280].reshape(-1, 1280)

    assert growth(detector, steps) < len(steps)


def test_words_have_thresholds_of_their_own(models: list[OnnxModel]) -> None:
    def thresholds(**option: object) -> list[float]:
        return list(KeywordDetector(models, **option).thresholds.values())  # type: ignore[arg-type]

    assert thresholds() == [0.6, 0.6, 0.6]
    assert thresholds(threshold=0.7) == [0.7, 0.7, 0.7]
    assert thresholds(threshold={"green": 0.7}) == [0.6, 0.7, 0.6]
    assert thresholds(sensitivity={"red": "low"}) == [0.9, 0.6, 0.6]
    assert thresholds(sensitivity="high", threshold={"blue": 0.8}) == [0.5, 0.5, 0.8]
    hits = KeywordDetector(models, threshold={"red": 1.0, "green": 1.0}).process(CLIP)
    assert {hit.keyword for hit in hits} == {"blue"}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"threshold": {"mauve": 0.5}}, "threshold names 'mauve': the words are red, green, blue"),
        ({"sensitivity": {"mauve": "low"}}, "sensitivity names 'mauve'"),
        ({"threshold": {"red": 0.0}}, "threshold is 0.0"),
        ({"sensitivity": {"red": "max"}}, "sensitivity is 'max'"),
    ],
)
def test_options_for_words_are_checked(models: list[OnnxModel], option: dict, said: str) -> None:
    with pytest.raises((ValueError, ModelError), match=said):
        KeywordDetector(models, **option)


def test_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="needs one at least"):
        KeywordDetector([])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"front_end": FrontEnd(floor=4.0)}, "red and other hear through different front ends"),
        ({"keywords": keywords("red")}, "red and other both hear 'red'"),
    ],
)
def test_models_that_do_not_go_together_are_refused(
    models: list[OnnxModel], tmp_path: Path, changes: dict, said: str
) -> None:
    other = tiny(tmp_path, "other", 1, **changes)
    with pytest.raises(ModelError, match=said) as error:
        KeywordDetector([models[0], other])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("frames_per_step", 4, "take steps of different lengths"),
        ("outputs_per_step", 4, "answer at different times"),
    ],
)
def test_models_of_other_steps_are_refused(
    models: list[OnnxModel], field: str, value: int, said: str
) -> None:
    class Other:
        info, path = replace(INFO, **{field: value}), models[0].path  # type: ignore[arg-type]

    with pytest.raises(ModelError, match=f"red and tiny {said}: use a detector for each"):
        KeywordDetector([models[0], Other()])  # type: ignore[list-item]


def test_the_command_line_takes_models_and_thresholds_by_word(
    models: list[OnnxModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    recording = tmp_path / "words.wav"
    soundfile.write(recording, as_int16(CLIP), 16000)
    paths = [
        write_model(tmp_path / f"{w}.onnx", seed=s, keywords=keywords(w))
        for w, s in (("red", 7), ("a=b", 9))
    ]
    arguments = ["listen", "--input", str(recording), "--json"]
    for path in paths:
        arguments += ["--model", str(path)]
    for more, options in (
        (["--threshold", "0.7"], {"threshold": 0.7}),
        (
            ["--threshold", "a=b=0.9", "--threshold", "red=0.55"],
            {"threshold": {"a=b": 0.9, "red": 0.55}},
        ),
        (["--sensitivity", "red=high"], {"sensitivity": {"red": "high"}}),
    ):
        assert main([*arguments, *more]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        expected = KeywordDetector(paths, **options).listen(recording)  # type: ignore[arg-type]
        assert found == [vars(hit) for hit in expected] != []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threshold", "mauve=0.5"], "threshold names 'mauve'"),
        (["--sensitivity", "mauve=low"], "sensitivity names 'mauve'"),
    ],
)
def test_a_word_that_no_model_hears_ends_in_one_sentence(
    tiny_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", "--model", str(tiny_path), "--input", "x.wav", *options]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--threshold", "tiny=2"],
        ["--threshold", "tiny="],
        ["--threshold", "=0.5"],
        ["--threshold", "0.5", "--threshold", "tiny=0.5"],
        ["--threshold", "tiny=0.5", "--threshold", "0.5"],
        ["--sensitivity", "tiny=max"],
    ],
)
def test_what_is_no_option_for_a_word_is_refused_before_anything_is_read(
    options: list[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["listen", "--model", "gone.onnx", *options])
