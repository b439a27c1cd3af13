import math

import pytest
import torch
from kwspot_export.student import FRAMES_PER_STEP, SUBSAMPLING, stream
from toy import random_features, random_transformer

# Hidden vectors are of size 1 (layer norm); float32 sums in another order, through two layers.
TOLERANCE = 2e-5


@pytest.mark.parametrize(("layers", "context"), [(1, 1), (1, 7), (2, 5), (3, 32)])
@pytest.mark.parametrize("steps", [1, 3, 40])
@torch.no_grad()
def test_a_whole_clip_equals_the_same_streamed(layers: int, context: int, steps: int) -> None:
    encoder = random_transformer(layers, context)
    features = random_features(steps * FRAMES_PER_STEP, seed=steps)
    (streamed,) = stream(encoder.streaming(), features[0])
    torch.testing.assert_close(streamed, encoder(features)[0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("layers", "context"), [(1, 1), (1, 4), (2, 3), (3, 2)])
@torch.no_grad()
def test_an_output_depends_on_exactly_the_receptive_field(layers: int, context: int) -> None:
    encoder = random_transformer(layers, context, mels=4).double()
    field = encoder.receptive_field
    features = random_features(field + 2 * SUBSAMPLING, mels=4).double()
    output, last = encoder(features)[0, -1], features.shape[1] - 1

    def with_changed(frame: int) -> torch.Tensor:
        changed = features.clone()
        changed[:, frame] += 10.0
        return encoder(changed)[0, -1]

    assert torch.equal(with_changed(last - field), output), "a frame before the field had a say"
    assert not torch.equal(with_changed(last - field + 1), output), "the first frame had none"
    assert not torch.equal(with_changed(last), output), "the newest frame had none"


@torch.no_grad()
def test_the_future_does_not_change_the_past() -> None:
    encoder = random_transformer()
    features, changed = random_features(120), random_features(120)
    changed[:, 60:] = 0.0
    torch.testing.assert_close(
        encoder(features)[:, :15], encoder(changed)[:, :15], atol=1e-6, rtol=0
    )


@torch.no_grad()
def test_attention_weighs_by_content_and_position_with_zeros_before_the_start() -> None:
    layer = random_transformer(layers=1, context=2, width=4).layers[0]  # four heads of one number
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(2))
    queries, keys, values = layer.project(layer.norm(x))[0].chunk(3, dim=1)
    heard = torch.zeros(3, 4)
    for output in range(3):
        for head in range(4):
            total = 0.0
            for ago in range(3):
                place = output - ago
                key, value = (keys[place, head], values[place, head]) if place >= 0 else (0.0, 0.0)
                weight = math.exp(queries[output, head] * key + layer.position[head, ago])
                total += weight
                heard[output, head] += weight * value
            heard[output, head] /= total
    mixed = x[0] + layer.mix(heard)
    found, past = layer(x, torch.zeros(1, 2, 8))
    torch.testing.assert_close(found[0], mixed + layer.feed_forward(mixed), atol=1e-5, rtol=0)
    assert torch.equal(past[0], torch.cat([keys, values], dim=1)[1:])


def test_every_weight_learns() -> None:
    encoder = random_transformer()
    weights = torch.randn(16, generator=torch.Generator().manual_seed(0))
    (encoder(random_features(80)) @ weights).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_frames_that_make_up_no_output_are_left_out() -> None:
    encoder, features = random_transformer(), random_features(83)
    assert torch.equal(encoder(features), encoder(features[:, :80]))
