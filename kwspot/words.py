"""Several words in one detector: what its models must share, and options word by word."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from kwspot.errors import ModelError
from kwspot.modelfile import ModelInfo

T = TypeVar("T")


def heard_together(infos: Sequence[ModelInfo]) -> ModelInfo:
    """Return the first model's information with the keywords of all and the longest field.

    Raises ModelError for models that do not hear through one front end in equal steps, and for two
    that have the same label.
    """
    first = infos[0]
    for info in infos[1:]:
        for shared, what in (
            ("front_end", "hear through different front ends"),
            ("frames_per_step", "take steps of different lengths"),
            ("outputs_per_step", "answer at different times"),
        ):
            if getattr(info, shared) != getattr(first, shared):
                raise ModelError(
                    f"{first.name} and {info.name} {what}: use a detector for each of them"
                )
    owners: dict[str, str] = {}
    for info in infos:
        for keyword in info.keywords:
            if keyword.label in owners:
                raise ModelError(
                    f"{owners[keyword.label]} and {info.name} both hear {keyword.label!r}: "
                    "leave one of them out"
                )
            owners[keyword.label] = info.name
    return replace(
        first,
        keywords=tuple(keyword for info in infos for keyword in info.keywords),
        receptive_field=max(info.receptive_field for info in infos),
    )


def word_by_word(
    option: T | Mapping[str, T], labels: Sequence[str], default: T, name: str
) -> dict[str, T]:
    """Spread an option over the words: one value for all, or some words' own beside `default`.

    Raises ModelError for a word that is not among `labels`.
    """
    if not isinstance(option, Mapping):
        return dict.fromkeys(labels, option)
    for label in option:
        if label not in labels:
            raise ModelError(f"{name} names {label!r}: the words are {', '.join(labels)}")
    return dict.fromkeys(labels, default) | dict(option)
