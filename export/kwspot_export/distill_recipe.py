"""Recipes of distillation and fine-tuning: TOML files, read strictly.

`recipe.py` holds what they share with `kwspot train`, and the recipe of that command.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from kwspot.features import FrontEnd
from kwspot.modelfile import Decision
from kwspot.records import read_record
from kwspot_export.augment import Conditions
from kwspot_export.loop import Pace
from kwspot_export.recipe import (
    Group,
    RecipeError,
    Student,
    Transformer,
    groups,
    named_student,
    read_table,
)
from kwspot_export.voice_student import VoiceStudent

T = TypeVar("T")


@dataclass(frozen=True)
class Sound:
    """Which clips are heard, and in which places. Names are prefixes of manifest paths.

    No clip of role test or validation is among them, and none whose text mentions one of
    `unheard`: words that must stay new to the student.
    """

    manifests: tuple[str, ...]
    speech: tuple[Group, ...]
    noises: tuple[str, ...]
    rooms: tuple[str, ...]
    licences: dict[str, str]
    unheard: tuple[str, ...] = ()
    segments: int = 12000
    variants: int = 2  # places that each segment is heard in
    warped: bool = False  # in each by another vocal tract: not for teachers, who hear their own
    conditions: Conditions = field(default_factory=Conditions)
    seed: int = 0  # of segments and places; the recipe's own seed draws weights and batches


@dataclass(frozen=True)
class TeacherChoice:
    """A teacher and which of its hidden layers are kept; 0 is what enters the first layer."""

    source: str
    layers: tuple[int, ...]


@dataclass(frozen=True)
class DistanceSettings:
    """DistilHuBERT's distance to each layer of the first teacher (`objectives/distance.py`)."""

    layers: tuple[int, ...]
    cosine_weight: float = 1.0


@dataclass(frozen=True)
class S3RLSettings:
    """Dual view and teacher codebook on one layer of the first teacher (`objectives/s3rl.py`)."""

    layer: int
    feature_view: bool = True
    batch_view: bool = True
    codebook: bool = True
    dimensions: int = 64  # principal components that the views compare
    clusters: int = 256  # codes, for a teacher that has no quantiser
    codebook_weight: float = 1.0  # gamma
    temperature: float = 0.1
    mask_start: float = 0.065  # share of outputs at which a mask begins, as in wav2vec 2.0
    mask_outputs: int = 5  # length of a mask: 200 ms


@dataclass(frozen=True)
class SkillSettings:
    """Distance to groups of alike layers of the first teacher (`skill.py`)."""

    groups: int = 3
    calibration: int = 256  # segments on which layers are compared
    cosine_weight: float = 1.0


@dataclass(frozen=True)
class PruningSettings:
    """Prune the first teacher before it teaches (`pruning.py`)."""

    sparsity: float  # share of its parameters to remove
    groups: int = 3
    steps: int = 300


@dataclass(frozen=True)
class EnsembleSettings:
    """Distance to several teachers (`objectives/ensemble.py`).

    `dimensions` principal components of each teacher's layers are used; 0 uses them as they are.
    """

    strategy: str
    dimensions: int = 0
    cosine_weight: float = 1.0


@dataclass(frozen=True)
class DistillRecipe:
    """One distilled encoder: teachers, student, what is asked, and the sound."""

    name: str
    licence: str
    seed: int
    sound: Sound
    teachers: tuple[TeacherChoice, ...]
    student: Student | Transformer = field(default_factory=Student)
    distance: DistanceSettings | None = None
    s3rl: S3RLSettings | None = None
    skill: SkillSettings | None = None
    ensemble: EnsembleSettings | None = None
    pruning: PruningSettings | None = None
    pace: Pace = field(default_factory=Pace)
    delay: int = 3  # outputs (40 ms each) that the student may hear beyond what it describes
    front_end: FrontEnd = field(default_factory=FrontEnd)
    # A fine-tuning recipe beside this one, with which `kwspot distill` goes on to a model file.
    finetune: str = ""


@dataclass(frozen=True)
class KeywordTask:
    """Which words to tell apart, beside silence and anything else.

    `turns` is how many steps of each round are on keywords; 0 learns none.
    """

    words: tuple[str, ...]
    unknown_share: float = 0.3
    silence_share: float = 0.06
    turns: int = 1


@dataclass(frozen=True)
class SpeakerTask:
    """Whose voice it is: clips under these prefixes, by their manifest's speaker."""

    clips: tuple[str, ...]
    size: int = 64  # of the speaker embedding
    margin: float = 0.2
    scale: float = 20.0
    turns: int = 1


@dataclass(frozen=True)
class FinetuneRecipe:
    """One model of several heads on an encoder, distilled or fresh."""

    name: str
    licence: str
    seed: int
    sound: Sound
    keywords: KeywordTask
    speakers: SpeakerTask | None = None
    student: Student | Transformer | None = None  # for an encoder from scratch
    frozen: bool = False  # learn heads only
    pace: Pace = field(default_factory=Pace)
    decision: Decision = field(default_factory=Decision)
    front_end: FrontEnd = field(default_factory=FrontEnd)
    false_alarms_per_hour: dict[str, float] = field(
        default_factory=lambda: {"low": 0.1, "medium": 0.5, "high": 2.0}
    )


@dataclass(frozen=True)
class VoiceRecipe:
    """A net that tells voices apart, distilled from one that does (`voice_distill.py`).

    Of the people whose clips begin with one of `known` every `hold_out_every`-th is left out; they
    and those of role validation fit the threshold. `speeds` are those at which clips are heard.
    `teacher` says for the card what the teacher is, and its licence.
    """

    name: str
    licence: str
    teacher: str
    seed: int
    sound: Sound
    known: tuple[str, ...]
    hold_out_every: int = 7
    speeds: tuple[float, ...] = (0.88, 0.94, 1.0, 1.06, 1.13)
    own_share: float = 0.5  # of a clip's own embedding in what is learnt; the rest is its person's
    student: VoiceStudent = field(default_factory=VoiceStudent)
    pace: Pace = field(default_factory=Pace)
    front_end: FrontEnd = field(default_factory=FrontEnd)


def read_distill_recipe(path: Path) -> DistillRecipe:
    """Read a recipe of `kwspot distill`; raise RecipeError for what cannot be done."""
    recipe = _read(DistillRecipe, path)
    asked = [n for n in ("distance", "s3rl", "skill", "ensemble") if getattr(recipe, n) is not None]
    if len(asked) != 1:
        raise RecipeError(
            f"{path}: needs exactly one of [distance], [s3rl], [skill] and [ensemble]; "
            f"found {' and '.join(asked) or 'none'}"
        )
    if not recipe.teachers:
        raise RecipeError(f"{path}: no teacher is named")
    return recipe


def read_finetune_recipe(path: Path) -> FinetuneRecipe:
    """Read a recipe of `kwspot finetune`; raise RecipeError for what cannot be done."""
    return _read(FinetuneRecipe, path)


def read_voice_recipe(path: Path) -> VoiceRecipe:
    """Read a recipe of `kwspot distill-voices`; raise RecipeError for what cannot be done."""
    return _read(VoiceRecipe, path)


def _read(kind: type[T], path: Path) -> T:
    table = read_table(path)
    sound = table.get("sound")
    if isinstance(sound, dict) and "speech" in sound:
        sound["speech"] = groups(sound["speech"], f"{path}, sound, speech")
    named = isinstance(table.get("student"), str)
    student = named_student(table.pop("student"), str(path)) if named else None
    recipe = read_record(kind, table, str(path), RecipeError)
    return replace(recipe, student=student) if student else recipe
