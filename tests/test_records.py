from dataclasses import dataclass, field

import pytest

from kwspot.records import read_record


@dataclass(frozen=True)
class Part:
    size: int


@dataclass(frozen=True)
class Whole:
    name: str
    share: float
    parts: tuple[Part, ...]
    levels: dict[str, float] = field(default_factory=dict)
    note: str | None = None


GOOD = {"name": "n", "share": 1, "parts": [{"size": 2}], "levels": {"a": 3}}


def test_nested_values_are_built() -> None:
    whole = read_record(Whole, GOOD, "f", ValueError)
    assert whole == Whole("n", 1.0, (Part(2),), {"a": 3.0})
    assert isinstance(whole.share, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "f: unknown setting 'colour'"),
        ({"name": 3}, "f, name: 3 is no str"),
        ({"share": "much"}, "f, share: 'much' is no float"),
        ({"share": True}, "f, share: True is no float"),
        ({"parts": [{"size": True}]}, "f, parts, size: True is no int"),
        ({"parts": [{}]}, "f, parts: the setting 'size' is missing"),
        ({"parts": 3}, "f, parts: 3 is no"),
        ({"levels": {"a": "x"}}, "f, levels: 'x' is no float"),
        ({"note": 3}, "f, note: 3 is no str"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_record(Whole, GOOD | change, "f", ValueError)


def test_a_list_is_no_table() -> None:
    with pytest.raises(ValueError, match="expected a table"):
        read_record(Whole, [], "f", ValueError)
