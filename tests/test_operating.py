from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import INFO

from kwspot.hearing import Heard, Hearing
from kwspot.intervals import garwood
from kwspot.manifest import Clip
from kwspot.modelfile import Decision, Keyword, OperatingPoint
from kwspot.operating import MATCHED_RATES, MOST, det, match, presets
from kwspot.streams import Place

PLAIN = replace(INFO, decision=Decision(smoothing=1, release=0.5, refractory=0.2))
PERIOD = PLAIN.output_samples  # 40 ms
HOUR = 90_000  # outputs


def heard(name: str, scores: np.ndarray, places: tuple[Place, ...]) -> Heard:
    return Heard(name, places, (), scores.astype(np.float32).astype(np.float64))


def words(*levels: float) -> Heard:
    """Words 4 s apart, by turns of two speakers, that reach these scores."""
    scores, places = np.zeros(100 * len(levels)), []
    for number, level in enumerate(levels):
        scores[100 * number + 50] = level
        clip = Clip(Path(), f"{number}.wav", 1.0, "tiny", "ab"[number % 2], "test", "")
        begin = 100 * number * PERIOD
        places.append(
            Place(clip, begin, begin + 100 * PERIOD, (begin + 40 * PERIOD, begin + 55 * PERIOD))
        )
    return heard("clean", scores, tuple(places))


def other(*levels: float, hours: int = 1) -> Heard:
    """Return other sound with single peaks 4 s apart."""
    scores = np.zeros(HOUR * hours)
    scores[100 : 100 * (len(levels) + 1) : 100] = levels
    clip = Clip(Path(), "n.wav", 3600.0, "", "", "test", "")
    end = HOUR * hours * PERIOD
    return heard("other sound", scores, (Place(clip, 0, end, (0, end)),))


def hearing(positives: Heard, negatives: Heard, **points: OperatingPoint) -> Hearing:
    known = PLAIN.keywords[0].operating_points | points
    info = replace(PLAIN, keywords=(Keyword("tiny", known, 0.3),))
    return Hearing(info, "tiny", 0.5, (positives,), negatives)


def test_misses_at_matched_false_alarms() -> None:
    result = match(hearing(words(0.95, 0.75, 0.65, 0.3), other(0.9, 0.7, 0.6)), None, 0)
    assert [found.per_hour for found in result] == list(MATCHED_RATES)
    assert [found.false_alarms for found in result] == [0, 0, 0, 1, 2]
    assert [found.hits for found in result] == [(1,), (1,), (1,), (2,), (3,)]
    assert [found.missed for found in result] == [(0.75,), (0.75,), (0.75,), (0.5,), (0.25,)]
    interval = result[-1].intervals[0]  # one speaker always, the other every second time
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 0.5)


def test_the_curve_goes_from_no_false_alarm_to_all_of_them() -> None:
    curve = det(hearing(words(0.95, 0.75, 0.65, 0.3), other(0.9, 0.7, 0.6)), None)
    assert curve.thresholds == pytest.approx((0.9, 0.7, 0.6), abs=1e-6)
    assert curve.per_hour == (0.0, 1.0, 2.0)
    assert curve.missed == ((0.75, 0.5, 0.25),)


def test_the_curve_ends_at_one_a_minute_and_leaves_out_what_cannot_be_set() -> None:
    levels = np.linspace(1.0, 0.5, 100)
    curve = det(hearing(words(0.9), other(*levels)), None)
    assert curve.thresholds[0] < 1  # just above the peak of 1 there is none
    assert curve.per_hour[0] == 1
    assert curve.per_hour[-1] == MOST


def test_presets_are_held_against_their_promise() -> None:
    point = OperatingPoint(0.5, 0.0)
    low, medium, high = presets(
        hearing(words(0.95, 0.65, 0.3), other(0.7, 0.65, 0.6, hours=2), high=point), None
    )
    assert (low.sensitivity, low.threshold, low.promised, low.ratio) == ("low", 0.9, 0.1, 0.0)
    assert (low.false_alarms, low.hits) == (0, (1,))
    assert (medium.false_alarms, medium.per_hour, medium.hits) == (3, 1.5, (2,))
    assert (medium.promised, medium.ratio) == (0.5, 3.0)
    assert medium.interval.high == pytest.approx(garwood(3).high / 2)
    assert (high.false_alarms, high.ratio) == (3, None)
