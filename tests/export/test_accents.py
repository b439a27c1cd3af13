import re

import numpy as np
import pytest
from kwspot_export.accents import HABITS, REGIONS, draw_accent, pronounce, region_of

# «A big home, was the starting job; that chat, think, go to computer, put red, knave far, see the
# spot, oven bed egg rub», as espeak writes parts of it.
SENTENCE = (
    "ɐ bˈɪɡ hˈəʊm wʌz ðə stˈɑːtɪŋ dʒɒb ðæt tʃæt θɪŋ ɡˈoʊ tə kəmpjˈuːɾɚ pʊt ɹɛd nˈeɪv fɑːɹ siː "
    "spɒt ɛɡ ɹʌb"
)
# The signs that Kokoro was trained on.
KOKORO = set("abcdefhijklmnopqrstuvwxyzæçðøŋœɐɑɒɔɕɖəɚɛɜɟɡɣɤɥɨɪɯɰɲɳɴɸɹɻɽɾʁʂʃʈʊʋʌʎʒʔʝˈˌːʰʲ")


def test_an_accent_is_a_region_with_or_without_habits() -> None:
    rng = np.random.default_rng(0)
    accents = [draw_accent(rng) for _ in range(300)]
    assert {region_of(accent) for accent in accents} == set(REGIONS)
    foreign = [accent for accent in accents if "#" in accent]
    assert 0.4 < len(foreign) / len(accents) < 0.6
    assert len(set(foreign)) > 0.95 * len(foreign)


def test_natives_say_what_espeak_says() -> None:
    assert pronounce("kəmpjˈuːɾɚ", "en-us") == "kəmpjˈuːɾɚ"


def test_an_accent_says_the_same_alike_and_accents_differ() -> None:
    said = {pronounce("kəmpjˈuːɾɚ", f"en-us#{number}") for number in range(1, 100)}
    assert said == {pronounce("kəmpjˈuːɾɚ", f"en-us#{number}") for number in range(1, 100)}
    assert len(said) > 30
    taps = sum("ɾ" in one for one in said)
    assert 0 < taps < len(said), "some tap the t and some do not"


def test_habits_are_the_same_in_every_word() -> None:
    for number in range(1, 50):
        accent = f"en-gb#{number}"
        words = [pronounce(word, accent) for word in ("θˈɪn", "wˈɛðə")]
        assert pronounce("θˈɪn wˈɛðə", accent) == " ".join(words)


@pytest.mark.parametrize(("pattern", "instead"), HABITS)
def test_every_habit_has_sounds_to_change(pattern: str, instead: tuple[str, ...]) -> None:
    assert re.search(pattern, SENTENCE)
    for option in instead:
        assert re.sub(pattern, option, SENTENCE) != SENTENCE
        assert set(option) <= KOKORO, "what Kokoro has no sign for it leaves out"
