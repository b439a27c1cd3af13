import numpy as np
import pytest

from kwspot.decision import Contest, Smoother, Trigger

OUTPUTS = np.array([[0.3, 0.0], [0.6, 0.3], [0.9, 0.6], [0.0, 0.9]], np.float32)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_smoothing_is_the_mean_of_the_last_outputs_however_many_a_step_has(step: int) -> None:
    smoother = Smoother(3, 2)
    scores = np.concatenate([smoother(part) for part in np.split(OUTPUTS, 4 // step)])
    expected = [[0.1, 0.0], [0.3, 0.1], [0.6, 0.3], [0.5, 0.6]]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_reset_forgets_posteriors() -> None:
    smoother = Smoother(3, 2)
    first = smoother(OUTPUTS)
    smoother.reset()
    np.testing.assert_array_equal(smoother(OUTPUTS), first)


def test_no_smoothing_returns_the_posteriors() -> None:
    np.testing.assert_array_equal(Smoother(1, 2)(OUTPUTS), OUTPUTS)


def fired(scores: list[float], **options: float) -> list[int]:
    settings = {"threshold": 0.5, "release": 0.5, "refractory": 0} | options
    trigger = Trigger(**settings)  # type: ignore[arg-type]
    return [time for time, score in enumerate(scores) if trigger(score, time)]


def test_fires_at_the_threshold_and_not_below() -> None:
    assert fired([0.49, 0.5]) == [1]


def test_one_high_stretch_is_one_detection() -> None:
    assert fired([0.1, 0.6, 0.9, 0.4, 0.7, 0.6]) == [1]


def test_fires_again_after_falling_below_the_release_level() -> None:
    assert fired([0.6, 0.24, 0.6]) == [0, 2]
    assert fired([0.6, 0.26, 0.6]) == [0]


def test_waits_for_the_refractory_time() -> None:
    assert fired([0.6, 0.1, 0.6, 0.1, 0.6], refractory=3) == [0, 4]


def test_a_stretch_that_outlasts_the_refractory_time_is_not_heard_twice() -> None:
    assert fired([0.6] * 10, refractory=3) == [0]


def test_reset_arms() -> None:
    trigger = Trigger(0.5, 0.5, 100)
    assert trigger(0.9, 0)
    trigger.reset()
    assert trigger(0.9, 1)


def winners(rows: list[tuple[float, float]], refractory: tuple[int, int] = (0, 0)) -> list[object]:
    contest = Contest([Trigger(t, 0.5, r) for t, r in zip((0.4, 0.8), refractory, strict=True)])
    return [contest(scores, time) for time, scores in enumerate(rows)]


def test_of_words_at_one_output_the_one_furthest_above_its_threshold_wins() -> None:
    assert winners([(0.5, 0.9)]) == [0]  # 1.25 and 1.125 of the thresholds
    assert winners([(0.4, 0.9)]) == [1]
    assert winners([(0.4, 0.8)]) == [0]  # equals


def test_a_detection_silences_every_word_for_its_refractory_time() -> None:
    assert winners([(0.4, 0), (0, 0.9), (0, 0)], (2, 0)) == [0, None, None]
    assert winners([(0.4, 0), (0, 0), (0, 0.9)], (2, 0)) == [0, None, 1]
    assert winners([(0, 0.9), (0.4, 0), (0, 0)], (2, 0)) == [1, 0, None]


def test_a_word_that_outlasts_the_refractory_time_of_another_is_heard_at_its_end() -> None:
    assert winners([(0.4, 0), (0.4, 0.9), (0.4, 0.9), (0.4, 0.9)], (2, 2)) == [0, None, 1, None]


def test_alone_in_a_contest_a_word_fires_as_its_trigger_does() -> None:
    rng = np.random.default_rng(3)
    for wait in (0, 3, 10):
        contest, trigger = Contest([Trigger(0.6, 0.5, wait)]), Trigger(0.6, 0.5, wait)
        for time, score in enumerate(rng.random(300).tolist()):
            assert (contest([score], time) == 0) == trigger(score, time)


def test_reset_lets_every_word_fire() -> None:
    contest = Contest([Trigger(0.5, 0.5, 100), Trigger(0.5, 0.5, 100)])
    assert contest([0.9, 0.0], 0) == 0
    contest.reset()
    assert contest([0.0, 0.9], 1) == 1
