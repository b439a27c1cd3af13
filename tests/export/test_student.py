import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kwspot_export.encoders import build_encoder
from kwspot_export.recipe import STUDENTS, Student
from kwspot_export.student import (
    FRAMES_PER_STEP,
    SUBSAMPLING,
    ConvEncoder,
    FrameNet,
    StreamingNet,
    stream,
)
from toy import random_features, random_net, random_transformer

# Posteriors in float32 whose sums of a few hundred terms run in another order.
TOLERANCE = 2e-5

any_dilations = st.lists(st.integers(1, 9), max_size=5).map(tuple)


@settings(max_examples=25, deadline=None)
@given(dilations=any_dilations, seed=st.integers(0, 99), steps=st.integers(1, 12))
@torch.no_grad()
def test_a_whole_clip_equals_the_same_streamed_for_any_dilations(
    dilations: tuple[int, ...], seed: int, steps: int
) -> None:
    net = random_net(dilations, seed=seed)
    features = random_features(steps * FRAMES_PER_STEP, seed=seed)
    whole = torch.sigmoid(net(features))
    (streamed,) = stream(StreamingNet(net), features[0])
    torch.testing.assert_close(streamed, whole[0], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_a_folded_encoder_streams_the_hidden_vectors_of_the_whole_one() -> None:
    encoder = random_net((1, 4)).encoder
    features = random_features(160)
    (hidden,) = stream(encoder.streaming(), features[0])
    whole = encoder(features)[0]
    assert hidden.shape == (40, encoder.width)
    assert whole.std() > 0.1
    torch.testing.assert_close(hidden, whole, atol=TOLERANCE, rtol=1e-5)


@torch.no_grad()
def test_a_streaming_copy_does_not_follow_the_net_it_was_made_of() -> None:
    features = random_features(80)[0]
    for net in (random_net(), FrameNet(random_transformer(), 1)):
        streaming = net.streaming()
        before = stream(streaming, features)[0]
        for parameter in net.parameters():
            parameter.data.mul_(2.0)
        assert torch.equal(stream(streaming, features)[0], before)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("small", 22e3), ("medium", 55e3), ("large", 244e3), ("transformer", 1.62e6)],
)
@torch.no_grad()
def test_named_students_are_of_their_sizes_and_take_a_frame_head(
    name: str, parameters: float
) -> None:
    encoder = build_encoder(40, STUDENTS[name])
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(parameters, rel=0.01)
    net, features = FrameNet(encoder, 3).eval(), random_features(64)
    (whole,) = net.outputs(features)
    (streamed,) = stream(net.streaming(), features[0])
    assert whole.shape == (1, 16, 3)
    torch.testing.assert_close(streamed, whole[0], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_scores_move_enough_for_the_comparison_to_mean_something() -> None:
    posteriors = torch.sigmoid(random_net()(random_features(400)))
    assert posteriors.std() > 100 * TOLERANCE


@torch.no_grad()
def test_streams_of_one_net_share_no_state() -> None:
    net = StreamingNet(random_net())
    first, second = random_features(80, seed=1)[0], random_features(80, seed=2)[0]
    states = {"first": net.fresh_states(), "second": net.fresh_states()}
    outputs: dict[str, list[torch.Tensor]] = {"first": [], "second": []}
    for a, b in zip(first.split(FRAMES_PER_STEP), second.split(FRAMES_PER_STEP), strict=True):
        for name, features in (("first", a), ("second", b)):
            before = [state.clone() for state in states[name]]
            posteriors, *following = net(features, *states[name])
            assert all(map(torch.equal, states[name], before)), "a step changed its input"
            states[name] = following
            outputs[name].append(posteriors)
    assert torch.equal(torch.cat(outputs["first"]), stream(net, first)[0])
    assert torch.equal(torch.cat(outputs["second"]), stream(net, second)[0])


@torch.no_grad()
def test_states_keep_their_shapes() -> None:
    net = StreamingNet(random_net((1, 4, 9)))
    fresh = net.fresh_states()
    _, *following = net(random_features(FRAMES_PER_STEP)[0], *fresh)
    assert [state.shape for state in following] == [state.shape for state in fresh]


@torch.no_grad()
def test_a_folded_layer_equals_convolution_norm_and_skip() -> None:
    net = random_net((1, 3)).double()
    random = torch.Generator().manual_seed(1)
    for layer in net.encoder.layers:
        x = torch.randn(1, layer.conv.in_channels, 50, generator=random, dtype=torch.float64)
        weight, bias = layer.fold()
        padded = torch.nn.functional.pad(x, (layer.history, 0))
        folded = torch.nn.functional.conv1d(
            padded, weight, bias, layer.conv.stride, dilation=layer.conv.dilation
        )
        # float64, so that what is left is rounding.
        torch.testing.assert_close(torch.relu(folded), layer(x), atol=1e-12, rtol=1e-12)


def always_active(dilations: tuple[int, ...]) -> FrameNet:
    """A net of positive weights in float64: no unit is ever off, and nothing is rounded away."""
    encoder = ConvEncoder(4, Student(channels=2, dilations=dilations))
    net = FrameNet(encoder, 1).eval().double()
    for parameter in net.parameters():
        parameter.data.abs_().add_(0.1)
    return net


@settings(max_examples=25, deadline=None)
@given(dilations=any_dilations)
@torch.no_grad()
def test_an_output_depends_on_exactly_the_receptive_field(dilations: tuple[int, ...]) -> None:
    net = always_active(dilations)
    field = net.receptive_field
    frames = field + SUBSAMPLING + -(field + SUBSAMPLING) % SUBSAMPLING
    last = frames - 1  # of the frames that the last output has heard
    features = 10 + random_features(frames, mels=4).double()
    output = net(features)[0, -1, 0]

    def with_changed(frame: int) -> torch.Tensor:
        changed = features.clone()
        changed[:, frame] += 10.0
        return net(changed)[0, -1, 0]

    assert with_changed(last - field) == output, "a frame before the field changed the output"
    assert with_changed(last - field + 1) != output, "the first frame of the field did not"
    assert with_changed(last) != output, "the newest frame did not"


@settings(max_examples=25, deadline=None)
@given(dilations=any_dilations, output=st.integers(1, 29))
@torch.no_grad()
def test_the_future_does_not_change_the_past(dilations: tuple[int, ...], output: int) -> None:
    net = random_net(dilations)
    features, changed = random_features(120), random_features(120)
    changed[:, output * SUBSAMPLING :] = 0.0
    assert torch.equal(net(features)[:, :output], net(changed)[:, :output])


@pytest.mark.parametrize("frames", [SUBSAMPLING, 8, 12, 240])
def test_there_is_one_output_for_four_frames(frames: int) -> None:
    assert random_net()(random_features(frames)).shape == (1, frames // SUBSAMPLING, 1)
