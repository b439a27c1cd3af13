"""Distilling a voice net, on people whose voices are tones of their own."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from kwspot_export.corpus import Corpus
from kwspot_export.distill_recipe import VoiceRecipe, read_voice_recipe
from kwspot_export.loop import TrainingError
from kwspot_export.parity import ParityError
from kwspot_export.publish_voices import publish_voices
from kwspot_export.recipe import Group
from kwspot_export.rounding import round_weights
from kwspot_export.segments import WINDOW
from kwspot_export.teachers import TeacherError
from kwspot_export.voice_distill import VoiceDistillation
from kwspot_export.voice_segments import VoiceSegments, draw_voice_segments
from kwspot_export.voice_student import VoiceStudent, VoiceStudentNet
from kwspot_export.voice_targets import discriminants, targets, teach
from kwspot_export.voice_teacher import VoiceTeacher
from onnx import TensorProto, helper
from toy import assert_one_sentence, clip, glide, write_manifest

from kwspot.cli import main
from kwspot.endpoints import speech_span
from kwspot.features import SAMPLE_RATE
from kwspot.manifest import read_data
from kwspot.voice_net import VoiceEar, VoiceNet
from kwspot.voices import unit

PEOPLE = 12
RECIPE = """
name = "toy-voices"
licence = "Apache-2.0"
teacher = "loudness (MIT)"
seed = 1
known = ["people/"]
hold_out_every = 2
speeds = [0.9, 1.0, 1.1]

[student]
channels = 8
pooled = 8
dilations = [1, 2]
size = 6

[pace]
steps = 6
batch = 8
warm_up = 2
save_every = 3

[sound]
manifests = ["people.csv"]
noises = ["noise/"]
rooms = ["rooms/"]
segments = 90
variants = 1

[sound.speech]
"people/" = 0.8
"long/" = 0.2

[sound.licences]
toy-speech = "CC BY 4.0"
"""


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people say «red» five times each; somebody speaks for eight seconds."""
    folder, rng, rows = tmp_path_factory.mktemp("people"), np.random.default_rng(0), []
    said = [
        (f"people/{who}-{n}.flac", "red", f"p{who:02}", glide(rng, 0.4, 300 + 150 * who, 900))
        for who in range(PEOPLE)
        for n in range(5)
    ]
    said.append(("long/0.flac", "and so on", "", glide(rng, 8.0, 400, 800)))
    hiss = rng.standard_normal(2 * SAMPLE_RATE).astype(np.float32) * np.float32(0.03)
    said += [("noise/0.flac", "", "", hiss), ("rooms/0.flac", "", "", np.eye(1, 4000)[0])]
    for name, text, speaker, sound in said:
        samples = clip(rng, sound) if text else sound
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, samples, SAMPLE_RATE, subtype="PCM_16")
        seconds = f"{len(samples) / SAMPLE_RATE:.3f}"
        rows.append((name, seconds, text, speaker, "train", "toy-speech"))
    write_manifest(folder / "people.csv", rows)
    return folder


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("teacher") / "loudness.onnx")


