"""How people of other regions and other mother tongues say the sounds of English.

A synthesiser reads «computer» as Americans do, with a tapped t and an r at the end: /kəmpjˈuːɾɚ/.
Half of the world says /kɔmpjˈutɛr/ or the like. An accent is a region, whose pronunciation espeak
knows, and a handful of habits, which a number stands for:

    en-us      en-gb      en-029#4711
"""

import re

import numpy as np
from numpy.random import Generator

REGIONS = {"en-us": 0.4, "en-gb": 0.4, "en-029": 0.2}  # and their shares
FOREIGN = 0.5  # share of the accents that have habits
HABIT = 0.35  # how likely one who has any has each of them
_END = r"(?=$|[^\w])"

# Sounds, as patterns, and what learners and other regions say instead: one of these. In IPA as
# espeak writes it; the merges are those of textbooks of English pronunciation (Swan and Smith,
# Learner English, 2001; Wells, Accents of English, 1982).
HABITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ɾ", ("t", "t", "d")),
    ("ɚ|ɜː", ("ə", "ɛɹ", "ɐ", "ɔɹ")),
    (f"ə{_END}", ("a", "ɐ", "ɛ")),
    (r"\bɐ", ("a", "ə", "ɛ")),
    (r"\Bə\B", ("o", "ɔ", "a", "ɪ", "ʊ")),
    ("ɹ", ("r", "ɾ", "ʁ")),
    (f"ɹ{_END}", ("",)),
    ("oʊ|əʊ", ("o", "ɔ")),
    ("eɪ", ("e", "ɛ")),
    ("ʌ", ("a", "ɐ", "ɔ")),
    ("æ", ("a", "ɛ")),
    ("ɪ", ("i",)),
    ("ʊ", ("u",)),
    ("ɑ|ɒ", ("a", "ɔ")),
    ("ɛ", ("e", "æ")),
    ("uː", ("u", "ʊ")),
    ("iː", ("i", "ɪ")),
    ("ː", ("",)),
    ("θ", ("t", "s", "f")),
    ("ð", ("d", "z")),
    ("w", ("v", "ʋ")),
    ("v", ("w", "b", "f")),
    ("z", ("s",)),
    (r"\bt(?!ʃ)", ("tʰ", "ʈ")),
    ("dʒ", ("tʃ", "ʒ", "j")),
    ("tʃ", ("ʃ",)),
    (f"ŋ{_END}", ("ŋɡ", "n")),
    (r"\bh", ("x", "")),
    (f"d{_END}", ("t",)),
    (f"ɡ{_END}", ("k",)),
    (f"b{_END}", ("p",)),
    (r"\bp(?=\w)", ("pʰ", "b")),
    (r"j(?=[ˈˌ]?u)", ("", "i")),
    (r"\bs(?=[ptkmnl])", ("ɛs",)),
)


def draw_accent(rng: Generator) -> str:
    """Draw an accent."""
    region = str(rng.choice(list(REGIONS), p=list(REGIONS.values())))
    return f"{region}#{rng.integers(1, 100_000)}" if rng.random() < FOREIGN else region


def region_of(accent: str) -> str:
    """Return the region of an accent, as espeak names it."""
    return accent.partition("#")[0]


def pronounce(phonemes: str, accent: str) -> str:
    """Say phonemes of an accent's region with its habits: the same accent says the same alike."""
    number = accent.partition("#")[2]
    if not number:
        return phonemes
    rng = np.random.default_rng(int(number))
    # All draws are made, whatever occurs: one accent has the same habits in every word.
    for pattern, instead in HABITS:
        has, choice = rng.random() < HABIT, int(rng.integers(len(instead)))
        if has:
            phonemes = re.sub(pattern, instead[choice], phonemes)
    return phonemes
