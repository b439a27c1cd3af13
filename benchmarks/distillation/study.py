"""The study's networks: which encoders are distilled, and what is fine-tuned on them.

```
teachers -> encoder (objective, size, seed) -> fine-tuned net (tasks, frozen or not) -> rows
```

Every row has the same student of its size, the same recordings, steps and seeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from kwspot_export.distill_recipe import (
    DistanceSettings,
    DistillRecipe,
    EnsembleSettings,
    FinetuneRecipe,
    S3RLSettings,
    SkillSettings,
    TeacherChoice,
    read_distill_recipe,
    read_finetune_recipe,
)
from kwspot_export.recipe import STUDENTS

HERE = Path(__file__).parent
# What all rows share is what these recipes say; only what a row is about is put in here.
RECIPES = HERE.parents[1] / "export" / "recipes"
SCRATCH = "scratch"
KEYWORDS, SPEAKERS = ("keywords",), ("speakers",)
JOINT = KEYWORDS + SPEAKERS
STEPS = 600  # of fine-tuning, for each task
LONGER = 2000  # in table b: two tasks that take turns learn more slowly than one

WHISPER = TeacherChoice("whisper-tiny", (0, 1, 2, 3, 4))
# One layer of each teacher of the ensemble: Whisper's best for words, the others' only one.
WHISPER_LAYER = TeacherChoice("whisper-tiny", (3,))
SPEECH_EMBEDDING = TeacherChoice("speech-embedding", (0,))
WAKEHUBERT = TeacherChoice("wakehubert/wakehubert.onnx", (0,))
SEVERAL = WHISPER_LAYER, SPEECH_EMBEDDING, WAKEHUBERT


@dataclass(frozen=True)
class Asked:
    """What an encoder is asked: its teachers and one objective's settings, by field name."""

    teachers: tuple[TeacherChoice, ...]
    settings: dict[str, object] = field(default_factory=dict)


def _s3rl(feature: bool, batch: bool, codebook: bool) -> Asked:
    settings = S3RLSettings(layer=3, feature_view=feature, batch_view=batch, codebook=codebook)
    return Asked((WHISPER,), {"s3rl": settings})


def _alone(teacher: TeacherChoice) -> Asked:
    return Asked((teacher,), {"distance": DistanceSettings(teacher.layers)})


def _several(strategy: str) -> Asked:
    # Averages need one width; the other strategies get the same targets, so that only they differ.
    return Asked(SEVERAL, {"ensemble": EnsembleSettings(strategy, dimensions=64)})


ENCODERS = {
    "distance": Asked((WHISPER,), {"distance": DistanceSettings((2, 3, 4))}),
    "feature": _s3rl(True, False, False),
    "batch": _s3rl(False, True, False),
    "both": _s3rl(True, True, False),
    "codebook": _s3rl(False, False, True),
    "both+codebook": _s3rl(True, True, True),
    "skill": Asked((WHISPER,), {"skill": SkillSettings(groups=3)}),
    "whisper": _alone(WHISPER_LAYER),
    "speech_embedding": _alone(SPEECH_EMBEDDING),
    "wakehubert": _alone(WAKEHUBERT),
    "average": _several("average"),
    "concatenation": _several("concatenation"),
    "heads": _several("heads"),
}


@dataclass(frozen=True)
class Tuned:
    """A net: its encoder, the tasks it is fine-tuned for, and whether the encoder is frozen."""

    encoder: str
    size: str
    seed: int
    tasks: tuple[str, ...] = KEYWORDS
    frozen: bool = False
    steps: int = STEPS

    @property
    def name(self) -> str:
        """A file name."""
        how = "frozen" if self.frozen else "tuned"
        longer = f"-{self.steps}" if self.steps != STEPS else ""
        return f"{self.encoder}-{self.size}-{self.seed}-{'+'.join(self.tasks)}-{how}{longer}"


@dataclass(frozen=True)
class Row:
    """A net's place in a table."""

    table: str
    row: str
    net: Tuned


def rows(seeds: int) -> Iterator[Row]:
    """Yield all rows of tables a, b and d, the most telling first, one seed after the other."""
    for seed in range(1, seeds + 1):
        yield from _table_a("medium", seed)
        for name in ("whisper", "speech_embedding", "wakehubert"):
            yield Row("d", name, Tuned(name, "medium", seed))
        for name in ("average", "concatenation", "heads", SCRATCH):
            yield Row("d", name, Tuned(name, "medium", seed))
        yield Row("b", SCRATCH, Tuned(SCRATCH, "medium", seed, JOINT, False, LONGER))
        for name, tasks in (("keyword", KEYWORDS), ("speaker", SPEAKERS), ("joint", JOINT)):
            for suffix, frozen in (("", False), ("-frozen", True)):
                net = Tuned("distance", "medium", seed, tasks, frozen, LONGER)
                yield Row("b", name + suffix, net)

    for seed in range(1, seeds + 1):
        yield from _table_a("small", seed)
    alone = ("scratch-keyword", KEYWORDS), ("scratch-speaker", SPEAKERS)
    for seed in range(1, seeds + 1):
        for name, tasks in (*alone, (SCRATCH, JOINT)):
            yield Row("b", name, Tuned(SCRATCH, "large", seed, tasks, False, LONGER))


def _table_a(size: str, seed: int) -> Iterator[Row]:
    for name in (SCRATCH, "distance", "feature", "batch", "both", "codebook", "both+codebook"):
        yield Row("a", name, Tuned(name, size, seed))


def distill_recipe(name: str, size: str, seed: int) -> DistillRecipe:
    """Put together the recipe of an encoder."""
    asked, base = ENCODERS[name], read_distill_recipe(RECIPES / "distance.toml")
    cleared = replace(base, distance=None, s3rl=None, skill=None, ensemble=None)
    return replace(
        cleared,
        name=f"{name}-{size}-{seed}",
        seed=seed,
        student=STUDENTS[size],
        teachers=asked.teachers,
        finetune="",
        **asked.settings,
    )


def finetune_recipe(net: Tuned) -> FinetuneRecipe:
    """Put together the recipe of a fine-tuned net; tasks that are left out have no turn."""
    base = read_finetune_recipe(RECIPES / "joint.toml")
    keywords, speakers = (
        replace(task, turns=int(name in net.tasks))
        for name, task in (("keywords", base.keywords), ("speakers", base.speakers))
    )
    return replace(
        base,
        name=net.name,
        seed=net.seed,
        student=STUDENTS[net.size],
        keywords=keywords,
        speakers=speakers,
        frozen=net.frozen,
        # Only linear layers learn of a frozen net, and have a long way to go.
        pace=replace(base.pace, steps=net.steps, head_rate=10.0 if net.frozen else 1.0),
    )
