import logging

import numpy as np
import pytest
import torch
from kwspot_export.calibration import PRIOR, Platt, calibrated, fit_platt, folded
from kwspot_export.student import FrameNet, stream
from kwspot_export.validation import Score
from toy import random_features, random_net


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def logit(scores: np.ndarray) -> np.ndarray:
    return np.log(scores / (1 - scores))


def draw(seed: int, keywords: int, others: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores that are probabilities at PRIOR: of keywords, and of other sound.

    Of two normal logits of one variance v, means v/2 above and below the prior's make that so.
    """
    rng = np.random.default_rng(seed)
    middle = logit(np.array(PRIOR))
    return sigmoid(rng.normal(middle + 2, 2, keywords)), sigmoid(rng.normal(middle - 2, 2, others))


def distorted(scores: np.ndarray) -> np.ndarray:
    return sigmoid((logit(scores) + 3) / 2)


def calibration_error(hits: np.ndarray, alarms: np.ndarray) -> float:
    """Expected calibration error over ten bins, kinds weighing as PRIOR says."""
    scores = np.concatenate([hits, alarms])
    truth = np.repeat([1.0, 0.0], [len(hits), len(alarms)])
    weights = np.repeat([PRIOR / len(hits), (1 - PRIOR) / len(alarms)], [len(hits), len(alarms)])
    bins = np.minimum((scores * 10).astype(int), 9)
    gaps = [abs(np.sum((weights * (scores - truth))[bins == b])) for b in range(10)]
    return float(np.sum(gaps))


def outputs(net: FrameNet) -> torch.Tensor:
    with torch.no_grad():
        return net(random_features(400))[0, :, 0]


def test_a_fit_recovers_the_map_that_the_scores_need() -> None:
    hits, alarms = draw(0, 4000, 20_000)
    platt = fit_platt(distorted(hits), distorted(alarms))
    # Twenty thousand draws tell the two numbers to about 2 %.
    assert platt.slope == pytest.approx(2, abs=0.1)
    assert platt.offset == pytest.approx(-3, abs=0.15)


def test_how_many_peaks_of_a_kind_there_are_does_not_move_the_prior() -> None:
    hits, alarms = draw(1, 4000, 400)
    assert fit_platt(hits, alarms).offset == pytest.approx(0, abs=0.3)  # 400 draws


def test_held_out_scores_are_more_reliable_after_the_fit() -> None:
    platt = fit_platt(*map(distorted, draw(2, 300, 3000)))
    held = [distorted(scores) for scores in draw(3, 2000, 20_000)]
    mapped = [sigmoid(platt.slope * logit(scores) + platt.offset) for scores in held]
    before, after = calibration_error(*held), calibration_error(*mapped)
    assert before > 0.1
    assert after < 0.03


def test_peaks_that_are_far_apart_do_not_make_a_step() -> None:
    platt = fit_platt(np.full(20, 0.9), np.full(900, 0.1))
    assert 0 < platt.slope < 3


def test_a_folded_net_puts_out_mapped_logits_in_the_same_order() -> None:
    net = random_net()
    raw = outputs(net)
    mapped = outputs(folded(net, [Platt(2.5, -1.5)]))
    torch.testing.assert_close(mapped, 2.5 * raw - 1.5, rtol=0, atol=2e-5)  # float32 sums
    assert torch.equal(outputs(net), raw), "the net itself stays as it was"
    # Where float32 tells two outputs apart, their order is kept.
    order = torch.argsort(raw)
    assert (torch.diff(mapped[order]) > -2e-5).all()


def test_a_folded_net_streams_what_it_puts_out() -> None:
    net = folded(random_net(), [Platt(0.5, 2.0)])
    features = random_features(80)
    with torch.no_grad():
        (streamed,) = stream(net.streaming(), features[0])
        torch.testing.assert_close(streamed, net.outputs(features)[0][0], rtol=0, atol=1e-5)


def test_each_keyword_has_a_map_of_its_own() -> None:
    net = FrameNet(random_net().encoder, 2).eval()
    features = random_features(80)
    with torch.no_grad():
        raw, mapped = net(features), folded(net, [Platt(2.0, 1.0), Platt()])(features)
    torch.testing.assert_close(mapped[..., 0], 2 * raw[..., 0] + 1, rtol=0, atol=1e-5)
    assert torch.equal(mapped[..., 1], raw[..., 1])


def scorer(hits: np.ndarray, alarms: np.ndarray, truth: FrameNet):
    """Score a net as if it put out the logits of these, mapped as its head differs from truth's."""

    def score(net: FrameNet) -> Score:
        slope = float((net.head.weight / truth.head.weight).mean().detach())
        offset = float((net.head.bias - slope * truth.head.bias).mean().detach())
        peaks = [sigmoid(slope * logit(p) + offset).astype(np.float32) for p in (hits, alarms)]
        return Score({}, *peaks, hours=len(alarms) / 1800, recorded=len(alarms))

    return score


def test_calibrating_a_net_scores_what_it_returns() -> None:
    hits, alarms = map(distorted, draw(4, 2000, 20_000))
    net = random_net()
    score = scorer(hits, alarms, net)
    found = calibrated(net, score)
    assert found.platt.slope == pytest.approx(2, abs=0.15)
    again = score(found.net)
    np.testing.assert_array_equal(again.hits, found.score.hits)
    assert calibration_error(found.score.hits, found.score.alarms) < 0.03
    thresholds = [found.score.calibrated(rate) for rate in (0.1, 0.5, 2.0)]
    expected = [score(net).calibrated(rate) for rate in (0.1, 0.5, 2.0)]
    mapped = found.platt.slope * logit(np.array(expected)) + found.platt.offset
    # Where nothing is averaged, thresholds move with the map: false alarms are the same ones.
    np.testing.assert_allclose(logit(np.array(thresholds)), mapped, rtol=1e-3)


def test_scores_that_tell_nothing_are_left_as_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alarms, hits = draw(5, 50, 500)  # the wrong way round
    net = random_net()
    with caplog.at_level(logging.WARNING):
        found = calibrated(net, scorer(hits, alarms, net))
    assert found.platt == Platt()
    assert found.net is net
    assert "not calibrated" in caplog.text
