import numpy as np
import pytest

from kwspot.intervals import Interval, by_speaker, garwood, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (95, 100, 0.8882, 0.9785),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_interval_is_that_of_the_textbooks(
    hits: int, trials: int, low: float, high: float
) -> None:
    interval = wilson(hits, trials)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [
        (0, 0.0, 3.689),  # the exact tables in Ulm 1990 and Johnson, Kotz and Kemp 1992
        (1, 0.025, 5.572),
        (2, 0.242, 7.225),
        (5, 1.623, 11.668),
        (10, 4.795, 18.390),
        (50, 37.111, 65.919),
        (100, 81.364, 121.627),
    ],
)
def test_poisson_interval_is_that_of_the_textbooks(events: int, low: float, high: float) -> None:
    interval = garwood(events)
    # The tables are rounded to three digits.
    assert interval.low == pytest.approx(low, abs=6e-4)
    assert interval.high == pytest.approx(high, abs=6e-4)


def test_poisson_interval_of_many_events_is_nearly_normal() -> None:
    interval = garwood(2_500)
    assert interval.low == pytest.approx(2_500 - 98, rel=1e-3)
    assert interval.high == pytest.approx(2_500 + 98, rel=1e-3)


def test_speakers_who_are_all_or_nothing_widen_the_interval() -> None:
    hits, speakers = [True] * 50 + [False] * 50, [str(n // 10) for n in range(100)]
    interval = by_speaker(hits, speakers, np.random.default_rng(0))
    assert interval is not None
    # The mean of 10 coins: 0.5 +- 1.96 * 0.158; a bootstrap share is a multiple of a tenth.
    assert interval == Interval(pytest.approx(0.2), pytest.approx(0.8))
    assert interval.low < wilson(50, 100).low < wilson(50, 100).high < interval.high


def test_equal_speakers_leave_no_doubt_about_speakers() -> None:
    hits, speakers = [True, False] * 20, [str(n // 4) for n in range(40)]
    assert by_speaker(hits, speakers, np.random.default_rng(0)) == Interval(0.5, 0.5)


def test_the_seed_decides_the_bootstrap() -> None:
    hits, speakers = [n % 7 > 2 for n in range(90)], [str(n % 13) for n in range(90)]
    first, again = (by_speaker(hits, speakers, np.random.default_rng(5)) for _ in range(2))
    assert first == again


def test_nothing_is_said_of_people_who_are_unknown_alone_or_all_alike() -> None:
    rng = np.random.default_rng(0)
    assert by_speaker([True, False], ["a", ""], rng) is None
    assert by_speaker([True, False], ["a", "a"], rng) is None
    assert by_speaker([True, True], ["a", "b"], rng) is None  # not "100 to 100 %"
