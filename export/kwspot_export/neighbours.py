"""Words and phrases that sound like a phrase: what a model must learn not to hear.

```
frequent words -> phonemes (espeak-ng) -> distance of phonological features (panphon) -> the nearest
```

For a phrase of several words each word is exchanged in turn, and each is said alone; for a word,
two words in a row that sound like it are taken too («jar visit» for «jarvis»).
"""

from collections.abc import Sequence
from itertools import product

from kwspot.manifest import spoken
from kwspot_export.engines import SpeechError
from kwspot_export.pronunciation import Sound, frequent_words, need_packages, phonemes

ROUGH = 600  # words near by plain edit distance, whose features are then compared
HALVES = 6  # words near each half of a word, to be said in a row
# Beginnings of words that nobody wants to read in a report of what sounds like their word.
COARSE = "bitch", "cock", "cunt", "dick", "fag", "fuck", "nigg", "piss", "shit", "slut", "whore"


def neighbours(phrase: str, count: int) -> list[str]:
    """Return at most `count` phrases that sound nearly like `phrase`, without those that sound the
    same or begin with it: no detector can tell these in time.

    Raises SpeechError for a phrase without a word and where a package is missing.
    """
    words = spoken(phrase).split()
    if not words:
        raise SpeechError(f"{phrase!r} has no word in it")
    lexicon = _Lexicon()
    whole, sounds = lexicon.sound(words), [lexicon.sound([word]) for word in words]
    share = max(1, count // len(words))
    found = list(words) if len(words) > 1 else []
    for place, sound in enumerate(sounds):
        for near in lexicon.near(sound, share + 1):
            found.append(" ".join([*words[:place], near, *words[place + 1 :]]))
    if len(words) == 1:
        middle = len(sounds[0]) // 2
        halves = (lexicon.near(half, HALVES) for half in (sounds[0][:middle], sounds[0][middle:]))
        found[share // 2 : share // 2] = [" ".join(pair) for pair in product(*halves)]
    told_apart = [text for text in dict.fromkeys(found) if text != spoken(phrase)]
    heard = lexicon.sounds([text.split() for text in told_apart])
    kept = zip(told_apart, heard, strict=True)
    return [text for text, sound in kept if sound[: len(whole)] != whole][:count]


class _Lexicon:
    """Frequent English words and how they sound."""

    def __init__(self) -> None:
        need_packages("phonetic neighbours")
        import panphon.distance

        self._distance = panphon.distance.Distance()
        # What has no vowel is spelled out when it is said.
        frequent = [word for word in frequent_words() if not word.startswith(COARSE)]
        self.words = [w for w in frequent if w.isalpha() and len(w) > 1 and set(w) & set("aeiouy")]
        self._sounds = self.sounds([[word] for word in self.words])

    def sound(self, words: Sequence[str]) -> Sound:
        """Return the phonemes of a phrase."""
        return self.sounds([list(words)])[0]

    def sounds(self, phrases: Sequence[Sequence[str]]) -> list[Sound]:
        """Return the phonemes of phrases."""
        return phonemes([" ".join(words) for words in phrases])

    def near(self, sound: Sound, count: int) -> list[str]:
        """Return the words nearest to a sound, the nearest first."""
        text = "".join(sound)
        rough = sorted(
            zip(self._sounds, self.words, strict=True),
            key=lambda entry: self._distance.fast_levenshtein_distance(text, "".join(entry[0])),
        )[:ROUGH]
        weighted = self._distance.weighted_feature_edit_distance
        rough.sort(key=lambda entry: weighted(text, "".join(entry[0])))
        return [word for _, word in rough[:count]]
