from dataclasses import replace

import numpy as np
import pytest
from sound import words
from tiny import INFO

from kwspot import KeywordDetector
from kwspot.model import OnnxModel
from kwspot.modelfile import Decision
from kwspot.thresholds import Scores, fire, separate, threshold_for

PLAIN = replace(INFO, decision=Decision(smoothing=1, release=0.5, refractory=0.2))
PERIOD = PLAIN.output_samples  # 40 ms, so 25 outputs a second


def peaks(*levels: float, floor: float = 0.0, apart: int = 100) -> Scores:
    """Return scores with single peaks 4 s apart, in float32 as a detector gives them."""
    scores = np.full(apart * (len(levels) + 1), floor)
    scores[apart : apart * (len(levels) + 1) : apart] = levels
    return scores.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("threshold", [0.45, 0.5, 0.55, 0.6])
@pytest.mark.parametrize("refractory", [None, 0.0, 1.5])
def test_firing_on_scores_is_what_the_detector_does(
    tiny_model: OnnxModel, threshold: float, refractory: float | None
) -> None:
    samples = words(12.0, seed=4)
    detector = KeywordDetector(tiny_model, threshold=threshold, vad="off", refractory=refractory)
    expected = [round(hit.end * 16_000) for hit in detector.process(samples)]
    detector.reset()
    scores = detector.score(samples)[:, 0].astype(np.float64)
    assert fire(scores, threshold, tiny_model.info, refractory) == expected != []


def test_events_are_two_seconds_apart() -> None:
    assert separate([]) == []
    # Counted from the last event, not from the last time: the fifth is 2 s after the third.
    assert separate([0, 31_999, 32_000, 63_999, 64_000, 200_000]) == [0, 2, 4, 5]


@pytest.mark.parametrize(("allowed", "peak"), [(0, 0.9), (1, 0.7), (2, 0.6), (3, 0.2)])
def test_the_threshold_is_just_above_the_first_peak_too_many(allowed: int, peak: float) -> None:
    scores = peaks(0.2, 0.7, 0.9, 0.6)
    threshold = threshold_for(allowed, scores, PLAIN)
    assert peak < threshold < peak + 1e-6
    assert len(fire(scores, threshold, PLAIN)) == allowed
    assert len(fire(scores, threshold - 2e-7, PLAIN)) == allowed + 1


def test_peaks_within_one_event_count_once() -> None:
    scores = peaks(0.9, 0.7, 0.8, apart=30)  # 1.2 s apart: 0.8 is more than 2 s after 0.9
    assert threshold_for(1, scores, PLAIN) == pytest.approx(0.8, abs=1e-6)
    assert len(separate(fire(scores, 0.5, PLAIN))) == 2


def test_a_floor_that_never_arms_the_trigger_again_is_no_low_rate() -> None:
    # Below 0.2, the floor stays above half the threshold: a single event, but a deaf detector.
    scores = peaks(0.9, 0.7, 0.8, floor=0.1)
    assert threshold_for(1, scores, PLAIN) == pytest.approx(0.8, abs=1e-6)


def test_saturated_scores_need_a_threshold_above_one() -> None:
    assert threshold_for(0, peaks(0.5, 1.0), PLAIN) > 1
    assert threshold_for(1, peaks(0.5, 1.0), PLAIN) == pytest.approx(0.5, abs=1e-6)


def test_where_no_threshold_gives_too_many_the_lowest_peak_is_one() -> None:
    assert threshold_for(9, peaks(0.9, 0.25), PLAIN) == 0.25


def test_silence_allows_any_threshold() -> None:
    assert 0 < threshold_for(0, peaks(), PLAIN) < 1e-6
