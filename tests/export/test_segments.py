import numpy as np
import pytest
from kwspot_export.recipe import Group, RecipeError
from kwspot_export.segments import WINDOW, Segments, draw_segments, ending_at
from numpy.random import default_rng
from toy import assert_one_sentence, corpus_of

from kwspot.features import SAMPLE_RATE


def ramp(length: int) -> np.ndarray:
    return np.arange(1, length + 1, dtype=np.float32) / 32767


CORPUS = corpus_of(("short/a", ramp(8000)), ("long/b", ramp(30000)), ("long/c", ramp(30000)))


def segments(*places: tuple[int, int]) -> Segments:
    clips, starts = zip(*places, strict=True)
    return Segments(CORPUS, np.array(clips), np.array(starts))


def test_sound_lies_where_the_start_says() -> None:
    audio = segments((0, -1000), (1, 500), (1, 29000)).audio(np.arange(3)) * 32768
    assert audio.shape == (3, WINDOW)
    assert not audio[0, :1000].any() and not audio[0, 9000:].any()
    assert audio[0, 1000:9000] == pytest.approx(np.arange(1, 8001))
    assert audio[1] == pytest.approx(np.arange(501, 501 + WINDOW))
    assert audio[2, :1000] == pytest.approx(np.arange(29001, 30001)) and not audio[2, 1000:].any()


def test_ending_at_puts_a_sample_at_a_time() -> None:
    audio = segments((0, ending_at(8000, 1.2))).audio(np.array([0]))[0]
    assert np.flatnonzero(audio)[-1] + 1 == 1.2 * SAMPLE_RATE


def test_the_key_tells_choices_apart() -> None:
    assert segments((0, 1), (1, 2)).key == segments((0, 1), (1, 2)).key
    assert segments((0, 1)).key != segments((0, 2)).key != segments((1, 2)).key


def test_groups_have_their_share_and_short_clips_are_whole() -> None:
    groups = [Group("short/", 3.0), Group("long/", 1.0)]
    drawn = draw_segments(CORPUS, groups, 40, default_rng(0))
    assert np.sum(drawn.clips == 0) == 30 and len(drawn) == 40
    short = drawn.starts[drawn.clips == 0]
    assert short.max() <= 0 and short.min() >= 8000 - WINDOW and len(set(short.tolist())) > 20
    assert drawn.starts[drawn.clips > 0].min() >= 0
    again = draw_segments(CORPUS, groups, 40, default_rng(0))
    assert drawn.key == again.key


def test_a_group_without_clips_is_refused() -> None:
    with pytest.raises(RecipeError, match="nowhere/") as caught:
        draw_segments(CORPUS, [Group("nowhere/", 1.0)], 4, default_rng(0))
    assert_one_sentence(caught.value)
