"""A recipe: everything that decides what a training run makes, read from one TOML file."""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kwspot.errors import KwspotError
from kwspot.features import FrontEnd
from kwspot.modelfile import SENSITIVITIES, Decision
from kwspot.records import read_record


class RecipeError(KwspotError, ValueError):
    """A recipe that cannot be read or has unknown or impossible settings."""


@dataclass(frozen=True)
class Group:
    """Clips whose name starts with `prefix`, drawn in proportion to `weight`."""

    prefix: str
    weight: float


@dataclass(frozen=True)
class Data:
    """Which clips play which part. Names are prefixes of manifest paths; roles keep test out."""

    manifests: tuple[str, ...]
    positives: tuple[Group, ...]
    negatives: tuple[Group, ...]
    noises: tuple[str, ...]
    rooms: tuple[str, ...]
    # Licence of each manifest source that is trained on; goes into the model's card.
    licences: dict[str, str]
    confusables: tuple[str, ...] = ()
    # Speech that babble is mixed from.
    babble: tuple[str, ...] = ("speech/",)
    validation_negatives: tuple[str, ...] = ()
    # Every nth speaker of the real positives is kept for validation; 0 keeps none.
    hold_out_every: int = 4
    # Names of clips that are kept for validation, whatever their role.
    held_out: tuple[str, ...] = ()
    # Prefixes of clips that are not trained on, though they may be in a group of negatives.
    excluded: tuple[str, ...] = ()
    # Texts that begin with the sound of the keyword: no detector can tell before it should answer.
    ignored_texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Student:
    """The causal convolutional student (`student.py`)."""

    channels: int = 64
    kernel: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4, 1, 2)


@dataclass(frozen=True)
class Transformer:
    """The light transformer student (`transformer.py`)."""

    layers: int = 3
    width: int = 256
    feed_forward: int = 512
    heads: int = 4
    # Outputs (40 ms) before its own that a layer attends to.
    context: int = 32

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.heads < 1 or self.width % self.heads:
            raise RecipeError(
                f"the width of a transformer, {self.width}, must be a multiple of its heads, "
                f"{self.heads}"
            )


# Students that a recipe can name. Parameters: 22 k, 55 k, 244 k, 1.6 M; widths suit vector units.
STUDENTS = {
    "small": Student(channels=24),
    "medium": Student(channels=40),
    "large": Student(channels=88),
    "transformer": Transformer(),
}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn. A step is one batch of windows of 2.4 s."""

    steps: int = 5000
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: int = 200
    # Share of the steps on frame cross-entropy alone, before max-pooling joins it.
    frame_loss_until: float = 0.25
    mine_at: tuple[float, ...] = (0.25, 0.5, 0.75)
    validate_every: int = 250
    # Worsened copies of the validation negatives, beside them as they were recorded.
    validation_copies: int = 3
    average_decay: float = 0.998


@dataclass(frozen=True)
class Recipe:
    """One published model."""

    name: str
    keyword: str
    licence: str
    seed: int
    data: Data
    student: Student | Transformer = field(default_factory=Student)
    schedule: Schedule = field(default_factory=Schedule)
    decision: Decision = field(default_factory=Decision)
    # What the three sensitivities stand for, in false alarms an hour.
    false_alarms_per_hour: dict[str, float] = field(
        default_factory=lambda: {"low": 0.1, "medium": 0.5, "high": 2.0}
    )
    front_end: FrontEnd = field(default_factory=FrontEnd)


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Raises RecipeError for a file that is missing or no TOML, for an unknown or missing setting,
    and for a value of the wrong kind.
    """
    path = Path(path)
    table = read_table(path)
    data = table.get("data")
    if isinstance(data, dict):
        for kind in {"positives", "negatives"} & data.keys():
            data[kind] = groups(data[kind], f"{path}, data, {kind}")
    named = isinstance(table.get("student"), str)
    student = named_student(table.pop("student"), str(path)) if named else None
    recipe = read_record(Recipe, table, str(path), RecipeError)
    if student:
        recipe = replace(recipe, student=student)
    for sensitivity in SENSITIVITIES:
        if sensitivity not in recipe.false_alarms_per_hour:
            raise RecipeError(f"{path}, false_alarms_per_hour: {sensitivity!r} is missing")
    return recipe


def read_table(path: Path) -> dict[str, Any]:
    """Read a TOML file; raise RecipeError for one that is missing or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a TOML file: {error}") from error


def named_student(name: str, where: str) -> Student | Transformer:
    """Return the settings of a student that a recipe names; raise RecipeError where none is so."""
    if name not in STUDENTS:
        known = ", ".join(STUDENTS)
        raise RecipeError(f"{where}: no student is called {name!r}; known are {known}, or a table")
    return STUDENTS[name]


def groups(weights: object, where: str) -> list[dict[str, object]]:
    """Turn the table of weights by prefix into a list of groups."""
    if not isinstance(weights, dict):
        raise RecipeError(f"{where}: expected a table, found {weights!r}")
    return [{"prefix": prefix, "weight": weight} for prefix, weight in weights.items()]
