import numpy as np
import pytest

from kwspot.decision import Smoother, Trigger

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
