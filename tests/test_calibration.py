import numpy as np
import pytest

from kwspot.calibration import BLOCK, block_peaks, refit, threshold_at
from kwspot.modelfile import OperatingPoint

OWN = {
    "low": OperatingPoint(0.95, 0.1),
    "medium": OperatingPoint(0.9, 0.5),
    "high": OperatingPoint(0.8, 2.0),
}


def place(seed: int, hours: float, shift: float = 0.0) -> np.ndarray:
    """Peaks of a place: their number above a logit falls exponentially, all at `shift` - 4."""
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-shift - rng.exponential(1.0, int(hours * 3600 / BLOCK)) + 4))


def even_place(hours: float, shift: float) -> np.ndarray:
    """The same without chance."""
    count = int(hours * 3600 / BLOCK)
    return 1 / (1 + np.exp(4 - shift - np.log(count / np.arange(1, count + 1))))


def test_peaks_are_those_of_each_block_and_of_the_rest() -> None:
    assert block_peaks(np.array([0.1, 0.5, 0.2, 0.3, 0.9]), 2).tolist() == [0.5, 0.3, 0.9]


def test_peaks_that_are_all_alike_have_themselves_as_threshold() -> None:
    assert threshold_at(0.5, np.full(1800, 0.25)) == pytest.approx(0.25)
    assert threshold_at(0.5, np.zeros(1800)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("per_hour", "least", "most"), [(0.1, 0.3, 4.0), (0.5, 0.5, 2.0), (2.0, 0.6, 1.5)]
)
def test_a_threshold_gives_what_it_should_on_the_median_and_nearly_so_mostly(
    per_hour: float, least: float, most: float
) -> None:
    hours, given = 1.9, []
    for seed in range(400):
        threshold = threshold_at(per_hour, place(seed, hours))
        # Of peaks that are drawn so, this share lies above a score.
        share = (1 / threshold - 1) * np.exp(-4)
        given.append(share * 3600 / BLOCK / per_hour)
    assert np.median(given) == pytest.approx(1, abs=0.15)
    assert least < np.quantile(given, 0.25) and np.quantile(given, 0.75) < most


def test_the_very_highest_peak_moves_a_threshold_little() -> None:
    peaks = np.sort(even_place(hours=2, shift=0))
    alone = np.log(1 / threshold_at(0.5, peaks) - 1)
    peaks[-1] = 1 / (1 + (1 / peaks[-1] - 1) * np.exp(-3))
    assert 0 < alone - np.log(1 / threshold_at(0.5, peaks) - 1) < 1.0


def in_noise(seed: int, peaks: np.ndarray) -> np.ndarray:
    """The peaks, and those of three times as much sound, worsened: all a logit higher."""
    return np.concatenate([peaks, place(seed + 10_000, hours=6, shift=1.0)])


@pytest.mark.parametrize("per_hour", [0.1, 0.5, 2.0])
def test_more_sound_whose_peaks_fall_alike_moves_thresholds_less_and_not_off(
    per_hour: float,
) -> None:
    logits: dict[str, list[float]] = {"alone": [], "alike": []}
    for seed in range(400):
        peaks = place(seed, hours=2)
        alone, alike = (
            threshold_at(per_hour, peaks, more) for more in (None, in_noise(seed, peaks))
        )
        logits["alone"].append(-np.log(1 / alone - 1))
        logits["alike"].append(-np.log(1 / alike - 1))
    right = np.log(3600 / BLOCK / per_hour) - 4
    assert np.median(logits["alike"]) == pytest.approx(right, abs=0.25)
    ratio = np.std(logits["alike"]) / np.std(logits["alone"])
    assert ratio < (0.6 if per_hour < 0.5 else 1.01), "the rarer, the more it tells"


def test_peaks_alone_are_alike_themselves() -> None:
    for seed in range(20):
        peaks = place(seed, hours=2)
        assert threshold_at(0.1, peaks) == threshold_at(0.1, peaks, peaks)


def test_where_a_stream_has_no_peaks_more_sound_tells_all() -> None:
    silent, noisy = np.zeros(3600), place(0, hours=6)
    found = threshold_at(0.5, silent, np.concatenate([silent, noisy]))
    assert found == pytest.approx(threshold_at(0.5, np.concatenate([silent, noisy])))


def test_a_rate_that_many_peaks_tell_is_counted() -> None:
    peaks = place(0, hours=2)
    threshold = threshold_at(30.0, peaks)
    assert np.sum(peaks >= threshold) == 60


def test_a_long_background_decides_alone() -> None:
    peaks = place(0, hours=12)
    for name, found in refit(OWN, peaks).items():
        assert found.share == 1
        if not found.refuted:
            tail = threshold_at(OWN[name].false_alarms_per_hour, peaks)
            assert tail <= found.threshold < tail + 1.1e-4  # rounded up


def test_thresholds_of_a_long_background_keep_their_rate_in_the_same_place() -> None:
    rates = []
    for seed in range(60):
        found = refit(OWN, place(seed, hours=4))["high"].threshold
        rates.append(np.sum(place(1000 + seed, hours=40) >= found) / 40)
    assert 1.0 < np.median(rates) < 3.0, "2 an hour was asked for"


def test_a_short_background_moves_a_threshold_by_its_share() -> None:
    peaks = even_place(hours=0.25, shift=-5)  # a quiet quarter of an hour
    found = refit(OWN, peaks)
    assert [found[name].share for name in OWN] == pytest.approx([0.025, 0.125, 0.5])
    for name, point in OWN.items():
        tail = threshold_at(point.false_alarms_per_hour, peaks)
        assert tail < found[name].threshold < point.threshold
        assert not found[name].refuted
    assert found["low"].threshold > 0.93, "ten hours would be needed to say more"


def test_a_silent_background_of_a_minute_changes_next_to_nothing() -> None:
    found = refit(OWN, np.full(30, 1e-5))
    assert found["low"].threshold == pytest.approx(0.95, abs=0.002)
    assert found["medium"].threshold == pytest.approx(0.9, abs=0.02)


def test_however_short_a_background_is_peaks_that_refute_a_threshold_raise_it() -> None:
    peaks = np.full(60, 0.01)  # two minutes,
    peaks[[5, 20, 40]] = 0.97, 0.98, 0.99  # with three alarms
    found = refit(OWN, peaks)
    assert all(found[name].refuted for name in OWN)
    # 0.1 an hour make one alarm in 300 such backgrounds: none may stay; 2 an hour, one in 15.
    assert found["low"].threshold > 0.99
    assert 0.98 < found["high"].threshold <= 0.99


def test_lower_rates_never_have_lower_thresholds() -> None:
    for seed in range(30):
        for hours in (0.1, 0.6, 3.0):
            found = refit(OWN, place(seed, hours, shift=2.0))
            low, medium, high = (found[name].threshold for name in ("low", "medium", "high"))
            assert 1 >= low >= medium >= high > 0
