import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from allocations import growth
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import voice
from tiny import TONES, VOICE, WIDE, refused, write_model, write_voice_net

from kwspot import Detection, KeywordDetector, ModelError, VoiceError, load_model
from kwspot.enrolment import Enrolment
from kwspot.features import FloatArray, FrontEnd, LogMel
from kwspot.likeness import pack
from kwspot.loader import Model
from kwspot.modelfile import ModelInfo, dump_info, parse_info
from kwspot.voice_net import VoiceEar, VoiceNet, installed_voice_net
from kwspot.voices import (
    Profile,
    delete_profile,
    mean_voice,
    profile_names,
    read_profile,
    sha256_of,
    unit,
    voices_folder,
    write_profile,
)

PAUSE = np.zeros(16_000, np.float32)
# Dark, bright, dark; said so that each is one detection.
STREAM = np.concatenate([part for b in (False, True, False) for part in (PAUSE, voice(b, 50))])
STREAM = np.concatenate([STREAM, PAUSE])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(
        write_model(tmp_path_factory.mktemp("voice") / "voice.onnx", tells_voices=True)
    )


def profile_of(model: Model, bright: bool) -> Profile:
    enrolment = Enrolment(model, "loud")
    return enrolment.profile([enrolment.hear(str(s), voice(bright, s)) for s in range(3)])[0]


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ana's voice is dark, Ben's is bright."""
    folder = tmp_path_factory.mktemp("profiles") / "voices"
    for name, bright in (("ana", False), ("ben", True)):
        write_profile(profile_of(model, bright), name, folder)
    return folder


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VoiceNet:
    """Another voice net is installed: one that tells dark voices from bright ones."""
    installed = VoiceNet(write_voice_net(tmp_path / "tones.onnx"))
    monkeypatch.setattr("kwspot.voices.installed_voice_net", lambda: installed)
    return installed


def sentence(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_detection_says_who_spoke(model: Model, folder: Path) -> None:
    hits = KeywordDetector(model, profiles=folder).process(STREAM)
    assert [hit.speaker for hit in hits] == ["ana", "ben", "ana"]
    assert all(VOICE.threshold <= hit.speaker_score <= 1 for hit in hits)


def test_without_profiles_detections_are_the_same_and_name_nobody(
    model: Model, folder: Path
) -> None:
    plain = KeywordDetector(model).process(STREAM)
    assert {(hit.speaker, hit.speaker_score) for hit in plain} == {(None, None)}
    told = KeywordDetector(model, profiles=folder).process(STREAM)
    assert [replace(hit, speaker=None, speaker_score=None) for hit in told] == plain


def test_a_detector_without_profiles_asks_the_model_for_no_embedding(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(type(model), "step_and_embed")
    assert len(KeywordDetector(model).process(STREAM)) == 3


def test_only_wakes_for_these_voices(model: Model, folder: Path) -> None:
    everyone = KeywordDetector(model, profiles=folder).process(STREAM)
    for only in ("ana", ["ana"]):
        assert KeywordDetector(model, profiles=folder, only=only).process(STREAM) == everyone[::2]
    both = KeywordDetector(model, profiles=folder, only=["ben", "ana"])
    assert both.process(STREAM) == everyone


def test_an_unknown_voice_has_the_score_of_the_nearest(model: Model, tmp_path: Path) -> None:
    write_profile(profile_of(model, bright=True), "ben", tmp_path)
    dark = KeywordDetector(model, profiles=tmp_path).process(STREAM)[0]
    assert dark.speaker is None
    assert -1 <= dark.speaker_score < VOICE.threshold


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(STREAM)), max_size=20), vad=st.sampled_from(["off", "webrtc"])
)
def test_any_chunking_gives_the_same_speakers_to_the_bit(
    model: Model, folder: Path, cuts: list[int], vad: str
) -> None:
    whole = KeywordDetector(model, profiles=folder, vad=vad).process(STREAM)
    detector = KeywordDetector(model, profiles=folder, vad=vad)
    hits: list[Detection] = []
    for part in np.split(STREAM, sorted(cuts)):
        hits += detector.process(part)
    assert hits == whole


def test_the_embedding_is_that_of_the_detections_output(model: Model) -> None:
    detector, asked = KeywordDetector(model, vad="off"), []

    def note(number: int, embedding: FloatArray) -> tuple[str, float]:
        asked.append(embedding)
        return "somebody", 0.5

    detector.recognise(note)
    (hit, *_) = detector.process(STREAM)
    assert (hit.speaker, hit.speaker_score) == ("somebody", 0.5)
    front_end, size = model.info.front_end, model.info.step_samples
    log_mel, lead = LogMel(front_end), front_end.window - front_end.hop
    stream, state, every = np.pad(STREAM, (lead, 0)), model.fresh_state(), []
    for start in range(0, len(STREAM) - size, size):
        features = log_mel(stream[start : start + lead + size])
        _, embedding, state = model.step_and_embed(features, state)
        every += list(embedding)
    output = round(hit.end * 16_000) // model.info.output_samples - 1
    np.testing.assert_array_equal(asked[0], every[output])


def test_a_state_that_was_begun_without_embeddings_goes_on_with_them(model: Model) -> None:
    features = np.random.default_rng(0).random((3, 8, 40), np.float32) * 10
    state, embeddings = model.fresh_state(), []
    for step in features:
        posteriors, embedding, state = model.step_and_embed(step, state)
        embeddings.append(embedding)
    mixed = model.fresh_state()
    for step in features[:2]:
        _, mixed = model.step(step, mixed)
    again, last, mixed = model.step_and_embed(features[2], mixed)
    np.testing.assert_array_equal(last, embeddings[2])
    np.testing.assert_array_equal(again, posteriors)
    assert not np.array_equal(embeddings[0], embeddings[1]), "each step has an array of its own"


@pytest.mark.slow
def test_nothing_that_a_step_with_voices_allocates_stays(model: Model, folder: Path) -> None:
    detector = KeywordDetector(model, profiles=folder, vad="off")
    steps = STREAM[: 60 * 1280].reshape(-1, 1280)

    assert growth(detector, steps) < len(steps)


def test_of_several_models_each_has_its_own_voices(
    model: Model, folder: Path, tiny_path: Path, net: VoiceNet
) -> None:
    hits = KeywordDetector([tiny_path, model], profiles=folder, refractory=0).process(STREAM)
    named = {(hit.keyword, hit.speaker) for hit in hits}
    assert {("loud", "ana"), ("loud", "ben")} <= named
    assert {speaker for keyword, speaker in named if keyword == "tiny"} <= {None}
    with pytest.raises(
        VoiceError, match=r"tiny.onnx knows no voice of ana, so that it would never"
    ):
        KeywordDetector([model, tiny_path], profiles=folder, only=["ana"])


def test_a_profile_of_another_model_file_is_refused(folder: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "newer.onnx", tells_voices=True, name="newer")
    with pytest.raises(
        VoiceError, match=r"ana.json is .* the file voice.onnx with .*, not .*newer.onnx with"
    ) as error:
        KeywordDetector(path, profiles=folder)
    assert "enroll again" in sentence(error)


@pytest.fixture
def deaf(tmp_path: Path) -> Model:
    """A model that hears loud sound and tells no voices apart: it has no threshold for them."""
    return load_model(write_model(tmp_path / "deaf.onnx", tells_voices=True, voice=None))


def test_voices_at_detections_of_other_models_are_told_apart_by_the_installed_net(
    deaf: Model, net: VoiceNet, tmp_path: Path
) -> None:
    for name, bright in (("ana", False), ("ben", True)):
        write_profile(profile_of(deaf, bright), name, tmp_path / "people")
    profile = read_profile("ana", tmp_path / "people")
    assert (profile.model, profile.sha256) == (net.path.name, sha256_of(net))
    hits = KeywordDetector(deaf, profiles=tmp_path / "people").process(STREAM)
    assert [hit.speaker for hit in hits] == ["ana", "ben", "ana"]
    alone = KeywordDetector(deaf, profiles=tmp_path / "people", only="ben").process(STREAM)
    assert alone == hits[1:2]


def test_a_profile_of_the_installed_net_holds_for_all_models_that_it_serves(
    deaf: Model, net: VoiceNet, tiny_path: Path, tmp_path: Path
) -> None:
    write_profile(profile_of(deaf, bright=False), "ana", tmp_path / "people")
    hits = KeywordDetector([tiny_path, deaf], profiles=tmp_path / "people", refractory=0).process(
        STREAM
    )
    assert {("loud", "ana"), ("tiny", "ana")} <= {(hit.keyword, hit.speaker) for hit in hits}


def test_voices_are_compared_with_the_strangers_of_the_installed_net(
    deaf: Model, net: VoiceNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(strangers: str) -> Detection:
        net = VoiceNet(write_voice_net(tmp_path / "tones.onnx", strangers=strangers))
        monkeypatch.setattr("kwspot.voices.installed_voice_net", lambda: net)
        write_profile(replace(profile, sha256=sha256_of(net)), "ana", tmp_path / "people")
        return KeywordDetector(deaf, profiles=tmp_path / "people").process(STREAM)[0]

    profile = profile_of(deaf, bright=False)
    nobody = told("")
    assert nobody.speaker == "ana"
    # All strangers have Ana's voice: hers says nothing any more.
    double = told(pack(np.array([profile.direction] * 3, np.float32)))
    assert double.speaker is None
    assert double.speaker_score == pytest.approx(
        nobody.speaker_score - (nobody.speaker_score + 1) / 2, abs=0.02
    )


@pytest.mark.parametrize("vad", ["off", "webrtc"])
def test_any_chunking_gives_the_installed_net_the_same_frames(
    vad: str, deaf: Model, net: VoiceNet, tmp_path: Path
) -> None:
    write_profile(profile_of(deaf, bright=False), "ana", tmp_path / "people")
    whole = KeywordDetector(deaf, profiles=tmp_path / "people", vad=vad).process(STREAM)
    assert len(whole) == 3
    for size in (160, 1279, 20_000):
        detector = KeywordDetector(deaf, profiles=tmp_path / "people", vad=vad)
        parts = np.split(STREAM, range(size, len(STREAM), size))
        assert [hit for part in parts for hit in detector.process(part)] == whole


def test_the_installed_net_hears_the_frames_up_to_the_detections_output(
    deaf: Model, net: VoiceNet
) -> None:
    detector, asked = KeywordDetector(deaf, vad="off"), []
    detector.recognise(lambda number, embedding: (asked.append(embedding), None))
    hits = detector.process(STREAM)
    end, front_end = round(hits[0].end * 16_000), net.info.front_end
    length = front_end.window + (net.info.frames - 1) * front_end.hop
    features = LogMel(front_end)(STREAM[end - length : end])
    np.testing.assert_array_equal(asked[0], net(features))
    detector.reset()
    again = detector.process(STREAM)
    assert again == hits
    np.testing.assert_array_equal(asked[0], asked[3])


def test_the_ear_keeps_what_was_heard_last(net: VoiceNet) -> None:
    ear, log_mel = VoiceEar(net, spare=640), LogMel(net.info.front_end)
    samples = np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    for step in np.split(samples, range(1000, len(samples), 1000)):
        ear.hear(step)
    length = 240 + net.info.frames * 160
    for later in (0, 640):
        end = len(samples) - later
        expected = net(log_mel(samples[end - length : end]))
        np.testing.assert_array_equal(ear.embedding(later), expected)
    ear.hear(samples)  # more than it keeps
    np.testing.assert_array_equal(ear.embedding(0), net(log_mel(samples[-length:])))
    ear.clear()
    np.testing.assert_array_equal(ear.embedding(0), net(log_mel(np.zeros(length, np.float32))))


def test_a_model_with_another_front_end_is_served_too(net: VoiceNet, tmp_path: Path) -> None:
    path = write_model(tmp_path / "wide.onnx", mels=48, front_end=FrontEnd(mels=48), states=WIDE)
    detector, asked = KeywordDetector(path, vad="off"), []
    detector.recognise(lambda number, embedding: (asked.append(embedding), None))
    assert len(detector.process(STREAM)) == len(asked) > 0


def test_without_an_installed_net_such_models_tell_no_voices(
    deaf: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kwspot.voice_net.models_folder", lambda: tmp_path)
    monkeypatch.setattr("kwspot.voices.installed_voice_net", installed_voice_net.__wrapped__)
    with pytest.raises(VoiceError, match=r"voice-net[.]onnx is missing") as error:
        Enrolment(deaf, "loud")
    assert "install kwspot again" in sentence(error)


def test_names_that_are_not_enrolled_are_refused(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    for place, option, reason in (
        (folder, {"only": ["ana", "eve"]}, r"'eve' is not enrolled in .* \(but ana, ben\)"),
        (tmp_path, {}, "nobody is enrolled"),
        (tmp_path / "gone", {"only": "ana"}, "'ana' is not enrolled"),
    ):
        with pytest.raises(VoiceError, match=reason) as error:
            KeywordDetector(model, profiles=place, **option)
        assert "kwspot enroll" in sentence(error)
    with pytest.raises(ValueError, match="only is empty"):
        KeywordDetector(model, profiles=folder, only=[])


def test_a_profile_is_readable_by_its_owner_alone(model: Model, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in sorted(folder.iterdir())] == ["ana.json", "ben.json"]


def test_a_profile_comes_back_as_it_was_written_and_can_be_deleted(
    model: Model, tmp_path: Path
) -> None:
    profile = profile_of(model, bright=False)
    for name in ("Ana Müller", "b-2"):
        write_profile(profile, name, tmp_path)
        assert read_profile(name, tmp_path) == profile
    assert profile_names(tmp_path) == ["Ana Müller", "b-2"]
    assert not delete_profile("b-2", tmp_path).exists()
    assert profile_names(tmp_path) == ["Ana Müller"]
    with pytest.raises(VoiceError, match="'b-2' is not enrolled"):
        delete_profile("b-2", tmp_path)


def test_a_write_that_fails_leaves_the_profile_that_was_there(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = profile_of(model, bright=False)
    write_profile(first, "ana", tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VoiceError, match=r"cannot write .*ana.json: No space left"):
        write_profile(profile_of(model, bright=True), "ana", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ana.json"]
    assert read_profile("ana", tmp_path) == first


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../ana", "/etc/ana", "a/b", "a\\b", ".ana", "ana.json", "-ana", " ana", "ana ",
     "a\nb", "a\0b", "a  b", "x" * 41],
)  # fmt: skip
def test_names_that_could_be_paths_are_refused(name: str, model: Model, tmp_path: Path) -> None:
    profile = profile_of(model, bright=False)
    for use in (
        lambda: write_profile(profile, name, tmp_path),
        lambda: read_profile(name, tmp_path),
        lambda: delete_profile(name, tmp_path),
    ):
        with pytest.raises(VoiceError, match="is no name for a voice") as error:
            use()
        sentence(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("", "is no profile"),
        ("[1]", "that this kwspot reads"),
        ({"format": 2}, "that this kwspot reads"),
        ({"colour": 3}, "unknown setting 'colour'"),
        ({"threshold": 1.5}, "numbers that no voice has"),
        ({"threshold": float("nan")}, "numbers that no voice has"),
        ({"direction": [float("nan")] * TONES}, "numbers that no voice has"),
        ({"direction": [0.0] * TONES}, "numbers that no voice has"),
        ({"direction": ["a"]}, "'a' is no float"),
        ({"direction": [1.0]}, "does not fit its net"),
    ],
)
def test_a_file_that_holds_no_profile_is_refused(
    change: object, reason: str, model: Model, folder: Path, tmp_path: Path
) -> None:
    values = json.loads((folder / "ana.json").read_text())
    text = json.dumps(values | change) if isinstance(change, dict) else str(change)
    (tmp_path / "ana.json").write_text(text)
    with pytest.raises(VoiceError, match=reason) as error:
        KeywordDetector(model, profiles=tmp_path)
    assert "ana.json" in sentence(error)


def test_profiles_are_kept_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert voices_folder() == tmp_path / "kwspot" / "voices"
    monkeypatch.setenv("HOME", "/home/ana")
    for relative in ("", "some/where"):
        monkeypatch.setenv("XDG_DATA_HOME", relative)
        assert voices_folder() == Path("/home/ana/.local/share/kwspot/voices")


def test_the_mean_voice_counts_every_clip_alike() -> None:
    loud, quiet = np.array([30.0, 0.0], np.float32), np.array([0.0, 0.1], np.float32)
    np.testing.assert_allclose(mean_voice([loud, quiet]), [0.5**0.5, 0.5**0.5], rtol=1e-6)
    assert np.linalg.norm(unit(loud)) == pytest.approx(1)
    assert not unit(np.zeros(2, np.float32)).any()


def test_metadata_tell_of_voices_and_files_without_still_load(model: Model) -> None:
    info: ModelInfo = model.info
    assert parse_info(dump_info(info), "here") == info
    values = json.loads(dump_info(info))
    del values["voice"]
    assert parse_info(json.dumps(values), "here") == replace(info, voice=None)


@pytest.mark.parametrize(
    "changes", [{"voice": replace(VOICE, threshold=1.2)}, {"voice": VOICE, "embedding": 0}]
)
def test_impossible_voices_are_refused(changes: dict[str, object], tmp_path: Path) -> None:
    path = write_model(tmp_path / "odd.onnx", tells_voices=True, **changes)
    assert "impossible voices" in refused(path)
    assert issubclass(VoiceError, ValueError) and not issubclass(VoiceError, ModelError)
