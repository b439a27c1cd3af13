import numpy as np
import pytest
from kwspot_export.voice_threshold import ACCEPTED, fit_voices

from kwspot.modelfile import VoicePoint

WORDS = ("red", "green")


def voices(spread: float, speakers: int = 12, clips: int = 5, seed: int = 0) -> tuple:
    """Draw embeddings (N, 8) around a direction a speaker and word, with who said what."""
    rng = np.random.default_rng(seed)
    rows, who, what = [], [], []
    for speaker in range(speakers):
        centre = rng.standard_normal(8)
        for word in WORDS:
            for _ in range(clips):
                row = centre + spread * rng.standard_normal(8)
                rows.append(row / np.linalg.norm(row))
                who.append(str(speaker))
                what.append(word)
    return np.array(rows, np.float32), who, what


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0])
def test_one_in_twenty_of_other_peoples_words_is_accepted(spread: float) -> None:
    point = fit_voices(*voices(spread))
    assert point is not None and point.speakers == 12
    assert 0.8 * ACCEPTED <= point.false_accepts <= ACCEPTED


def test_voices_that_differ_more_are_rejected_less() -> None:
    rejects = [fit_voices(*voices(spread)).false_rejects for spread in (0.1, 0.6, 1.5)]
    assert rejects == sorted(rejects)
    assert rejects[0] == 0 and rejects[2] > 0.2


def test_only_the_same_word_is_compared() -> None:
    embeddings, who, what = voices(0.3)
    alone = fit_voices(embeddings, who, what)
    # Strangers who say words that nobody enrolls say nothing about those that somebody does.
    more = np.concatenate([embeddings, embeddings[:50]])
    unlike = [f"{word} {number}" for number, word in enumerate(what[:50])]
    assert fit_voices(more, [*who, *["stranger"] * 50], [*what, *unlike]) == alone


@pytest.mark.parametrize("few", [{"speakers": 4}, {"clips": 3}, {"speakers": 0}])
def test_too_few_people_give_no_threshold(few: dict[str, int]) -> None:
    rows, who, what = voices(0.3, **few)
    assert fit_voices(rows, who, what) is None


def test_words_of_one_person_alone_give_no_threshold() -> None:
    rows, who, _ = voices(0.3)
    assert fit_voices(rows, who, who) is None


def test_the_result_is_a_point_that_a_file_may_hold() -> None:
    point = fit_voices(*voices(0.5))
    assert isinstance(point, VoicePoint)
    assert -1 < point.threshold <= 1
    assert round(point.threshold, 4) == point.threshold
