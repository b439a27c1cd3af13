import pytest
from kwspot_export import phrase as module
from kwspot_export.engines import SpeechError, phonemes_in
from kwspot_export.phrase import doubts, parts, read_phrase
from kwspot_export.pronunciation import missing_package
from toy import assert_one_sentence

needs_voices = pytest.mark.skipif(
    missing_package() is not None, reason="needs kwspot-export[voices]"
)


def test_a_phrase_is_called_as_typed_and_said_as_asked() -> None:
    plain = read_phrase("Hey, Jarvis!")
    assert (plain.label, plain.said, plain.name) == ("hey jarvis", "Hey, Jarvis!", "hey_jarvis")
    told = read_phrase("jarvis", "/ˈdʒɑːɹvɪs/")
    assert (told.label, told.said, told.spelled) == ("jarvis", "/ˈdʒɑːɹvɪs/", False)
    assert read_phrase("/ˈdʒɑːɹvɪs/").label == "ˈdʒɑːɹvɪs"
    assert read_phrase("日本", "nippon").label == "日本"
    assert read_phrase("olá café").said == "olá café"


def test_ipa_stands_between_slashes_with_punctuation_after_it() -> None:
    assert phonemes_in("/ˈdʒɑːɹvɪs/!") == "ˈdʒɑːɹvɪs!"
    assert phonemes_in("jarvis") is phonemes_in("on/off") is phonemes_in("//") is None


@pytest.mark.parametrize(
    ("text", "say", "reason"),
    [
        ("", None, "is empty"),
        (" ?! ", None, "is empty"),
        ("jarvis", "...", "nothing to say"),
        ("route 66", None, "digits: write them"),
        ("日本", None, "'日本' is not in Latin letters"),
        ("computer", "компьютер", "is not in Latin letters"),
        ("one two three four five six seven eight nine", None, "more than 8 words"),
    ],
)
def test_what_is_no_phrase_is_refused(text: str, say: str | None, reason: str) -> None:
    with pytest.raises(SpeechError, match=reason) as refusal:
        read_phrase(text, say)
    assert_one_sentence(refusal.value)


@needs_voices
def test_unknown_words_and_short_phrases_are_doubted() -> None:
    assert not doubts(read_phrase("hey jarvis"))
    (unknown,) = doubts(read_phrase("xyzzle fro"))
    assert "xyzzle is in no list" in unknown and "/zˈaɪzəl" in unknown and "--say" in unknown
    (short,) = doubts(read_phrase("go"))
    assert "2 sounds only: expect false alarms" in short
    assert not doubts(read_phrase("xyzzle", "/ˈdʒɑːɹvɪs/"))


def test_short_phrases_are_doubted_without_packages_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missing_package", lambda: "panphon")
    assert not doubts(read_phrase("xyzzle fro"))
    assert "2 letters only" in doubts(read_phrase("go"))[0]


def test_parts_are_not_the_phrase() -> None:
    assert parts(read_phrase("hey jarvis")) == ["hey", "jarvis", "hey hey"]
    assert parts(read_phrase("ok my house")) == [
        "ok",
        "ok my",
        "my house",
        "house",
        "my",
        "ok ok",
    ]
    assert parts(read_phrase("computer")) == parts(read_phrase("/aɪ/")) == []
    assert "go go" not in parts(read_phrase("go go"))
