import numpy as np
import pytest
from kwspot_export.voice_threshold import ACCEPTED, Said, draw_strangers, fit_voices

from kwspot.features import FloatArray
from kwspot.modelfile import VoicePoint

WORDS = ("red", "green")


Clips = tuple[FloatArray, Said]


def voices(
    spread: float, speakers: int = 12, clips: int = 5, seed: int = 0, kind: str = "one"
) -> Clips:
    """Draw embeddings (N, 8) around a direction a speaker and word, with who said what."""
    rng = np.random.default_rng(seed)
    rows, who, what = [], [], []
    for speaker in range(speakers):
        centre = rng.standard_normal(8)
        for word in WORDS:
            for _ in range(clips):
                row = centre + spread * rng.standard_normal(8)
                rows.append(row / np.linalg.norm(row))
                who.append(f"{kind} {speaker}")
                what.append(f"{word} {kind}")
    return np.array(rows, np.float32), Said(who, what, [kind] * len(who))


def both(one: Clips, other: Clips) -> Clips:
    lists = ("speakers", "texts", "kinds")
    return np.concatenate([one[0], other[0]]), Said(
        *([*getattr(one[1], name), *getattr(other[1], name)] for name in lists)
    )


def test_as_many_of_the_own_words_are_rejected_as_of_others_accepted() -> None:
    point = fit_voices(*voices(0.38, speakers=30))
    assert point is not None and point.speakers == 30
    assert 0.002 < point.false_accepts < ACCEPTED
    assert abs(point.false_accepts - point.false_rejects) < 0.005


def test_where_that_were_more_one_in_twenty_of_others_words_is_accepted() -> None:
    point = fit_voices(*voices(1.0))
    assert 0.8 * ACCEPTED <= point.false_accepts <= ACCEPTED < point.false_rejects


def test_voices_that_differ_more_are_rejected_less() -> None:
    rejects = [fit_voices(*voices(spread)).false_rejects for spread in (0.1, 0.6, 1.5)]
    assert rejects == sorted(rejects)
    assert rejects[0] == 0 and rejects[2] > 0.2


def test_only_the_same_word_is_compared() -> None:
    embeddings, said = voices(0.3)
    alone = fit_voices(embeddings, said)
    # Strangers who say words that nobody enrolls say nothing about those that somebody does.
    unlike = [f"{word} {number}" for number, word in enumerate(said.texts[:50])]
    more = Said(["stranger"] * 50, unlike, ["one"] * 50)
    assert fit_voices(*both((embeddings, said), (embeddings[:50], more))) == alone


def test_many_clips_of_one_kind_do_not_outvote_few_of_another() -> None:
    """Of the larger kind strangers are alike: a threshold for its own is far above the other's."""
    few, many = voices(0.3, speakers=6, kind="few"), voices(0.3, speakers=40, kind="many")
    alike = many[0] + np.float32(0.8)
    many = (alike / np.linalg.norm(alike, axis=1, keepdims=True), many[1])
    own, theirs = (fit_voices(*clips).threshold for clips in (few, many))
    point = fit_voices(*both(few, many))
    assert own < point.threshold < theirs
    # Counted by clips, 95 % of the others' would have been of the larger kind.
    embeddings, said = both(few, many)
    pooled = fit_voices(embeddings, Said(said.speakers, said.texts, ["one"] * len(embeddings)))
    assert own < point.threshold < pooled.threshold
    assert point.false_accepts <= ACCEPTED < 1.2 * point.false_accepts


@pytest.mark.parametrize("few", [{"speakers": 4}, {"clips": 3}, {"speakers": 0}])
def test_too_few_people_give_no_threshold(few: dict[str, int]) -> None:
    assert fit_voices(*voices(0.3, **few)) is None


def test_words_of_one_person_alone_give_no_threshold() -> None:
    rows, said = voices(0.3)
    assert fit_voices(rows, Said(said.speakers, said.speakers, said.kinds)) is None


def test_the_result_is_a_point_that_a_file_may_hold() -> None:
    point = fit_voices(*voices(0.5))
    assert isinstance(point, VoicePoint)
    assert -1 < point.threshold <= 1
    assert round(point.threshold, 4) == point.threshold


def test_strangers_are_drawn_of_all_kinds_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kwspot_export.voice_threshold.STRANGERS", 20)
    few, many = voices(0.3, speakers=3, kind="few"), voices(0.3, speakers=40, kind="many")
    strangers = draw_strangers(*both(few, many), seed=0)
    kinds = [speaker.split()[0] for speaker in strangers.speakers]
    # Three people say two words each, which is all there is of them.
    assert (kinds.count("few"), kinds.count("many")) == (6, 14)
    np.testing.assert_allclose(np.linalg.norm(strangers.embeddings, axis=1), 1, rtol=1e-6)


def test_nobody_is_a_stranger_to_himself() -> None:
    embeddings, said = voices(0.2)
    strangers = draw_strangers(embeddings, said, seed=0)
    (own, *_), voice = said.speakers, embeddings[0]
    assert strangers.without(own).common(voice) < strangers.without("nobody").common(voice)
    # With twelve people one's own would be among the nearest twenty, and the likeness half gone.
    assert fit_voices(embeddings, said, strangers).false_rejects < 0.05
