"""How English texts are said, and which words are frequent: espeak-ng's phonemes, wordfreq's list.

Both are packages of the extra `voices`.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

from kwspot_export.engines import SpeechError

FREQUENT = 20_000  # words
PACKAGES = {"phonemizer": "phonemizer", "espeakng_loader": "espeakng-loader"} | {
    name: name for name in ("panphon", "wordfreq")
}

Sound = tuple[str, ...]  # phonemes, in IPA


def missing_package() -> str | None:
    """Return a package that is not installed and that this module or `neighbours` needs."""
    lacking = (p for module, p in PACKAGES.items() if importlib.util.find_spec(module) is None)
    return next(lacking, None)


def need_packages(what: str) -> None:
    """Raise SpeechError, saying that `what` need it, where a package is missing."""
    if package := missing_package():
        raise SpeechError(
            f"{what} need {package}, which is not installed: pip install 'kwspot-export[voices]'"
        )


def frequent_words() -> list[str]:
    """Return the most frequent English words, the most frequent first."""
    import wordfreq

    return list(wordfreq.top_n_list("en", FREQUENT))


def phonemes(texts: Sequence[str]) -> list[Sound]:
    """Return the phonemes of texts, without stress and length."""
    from phonemizer.separator import Separator

    if not texts:
        return []
    separator = Separator(phone=" ", word=" _ ", syllable="")
    said = _espeak(with_stress=False).phonemize(list(texts), separator=separator, strip=True)
    return [tuple(text.replace("ː", "").replace("_", "").split()) for text in said]


def ipa(text: str) -> str:
    """Return how a text is said, with stress."""
    return str(_espeak(with_stress=True).phonemize([text], strip=True)[0])


@cache
def _espeak(with_stress: bool) -> Any:
    import espeakng_loader
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    return EspeakBackend("en-us", with_stress=with_stress)
