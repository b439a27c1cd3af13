from collections.abc import Sequence
from pathlib import Path

import pytest
from kwspot_export.effort import DEFAULT
from kwspot_export.loop import TrainingError
from kwspot_export.phrase import read_phrase
from kwspot_export.phrase_recipe import compose_recipe, find_manifests
from kwspot_export.recipe import Recipe, Student
from toy import assert_one_sentence

from kwspot.manifest import Clip


def clip(name: str, text: str = "", role: str = "train", seconds: float = 36.0) -> Clip:
    return Clip(Path(name), name, seconds, text, name.partition("/")[2], role, name[0])


DATA = [
    *(clip(f"noise/{i}") for i in range(6)),
    *(clip(f"speech/a/{i}", "and so on") for i in range(100)),
    *(clip(f"speech/far/{i}", "from afar") for i in range(5)),
    *(clip(f"words/{i}", "word") for i in range(25)),
    clip("words/jarvis", "Hey Jarvis!"),
    clip("words/more", "hey jarvises"),
    clip("words/part", "jarvis"),
    clip("room_responses/0"),
    clip("speech/a/test", "unseen", "test"),
]


def compose(clips: Sequence[Clip] = DATA, own: Sequence[Clip] = (), exclude: str = "") -> Recipe:
    return compose_recipe(
        read_phrase("hey jarvis"),
        "hey_jarvis",
        ("manifest.csv",),
        clips,
        own,
        (exclude,) if exclude else (),
        {"r": "its speaker's"},
        Student(),
        DEFAULT,
    )


def test_folders_of_other_speech_are_drawn_by_the_square_root_of_their_hours() -> None:
    data = compose().data
    assert {g.prefix: g.weight for g in data.negatives} == {"speech/": 1.0247, "words/": 0.5099}
    assert data.babble == ("speech/",)
    assert data.validation_negatives == ("noise/", "speech/", "words/")


def test_clips_that_begin_with_the_phrase_are_left_out() -> None:
    assert compose().data.ignored_texts == ("hey jarvises",)


def test_where_nothing_validates_every_fifth_speaker_is_held_out() -> None:
    held = compose().data.held_out
    assert len([name for name in held if name.startswith("noise/")]) == 1
    assert len(held) == 1 + 26
    with_roles = [*DATA, clip("words/v", role="validation"), clip("noise/v", role="validation")]
    assert not compose(with_roles).data.held_out


def test_excluded_clips_are_not_trained_on() -> None:
    data = compose(exclude="speech/far/").data
    assert data.excluded == ("speech/far/",)
    assert data.negatives[0].weight == 1.0
    assert not [name for name in data.held_out if name.startswith("speech/far/")]


def test_recordings_have_their_share_and_false_alarms_are_drawn_often() -> None:
    own = [clip("recordings:phrase/0", "hey jarvis"), clip("recordings:other/1", "carvers")]
    data = compose(own=own).data
    assert [(g.prefix, g.weight) for g in data.positives] == [
        ("voices:tts/", 0.65),
        ("recordings:phrase/", 0.35),
    ]
    assert data.negatives[-1].prefix == "recordings:other/"
    assert "recordings:other/" in data.confusables
    assert data.licences["s"] == "not stated" and data.licences["r"] == "its speaker's"


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (lambda c: not c.name.startswith("noise/"), "hold no noises"),
        (lambda c: not c.name.startswith(("speech/", "words/")), "hold no other speech"),
    ],
)
def test_data_without_a_kind_are_refused(kept, reason) -> None:
    with pytest.raises(TrainingError, match=reason) as refusal:
        compose([c for c in DATA if kept(c)])
    assert_one_sentence(refusal.value)


def test_clips_without_a_folder_are_refused() -> None:
    with pytest.raises(TrainingError, match="lies in no folder") as refusal:
        compose([*DATA, clip("lonely")])
    assert_one_sentence(refusal.value)


def test_a_data_folder_needs_manifests(tmp_path: Path) -> None:
    (tmp_path / "manifest_b.csv").touch()
    (tmp_path / "manifest_a.csv").touch()
    (tmp_path / "other.csv").touch()
    assert find_manifests(tmp_path) == ("manifest_a.csv", "manifest_b.csv")
    for folder, reason in (
        (None, "give --data"),
        (tmp_path / "gone", "there is no folder"),
        (Path(__file__).parent, "has no manifest"),
    ):
        with pytest.raises(TrainingError, match=reason) as refusal:
            find_manifests(folder)
        assert_one_sentence(refusal.value)
