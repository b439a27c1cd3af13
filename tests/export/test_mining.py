import numpy as np
import pytest
import torch
from kwspot_export.batches import Composer, Pools
from kwspot_export.mining import LEAST_SCORE, describe, mine
from kwspot_export.student import OUTPUT_HOP, SUBSAMPLING
from torch import Tensor, nn
from toy import PLAIN, corpus_of, glide, silence

from kwspot.features import SAMPLE_RATE, FrontEnd

TONE_HZ, TONE_AT = 3000, 0.8


class FooledByTones(nn.Module):
    """A net that takes any steady tone for the keyword: one band far louder than the others."""

    receptive_field = SUBSAMPLING

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))  # where `smoothed_scores` finds the device

    def forward(self, features: Tensor) -> Tensor:
        newest = features[:, SUBSAMPLING - 1 :: SUBSAMPLING]
        peakedness = newest.amax(dim=2) - newest.mean(dim=2)
        return (peakedness[:, :, None] - 6.0) * 4  # noise has about 1 to 2, a tone 8 and more


@pytest.fixture
def composer() -> Composer:
    rng = np.random.default_rng(0)
    clips = [(f"speech/{i}", 0.05 * rng.standard_normal(2 * SAMPLE_RATE)) for i in range(6)]
    fooling = clips[4][1].copy()
    begin = int(TONE_AT * SAMPLE_RATE)
    tone = glide(rng, 0.2, TONE_HZ, TONE_HZ)
    fooling[begin : begin + len(tone)] = tone
    clips[4] = ("speech/4", fooling)
    corpus = corpus_of(*clips, ("made/tone", np.concatenate([silence(0.5), tone, silence(0.5)])))
    none = np.zeros(0, np.int64)
    pools = Pools(
        positives=[],
        positive_weights=np.zeros(0),
        negatives=np.arange(6),
        negative_weights=np.full(6, 1 / 6),
        confusables=np.array([6]),
        noises=none,
        room_indices=none,
        rooms=[],
        babble=np.zeros(0, np.float32),
    )
    return Composer(corpus, pools, FrontEnd(), PLAIN)


def test_mining_finds_the_planted_places_and_nothing_else(composer: Composer) -> None:
    hard = mine(FooledByTones(), composer, 2, np.random.default_rng(0), 0)
    assert sorted(place.index for place in hard) == [4, 6]
    for place in hard:
        assert place.score > 0.9
        begin = TONE_AT if place.index == 4 else 0.5
        # A place is known to an output, and a smoothed score is up to one output late.
        latest = begin + 0.2 + 2 * OUTPUT_HOP / SAMPLE_RATE
        assert begin - OUTPUT_HOP / SAMPLE_RATE < place.sample / SAMPLE_RATE < latest


def test_mining_is_a_function_of_the_seed(composer: Composer) -> None:
    first, again = (
        mine(FooledByTones(), composer, 2, np.random.default_rng(1), workers) for workers in (0, 2)
    )
    assert first == again


def test_a_net_that_is_never_fooled_finds_nothing(composer: Composer) -> None:
    class Deaf(FooledByTones):
        def forward(self, features: Tensor) -> Tensor:
            return torch.full_like(super().forward(features), -9.0)

    assert torch.sigmoid(torch.tensor(-9.0)) < LEAST_SCORE
    hard = mine(Deaf(), composer, 2, np.random.default_rng(0), 0)
    assert hard == []
    assert describe(hard, composer) == "no hard negatives"


def test_the_description_names_the_worst_sounds(composer: Composer) -> None:
    hard = mine(FooledByTones(), composer, 2, np.random.default_rng(0), 0)
    line = describe(hard, composer)
    assert line.startswith("2 hard negatives in 3 s of clips; worst: ")
    assert "speech/4" in line and "made/tone" in line
