from pathlib import Path

import pytest

from kwspot.conditions import Condition, every_condition, parse_condition
from kwspot.errors import KwspotError
from kwspot.interference import TALKERS
from kwspot.manifest import Clip
from kwspot.material import Material


def clip(name: str, speaker: str = "") -> Clip:
    return Clip(Path(name), name, 1.0, "", speaker, "test", "")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("clean", Condition()),
        ("babble:10", Condition("babble", 10.0)),
        ("noise:-2.5", Condition("noise", -2.5)),
        ("music:0", Condition("music", 0.0)),
        ("room", Condition(room=True)),
        ("speed:0.85", Condition(speed=0.85)),
        ("level:-40", Condition(level_db=-40.0)),
        ("speed:1.15+room+level:-30+noise:5", Condition("noise", 5.0, 1.15, True, -30.0)),
    ],
)
def test_conditions_are_read_and_written(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition
    assert str(condition) == text


def test_the_order_of_parts_does_not_matter() -> None:
    assert parse_condition("babble:5+room") == parse_condition("room+babble:5")


@pytest.mark.parametrize(
    "text",
    [
        *("", "babble", "babble:", "babble:loud", "babble:nan", "babble:inf", "rain:3", "clean:3"),
        *("clean+room", "room+room", "babble:5+noise:5", "room:3", "speed:0", "level:6", "room+"),
    ],
)
def test_other_conditions_are_refused(text: str) -> None:
    with pytest.raises(KwspotError, match="is no condition: write clean, or one or more"):
        parse_condition(text)


def test_every_condition_is_what_the_clips_allow() -> None:
    least = Material((clip("a"),), (clip("b"),), (clip("b"),), ())
    names = [str(condition) for condition in every_condition(least)]
    levels = ["level:-40", "level:-30", "level:-20", "level:-10", "level:-3"]
    assert names == ["clean", "speed:0.85", "speed:1.15", *levels]
    talkers = tuple(clip(f"t{n}", f"s{n}") for n in range(TALKERS))
    full = Material((), (), talkers, (clip("n"),), (clip("m"),), (clip("r"),))
    names = [str(condition) for condition in every_condition(full)]
    snrs = [f"{kind}:{snr}" for kind in ("babble", "noise", "music") for snr in (20, 10, 5, 0)]
    assert names == ["clean", *snrs, "room", "speed:0.85", "speed:1.15", *levels]
