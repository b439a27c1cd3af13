import json
from pathlib import Path

import pytest
import torch
from kwspot_export.curves import draw_curves
from kwspot_export.loop import Pace, Step, Terms, TrainingError, learn, rate
from torch import nn
from toy import assert_one_sentence

PACE = Pace(steps=25, batch=4, warm_up=3, save_every=10)


def a_net() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def train(net: nn.Linear, folder: Path, pace: Pace = PACE, stop: int | None = None) -> list[Step]:
    def loss(step: int) -> Terms:
        if step == stop:
            raise KeyboardInterrupt
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        total = (net(x) - x.sum(dim=1, keepdim=True)).square().mean()
        return Terms(total, {"odd" if step % 2 else "even": float(total.detach())})

    steps: list[Step] = []
    learn(net, loss, pace, folder, {"pace": pace.steps}, steps.append)
    return steps


def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole, parts = a_net(), a_net()
    train(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(parts, tmp_path / "parts", stop=17)
    parts = a_net()
    steps = train(parts, tmp_path / "parts")
    assert [s.step for s in steps] == list(range(11, 26))  # from the checkpoint of step 10
    assert torch.equal(whole.weight, parts.weight) and torch.equal(whole.bias, parts.bias)
    rows = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert rows[0] == rows[1]


def test_it_learns_and_says_how_long_it_will_take(tmp_path: Path) -> None:
    steps = train(a_net(), tmp_path, Pace(steps=200, batch=4, learning_rate=0.05, warm_up=5))
    assert steps[-1].loss < 0.05 * steps[0].loss
    assert steps[-1].seconds_left == 0 and steps[50].seconds_left > 0


def test_metrics_are_means_and_a_picture_is_drawn(tmp_path: Path) -> None:
    steps = train(a_net(), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20]
    assert rows[0]["loss"] == pytest.approx(sum(s.loss for s in steps[:10]) / 10, abs=1e-5)
    assert rows[0].keys() == {"step", "loss", "even", "odd"}
    picture = draw_curves(tmp_path, "toy")
    assert picture is None or picture.stat().st_size > 1000


def test_other_settings_are_refused_in_one_sentence(tmp_path: Path) -> None:
    train(a_net(), tmp_path)
    with pytest.raises(TrainingError, match="other settings") as caught:
        train(a_net(), tmp_path, Pace(steps=30, batch=4))
    assert_one_sentence(caught.value)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    net = a_net()
    with pytest.raises(TrainingError, match="learning_rate") as caught:
        learn(net, lambda step: Terms(net.weight.sum() * torch.nan, {}), PACE, tmp_path, {}, print)
    assert_one_sentence(caught.value)


def test_the_rate_rises_and_falls() -> None:
    rates = [rate(step, 100, 10) for step in range(100)]
    assert rates[0] == 0.1 and rates[9] == 1.0 and rates[-1] < 0.012
    assert rates[10:] == sorted(rates[10:], reverse=True)
