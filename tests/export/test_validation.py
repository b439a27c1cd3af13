from dataclasses import replace

import numpy as np
import pytest
import torch
from kwspot_export import validation
from kwspot_export.publish import moved_thresholds
from kwspot_export.train import Run
from kwspot_export.validation import (
    Score,
    draw_trials,
    features_of,
    smoothed_scores,
    string_together,
)
from toy import Exported, corpus_of, describe, other_words, random_features, random_net, silence

from kwspot import KeywordDetector
from kwspot.features import SAMPLE_RATE, FrontEnd
from kwspot.modelfile import ModelInfo, OperatingPoint


def score(alarms: list[float], hits: list[float], hours: float) -> Score:
    peaks = np.array(alarms, np.float32)
    return Score({}, np.array(hits, np.float32), peaks, hours, recorded=len(peaks))


@pytest.mark.parametrize("per_hour", [0.1, 0.5, 1.0, 2.0, 3.9])
def test_a_threshold_allows_no_more_false_alarms_than_asked_for(per_hour: float) -> None:
    rng = np.random.default_rng(0)
    scored = score(rng.random(3600).tolist(), [1.0], hours=2.0)
    threshold = scored.threshold(per_hour)
    allowed = int(2.0 * per_hour)
    assert np.sum(scored.alarms >= threshold) == allowed
    assert np.sum(scored.alarms >= threshold * 0.999) >= allowed, "and is the lowest that does"


def test_thresholds_count_equal_peaks_together() -> None:
    scored = score([0.9, 0.5, 0.5, 0.5, 0.1], [1.0], hours=1.0)
    assert np.sum(scored.alarms >= scored.threshold(2.0)) == 1


def test_a_calibrated_threshold_keeps_its_rate_on_a_new_stream() -> None:
    rng = np.random.default_rng(0)

    def peaks(hours: float) -> np.ndarray:
        """Logistic scores: their number above a threshold falls exponentially with its logit."""
        return 1 / (1 + np.exp(4 - rng.exponential(1.0, int(hours * 1800))))

    rates = []
    for _ in range(100):
        threshold = score(peaks(2.0).tolist(), [1.0], hours=2.0).calibrated(2.0)
        rates.append(np.sum(peaks(20.0) >= threshold) / 20)
    # Ten peaks tell a rate to about a third; over a hundred streams that averages out.
    assert 1.2 < np.median(rates) < 3.0