def write_teacher(path: Path, bands: int = 80) -> Path:
    """Write a teacher that tells how much each band moves."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["features", "features"], ["squares"]),
            helper.make_node("ReduceMean", ["squares"], ["embedding"], axes=[1], keepdims=0),
        ],
        "loudness",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ("batch", "time", bands))],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ("batch", bands))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "voices.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> VoiceRecipe:
    return read_voice_recipe(recipe_file)


@pytest.fixture
def job(recipe: VoiceRecipe, people: Path, teacher_file: Path, tmp_path: Path) -> VoiceDistillation:
    return start(recipe, people, teacher_file, tmp_path / "run")


def start(recipe: VoiceRecipe, data: Path, teacher: Path, folder: Path) -> VoiceDistillation:
    return VoiceDistillation(recipe, data, folder, data / "cache", VoiceTeacher(teacher), workers=0)


def drawn(people: Path, speeds: tuple[float, ...]) -> VoiceSegments:
    corpus = Corpus.open(read_data(people, ["people.csv"]), people / "cache")
    groups = [Group("people/", 0.5), Group("long/", 0.5)]
    return draw_voice_segments(corpus, groups, 60, speeds, np.random.default_rng(0))


def test_an_utterance_ends_where_a_detection_would_hear_it(people: Path) -> None:
    segments = drawn(people, (0.9, 1.0, 1.1))
    short = [i for i, c in enumerate(segments.clips) if segments.corpus.length(c) < 4 * SAMPLE_RATE]
    for window in segments.audio(np.array(short)):
        _, end = speech_span(window)
        assert 1.0 < end / SAMPLE_RATE < 1.6


def test_a_speed_moves_pitch_and_length(people: Path) -> None:
    slow, fast = drawn(people, (0.8,)), drawn(people, (1.25,))
    assert np.array_equal(slow.clips, fast.clips)
    row = int(np.flatnonzero(slow.clips == 0)[0])
    assert len(slow.utterance(row)) / len(fast.utterance(row)) == pytest.approx(1.25 / 0.8, 0.01)
    peaks = [np.argmax(np.abs(np.fft.rfft(s.audio(np.array([row]))[0]))) for s in (slow, fast)]
    assert peaks[1] / peaks[0] == pytest.approx(1.25 / 0.8, 0.1)
    assert slow.key != fast.key


def test_the_teacher_hears_short_clips_whole_and_three_seconds_of_long_ones(people: Path) -> None:
    segments = drawn(people, (1.0,))
    for row in range(len(segments)):
        length = segments.corpus.length(int(segments.clips[row]))
        utterance, (window,) = segments.utterance(row), segments.audio(np.array([row]))
        assert len(utterance) == (length if length < 4 * SAMPLE_RATE else 3 * SAMPLE_RATE)
        if length > 4 * SAMPLE_RATE:
            around = np.lib.stride_tricks.sliding_window_view(utterance, WINDOW)[
                :: SAMPLE_RATE // 2
            ]
            assert len(around) > 1 and np.abs(window).max() > 0.05


def test_each_utterance_is_taught_once_and_kept(
    people: Path, teacher_file: Path, tmp_path: Path
) -> None:
    segments, teacher, heard = drawn(people, (1.0,)), VoiceTeacher(teacher_file), []

    class Counting:
        fingerprint = teacher.fingerprint

        def __call__(self, samples: np.ndarray) -> np.ndarray:
            heard.append(len(samples))
            return teacher(samples)

    first = teach(Counting(), segments, tmp_path)
    names = [segments.utterance_name(row) for row in range(len(segments))]
    assert len(heard) == len(set(names)) < len(segments)
    assert first.shape == (len(segments), 80)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    twice = names.index(next(name for name in names if names.count(name) > 1))
    again = names.index(names[twice], twice + 1)
    np.testing.assert_array_equal(first[twice], first[again])
    np.testing.assert_array_equal(teach(Counting(), segments, tmp_path), first)
    assert len(heard) == len(set(names)), "all was kept"


def test_discriminants_find_where_people_differ_in_what_words_move() -> None:
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), 10)
    people = rng.normal(0, 1, (20, 2))
    embeddings = np.zeros((200, 6))
    embeddings[:, :2] = people[who]
    embeddings[:, 2:4] = rng.normal(0, 5, (200, 2))  # words: more than people differ
    embeddings += rng.normal(0, 0.05, embeddings.shape)
    names = [f"p{i}" for i in who]
    _, projection = discriminants(embeddings, names, 2)
    weight = np.abs(projection).max(axis=1)
    assert weight[:2].min() > 10 * weight[2:4].max()
    for share, spread in ((1.0, 0.05), (0.0, 1e-6)):
        learnt = targets(embeddings, names, 2, share)
        within = np.stack([learnt[who == i].std(axis=0) for i in range(20)])
        assert within.max() < 10 * spread and within.mean() >= 0.1 * spread * (share > 0)
    alone = targets(embeddings, ["", *names[1:]], 2, 0.0)
    assert not np.allclose(alone[0], alone[1], atol=1e-4), "who is not known is drawn to nobody"


def test_people_who_are_held_out_are_not_learnt(job: VoiceDistillation) -> None:
    assert len(job.held_out) == PEOPLE // 2
    speakers = [job.corpus.clips[job.segments.clips[row]].speaker for row in job.rows]
    assert job.held_out.isdisjoint(speakers) and len(set(speakers)) == PEOPLE // 2 + 1
    assert {clip.speaker for clip in job.validation} == job.held_out


def test_from_the_command_line_to_a_file_that_the_runtime_loads(
    recipe_file: Path, people: Path, teacher_file: Path, tmp_path: Path
) -> None:
    output, folder = tmp_path / "models" / "tones.onnx", tmp_path / "runs" / "toy"
    arguments = ["distill-voices", "--recipe", recipe_file, "--data", people, "--workers", 0]
    arguments += ["--teacher", teacher_file, "--run", folder, "--output", output]
    assert main([str(argument) for argument in arguments]) == 0
    net = VoiceNet(output)
    assert (net.info.frames, net.info.embedding, net.info.voice.speakers) == (160, 6, PEOPLE // 2)
    assert net.judge().right and "loudness" in net.info.provenance.recipe
    card = output.with_suffix(".md").read_text()
    assert (
        "| toy-speech | CC BY 4.0 |" in card and "loudness (MIT)" in card and "no security" in card
    )
    assert (folder / "curves.png").exists()


def test_a_teacher_becomes_a_file_that_the_runtime_loads(
    recipe_file: Path, people: Path, teacher_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "whole.onnx"
    arguments = ["distill-voices", "--undistilled", "--recipe", recipe_file, "--data", people]
    arguments += ["--teacher", teacher_file, "--run", tmp_path / "run", "--output", output]
    assert main([str(argument) for argument in arguments]) == 0
    net, teacher = VoiceNet(output), VoiceTeacher(teacher_file)
    assert (net.info.frames, net.info.embedding, net.info.voice.speakers) == (160, 80, PEOPLE)
    assert net.judge().right and "loudness (MIT)" in output.with_suffix(".md").read_text()
    ear, sound = VoiceEar(net, spare=0), np.random.default_rng(0).normal(0, 0.1, 25_840)
    ear.hear(sound.astype(np.float32))
    assert unit(ear.embedding(0)) @ teacher(sound.astype(np.float32)) == pytest.approx(1, abs=1e-4)


def test_rounded_weights_are_those_of_eight_bits(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(0, 1, (400, 32)).astype(np.float32)
    weights[0] = 0
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 32))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 400))],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    round_weights(model)
    assert TensorProto.INT8 in {tensor.data_type for tensor in model.graph.initializer}
    onnx.save(model, tmp_path / "rounded.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "rounded.onnx")
    x = np.eye(32, dtype=np.float32)
    found = np.concatenate([session.run(["y"], {"x": row[None]})[0] for row in x]).T
    steps = np.abs(weights).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(found - weights) <= steps / 2 + 1e-6)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    recipe: VoiceRecipe, people: Path, teacher_file: Path, tmp_path: Path
) -> None:
    whole = start(recipe, people, teacher_file, tmp_path / "whole").fit(lambda step: None)

    class Stop(Exception):
        pass

    def stop(step: object) -> None:
        if step.step == 4:
            raise Stop

    with pytest.raises(Stop):
        start(recipe, people, teacher_file, tmp_path / "parts").fit(stop)
    parts = start(recipe, people, teacher_file, tmp_path / "parts").fit(lambda step: None)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("size = 6", "size = 30", "needs more people than that"),
        ("hold_out_every = 2", "hold_out_every = 5", "fewer than 5 of the people"),
    ],
)
def test_too_few_people_are_refused_before_anything_is_learnt(
    old: str, new: str, reason: str, recipe_file: Path, people: Path, teacher_file: Path
) -> None:
    recipe_file.write_text(RECIPE.replace(old, new), encoding="utf-8")
    with pytest.raises(TrainingError, match=reason) as caught:
        start(read_voice_recipe(recipe_file), people, teacher_file, people / "run")
    assert_one_sentence(caught.value)


def test_files_that_are_no_teacher_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    write_teacher(tmp_path / "narrow.onnx", bands=40)
    for name, reason in (
        ("gone.onnx", "there is no teacher"),
        ("text.onnx", "is no net that ONNX Runtime can load"),
        ("narrow.onnx", "takes filter banks"),
    ):
        with pytest.raises(TeacherError, match=reason) as error:
            VoiceTeacher(tmp_path / name)
        assert name in str(error.value)
        assert_one_sentence(error.value)


def test_a_net_that_is_computed_otherwise_is_not_published(
    job: VoiceDistillation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.fit(lambda step: None)
    right = VoiceNet.__call__
    monkeypatch.setattr(VoiceNet, "__call__", lambda self, x: right(self, x)[::-1])
    with pytest.raises(ParityError, match="has a cosine of"):
        publish_voices(job, tmp_path / "wrong.onnx")
    assert not list(tmp_path.glob("wrong*"))


def test_the_net_hears_no_level_and_windows_of_any_length() -> None:
    torch.manual_seed(0)
    net = VoiceStudentNet(40, VoiceStudent(channels=8, pooled=8, dilations=(1,), size=4)).eval()
    features = torch.rand(2, 160, 40) * 10
    with torch.no_grad():
        torch.testing.assert_close(net(features), net(features + 2.5), rtol=1e-4, atol=1e-5)
        assert net(features[:, :50]).shape == (2, 4)
