import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kwspot.ear import Ear

SAMPLES = np.arange(1, 101, dtype=np.float32)


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 100), max_size=12), count=st.integers(1, 20))
def test_the_latest_samples_are_those_however_they_came(cuts: list[int], count: int) -> None:
    ear = Ear(20)
    for part in np.split(SAMPLES, sorted(cuts)):
        ear.hear(part)
    np.testing.assert_array_equal(ear.latest(count), SAMPLES[100 - count :])
    later = 20 - count
    np.testing.assert_array_equal(ear.latest(count, later), SAMPLES[80 : 80 + count])


def test_before_a_stream_there_is_silence() -> None:
    ear = Ear(20)
    ear.hear(SAMPLES[:5])
    np.testing.assert_array_equal(ear.latest(8), [0, 0, 0, 1, 2, 3, 4, 5])
    ear.clear()
    np.testing.assert_array_equal(ear.latest(20), np.zeros(20))


def test_what_was_given_stays_as_it_was() -> None:
    ear = Ear(20)
    ear.hear(SAMPLES)
    given_before = ear.latest(20)
    ear.hear(SAMPLES)
    np.testing.assert_array_equal(given_before, SAMPLES[80:])