def test_calibrated_thresholds_fall_with_the_rate_beyond_what_the_stream_can_count() -> None:
    rng = np.random.default_rng(1)
    scored = score(rng.random(3600).tolist(), [1.0], hours=2.0)
    thresholds = [scored.calibrated(rate) for rate in (0.01, 0.1, 0.5, 2.0)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert 0 < thresholds[-1] < thresholds[0] < 1


def points_of(**thresholds: float) -> ModelInfo:
    info = describe(random_net(), ("word",))
    points = {name: OperatingPoint(value, 0.5) for name, value in thresholds.items()}
    return replace(info, keywords=(replace(info.keywords[0], operating_points=points),))


def test_thresholds_move_with_the_scores_around_them() -> None:
    rng = np.random.default_rng(0)
    logits, noise = rng.normal(0, 3, 4000), rng.normal(0, 0.1, 4000)
    before = 1 / (1 + np.exp(-logits))
    after = 1 / (1 + np.exp(-(logits + noise - 0.4 * (logits > 0))))  # only high scores fall
    exact, quantised = (score(p[:2000].tolist(), p[2000:].tolist(), 1.0) for p in (before, after))
    quantised = score(quantised.alarms[:-1].tolist(), quantised.hits.tolist(), 1.0)  # cut short
    info = points_of(high=0.2, medium=0.9)
    moved = moved_thresholds(info, [exact], [quantised]).keywords[0].operating_points
    assert moved["high"].threshold == pytest.approx(0.2, abs=0.01)
    assert moved["medium"].threshold == pytest.approx(0.858, abs=0.01)  # 0.4 lower, as a logit
    assert moved["medium"].false_alarms_per_hour == 0.5


def test_no_threshold_is_above_all_that_eight_bits_can_say() -> None:
    peaks = 1 / (1 + np.exp(-np.linspace(-10, 7, 200)))  # few are as high as the threshold
    most = 255 / 256
    exact, quantised = (
        score(p[::2].tolist(), p[1::2].tolist(), 1.0) for p in (peaks, np.minimum(peaks, most))
    )
    moved = moved_thresholds(points_of(low=0.9997), [exact], [quantised])
    assert 0.995 < moved.keywords[0].operating_points["low"].threshold <= most


def test_moved_thresholds_stay_in_order() -> None:
    before = 1 / (1 + np.exp(-np.linspace(-4, 4, 400)))
    logits = np.linspace(-4, 4, 400)
    after = 1 / (1 + np.exp(-np.where(logits > 2, logits - 1.5, logits)))  # falls at 2
    exact, quantised = (score(p[::2].tolist(), p[1::2].tolist(), 1.0) for p in (before, after))
    info = points_of(low=0.95, medium=0.8)  # logits 2.9 and 1.4, which become 1.4 and 1.4
    moved = moved_thresholds(info, [exact], [quantised]).keywords[0].operating_points
    assert moved["low"].threshold >= moved["medium"].threshold > 0.78
    lower = moved_thresholds(points_of(low=0.93, medium=0.85), [exact], [quantised])
    points = lower.keywords[0].operating_points
    assert points["low"].threshold == points["medium"].threshold


def test_merit_is_the_mean_recall() -> None:
    scored = score([0.1], [1.0], 1.0)
    scored.recall.update({0.5: 0.4, 1.0: 0.8})
    assert scored.merit == pytest.approx(0.6)


def test_clips_are_strung_together_each_once_and_at_the_place_told() -> None:
    rng = np.random.default_rng(0)
    corpus = corpus_of(*((f"speech/{i}", 0.1 * rng.standard_normal(900 + i)) for i in range(5)))
    samples, places = string_together(corpus, [0, 2, 3], rng)
    assert sorted(index for index, _ in places) == [0, 2, 3]
    for index, start in places:
        clip = corpus.audio(index)
        np.testing.assert_array_equal(samples[start : start + len(clip)], clip)


def test_scores_of_a_long_stream_do_not_depend_on_where_it_is_cut_for_memory() -> None:
    net = random_net((1, 4))
    features = random_features(13_000)[0]  # cut twice
    with torch.no_grad():
        whole = torch.sigmoid(net(features[None]))[0, :, 0].numpy()
    # float32 sums in another order where the length of a piece differs.
    np.testing.assert_allclose(smoothed_scores(net, features, 1), whole, atol=2e-5)


def test_smoothing_averages_the_newest_outputs() -> None:
    net, features = random_net(), random_features(80)[0]
    raw = smoothed_scores(net, features, 1)
    smooth = smoothed_scores(net, features, 3)
    np.testing.assert_allclose(smooth[7], raw[5:8].mean(), rtol=1e-6)  # float32


def test_features_of_a_long_stream_are_those_of_its_parts() -> None:
    samples = np.tile(other_words(np.random.default_rng(0), 40), 12)[: 70 * SAMPLE_RATE]
    front_end = FrontEnd()
    long = features_of(samples, front_end)
    assert len(long) == 70 * 100
    tail = features_of(samples[-4 * SAMPLE_RATE :], front_end)
    # All but the first frames, which see what came before; float16 above 16 has steps of 1/64.
    np.testing.assert_allclose(long[-397:].float(), tail[-397:].float(), atol=2 / 64)


def test_validation_scores_a_stream_as_the_runtime_does(exported: Exported) -> None:
    rng = np.random.default_rng(5)
    samples = np.concatenate([silence(0.3), other_words(rng, 8), silence(0.3)])
    samples += rng.standard_normal(len(samples), np.float32) * np.float32(1e-3)
    detector = KeywordDetector(exported.path, vad="off")
    live = detector.score(samples)[:, 0]
    features = features_of(samples, exported.info.front_end)
    offline = smoothed_scores(exported.net, features, exported.info.decision.smoothing)
    # The detector is silent until the model has heard its receptive field; then an average fills.
    steps = len(samples) // exported.info.step_samples
    first = 2 * steps - len(live) + exported.info.decision.smoothing
    live = live[-(2 * steps - first) :]
    assert len(live) > 50
    assert np.abs(np.diff(live)).max() > 0.01, "an output early or late would be seen"
    # Validation features are float16, off by up to 1/256; they add up to less than this.
    np.testing.assert_allclose(offline[first : 2 * steps], live, atol=5e-4)


def test_validation_streams_hold_every_negative_once_a_copy(
    finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "STRETCH", 3)
    sound = replace(finished.validation_sound)  # a new one, with stretches as short as that
    for copy in range(1 + sound.copies):
        clips = [clip for of, part in sound.stretches if of == copy for clip in part]
        assert sorted(clips) == sorted(sound.negatives)
    assert len(sound.stretches) == (1 + sound.copies) * -(-len(sound.negatives) // 3)


def test_validation_sound_is_the_same_in_any_order_and_process(finished: Run) -> None:
    sound = finished.validation_sound
    last = len(sound.stretches) - 1
    later, first = sound.stretch(last), sound.stretch(0)
    assert not np.array_equal(first[:1000], later[:1000])
    np.testing.assert_array_equal(sound.stretch(0), first)
    one, two = (draw_trials(sound, workers) for workers in (0, 2))
    assert one.hours == two.hours and len(one.negatives) == 1 + sound.copies
    assert all(torch.equal(a, b) for a, b in zip(one.negatives, two.negatives, strict=True))
    assert torch.equal(one.positives, two.positives)
