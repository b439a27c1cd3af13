import torch
from kwspot_export.heads import POOL, JointNet, PooledEncoder, PooledHeads, trailing_mean
from kwspot_export.student import SUBSAMPLING, Encoder, stream
from toy import random_features, random_net, random_transformer

# Posteriors and unit vectors in float32 whose sums of a few hundred terms run in another order.
TOLERANCE = 2e-5


def joint_net(encoder: Encoder, speaker_size: int = 6) -> JointNet:
    torch.manual_seed(3)
    return JointNet(encoder, PooledHeads(encoder.width, 5, speaker_size, background=2)).eval()


def test_the_mean_runs_over_the_last_second_and_zeros_before_the_start() -> None:
    hidden = torch.arange(1.0, 41.0)[None, :, None].expand(1, 40, 2)
    mean = trailing_mean(hidden)
    assert mean.shape == hidden.shape
    assert mean[0, 0, 0] == 1 / POOL
    torch.testing.assert_close(mean[0, 3, 1], torch.tensor((1 + 2 + 3 + 4) / POOL))
    torch.testing.assert_close(mean[0, 39, 0], torch.tensor((16 + 40) / 2))


@torch.no_grad()
def test_a_whole_clip_equals_the_same_streamed_on_every_encoder() -> None:
    features = random_features(320)
    for encoder in (random_net().encoder, random_transformer()):
        for net in (joint_net(encoder), joint_net(encoder, speaker_size=0)):
            whole, streamed = net.outputs(features), stream(net.streaming(), features[0])
            assert [y.shape for y in streamed] == [(80, 3), (80, 6)][: len(whole)]
            for y, expected in zip(streamed, whole, strict=True):
                torch.testing.assert_close(y, expected[0], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_an_encoder_alone_streams_the_mean_of_its_hidden_vectors() -> None:
    encoder, features = random_net().encoder, random_features(320)
    net = PooledEncoder(encoder)
    (streamed,) = stream(net.streaming(), features[0])
    expected = torch.stack([encoder(features)[0, u - POOL + 1 : u + 1].mean(0) for u in (30, 79)])
    torch.testing.assert_close(streamed[[30, 79]], expected, atol=TOLERANCE, rtol=1e-5)


@torch.no_grad()
def test_background_labels_share_the_probability_and_are_not_reported() -> None:
    net, features = joint_net(random_net().encoder), random_features(160)
    logits, _ = net(features)
    posteriors, _ = net.outputs(features)
    assert logits.shape == (1, 40, 5) and posteriors.shape == (1, 40, 3)
    background = torch.softmax(logits, dim=2)[..., :2].sum(dim=2)
    torch.testing.assert_close(posteriors.sum(dim=2) + background, torch.ones(1, 40))
    assert background.min() > 0.01


@torch.no_grad()
def test_speaker_embeddings_have_length_one_or_are_not_there() -> None:
    encoder, features = random_net().encoder, random_features(160)
    logits, embedding = joint_net(encoder)(features)
    assert embedding is not None and embedding.shape == (1, 40, 6)
    torch.testing.assert_close(embedding.norm(dim=2), torch.ones(1, 40))
    without, nothing = joint_net(encoder, speaker_size=0)(features)
    assert nothing is None and without.shape == logits.shape


@torch.no_grad()
def test_an_output_depends_on_exactly_the_receptive_field() -> None:
    net = joint_net(random_transformer(layers=1, context=2, mels=4)).double()
    field = net.receptive_field
    features = random_features(field + 2 * SUBSAMPLING, mels=4).double()
    last = features.shape[1] - 1

    def with_changed(frame: int) -> torch.Tensor:
        changed = features.clone()
        changed[:, frame] += 10.0
        return net(changed)[0][0, -1]

    output = net(features)[0][0, -1]
    assert torch.equal(with_changed(last - field), output), "a frame before the field had a say"
    assert not torch.equal(with_changed(last - field + 1), output), "the first frame had none"
