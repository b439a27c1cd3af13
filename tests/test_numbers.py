"""Numbers on the command line."""

import argparse
import math

import pytest

from kwspot.commands.numbers import count, positive, whole


def test_numbers_in_range_are_read() -> None:
    assert (count("1"), whole("0"), positive("0.25")) == (1, 0, 0.25)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "one", ""])
def test_a_count_begins_at_one(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no whole number from 1 up"):
        count(text)


@pytest.mark.parametrize("text", ["-1", "1.5", "none", ""])
def test_a_whole_number_is_not_negative(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no whole number from 0 up"):
        whole(text)


@pytest.mark.parametrize("text", ["0", "-1", str(math.inf), str(math.nan), "much", ""])
def test_a_positive_number_is_finite(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no number above 0"):
        positive(text)
