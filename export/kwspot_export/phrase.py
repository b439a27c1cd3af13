"""A phrase to listen for: its name, what voices are told to say, and what speaks against it.

```
"hey jarvis" -> label «hey jarvis», said "hey jarvis"
"jarvis", say "/ˈdʒɑːɹvɪs/" -> label «jarvis», said as the phonemes
```
"""

import re
import unicodedata
from dataclasses import dataclass

from kwspot.manifest import spoken
from kwspot_export.engines import SpeechError, phonemes_in
from kwspot_export.pronunciation import frequent_words, ipa, missing_package, phonemes

FEW = 5  # phonemes; what is shorter is part of many other words
LONG = 8  # words; a model hears a second and a half


@dataclass(frozen=True)
class Phrase:
    """`label` is what a detection says and texts of clips are compared with."""

    label: str
    said: str

    @property
    def name(self) -> str:
        """Return the label as file names have it."""
        return self.label.replace(" ", "_").replace("'", "")

    @property
    def spelled(self) -> bool:
        """Tell whether it is said as words rather than given phonemes."""
        return phonemes_in(self.said) is None


def read_phrase(text: str, say: str | None = None) -> Phrase:
    """Check what a user typed, and what voices should say in its stead; IPA stands in slashes.

    Raises SpeechError for a text without a word, and for one in letters that voices do not read.
    """
    if not re.search(r"\w", text):
        raise SpeechError('the phrase is empty: give the words to listen for, as "hey jarvis"')
    if say is not None and not re.search(r"\w", say):
        raise SpeechError(f"there is nothing to say in {say!r}: spell it as it sounds, or give IPA")
    if re.search(r"\d", text) and say is None:
        raise SpeechError(f"{text!r} has digits: write them as words")
    said = (say or text).strip()
    if phonemes_in(said) is None and not all(_latin(c) for c in said if c.isalpha()):
        raise SpeechError(
            f"{said!r} is not in Latin letters, and voices read no others: tell with --say how it "
            "sounds, in such letters or as IPA between slashes"
        )
    label = spoken(phonemes_in(text) or text)
    if len(label.split()) > LONG:
        raise SpeechError(f"{text!r} has more than {LONG} words: choose a few of them")
    return Phrase(label, said)


def doubts(phrase: Phrase) -> list[str]:
    """Say what may go wrong with a phrase: words that may be said otherwise, too few sounds."""
    given = phonemes_in(phrase.said)
    if missing_package():
        length = sum(c.isalpha() for c in given or phrase.said)
        return [_short(length, "letters")] if length < FEW else []
    found = []
    if given is None:
        known = set(frequent_words())
        new = [word for word in spoken(phrase.said).split() if word not in known]
        if new:
            found.append(
                f"{' and '.join(new)} {'are' if len(new) > 1 else 'is'} in no list of words, and "
                f"«{phrase.said}» will be said /{ipa(phrase.said)}/: if that is wrong, tell with "
                "--say how it sounds, in letters or as IPA between slashes"
            )
    length = len(phonemes([phrase.said])[0]) if given is None else sum(c.isalpha() for c in given)
    if length < FEW:
        found.append(_short(length, "sounds"))
    return found


def parts(phrase: Phrase) -> list[str]:
    """Return what is not the phrase: its beginnings and ends, each word, the first one twice."""
    words = spoken(phrase.said).split() if phrase.spelled else []
    cuts = range(1, len(words))
    found = [words[:cut] for cut in cuts] + [words[cut:] for cut in cuts]
    found += [[word] for word in words] + [words[:1] * 2] if cuts else []
    texts = dict.fromkeys(" ".join(part) for part in found)
    whole = f" {' '.join(words)} "
    return [text for text in texts if whole not in f" {text} "]


def _latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN ")


def _short(length: int, what: str) -> str:
    return (
        f"the phrase has {length} {what} only: expect false alarms, "
        "as other words and sentences hold them too; two words or three syllables do better"
    )
