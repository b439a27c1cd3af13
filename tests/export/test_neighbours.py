import pytest
from kwspot_export.engines import SpeechError
from kwspot_export.neighbours import COARSE, neighbours


def test_a_phrase_without_a_word_is_refused() -> None:
    with pytest.raises(SpeechError, match="no word"):
        neighbours(" ?! ", 5)


@pytest.mark.slow
def test_what_sounds_alike_is_found_and_what_cannot_be_told_apart_is_not() -> None:
    for package in ("phonemizer", "espeakng_loader", "panphon", "wordfreq"):
        pytest.importorskip(package)
    near = neighbours("alexa", 40)
    assert {"alexis", "alaska"} <= set(near[:10])
    assert not [text for text in near if text.startswith("alexa")]
    assert any(" " in text for text in near)
    pair = neighbours("hey jarvis", 30)
    assert pair[:2] == ["hey", "jarvis"]
    assert any(text.startswith("hey ") for text in pair)
    assert any(text.endswith(" jarvis") for text in pair)
    assert len(pair) == len(set(pair)) == 30
    aloud = " ".join(neighbours("computer", 60))
    assert "container" in aloud and not any(word in aloud for word in COARSE)
