"""Distillation, from manifests and teachers to an encoder.

```
manifests -> corpus -> segments --clean--> teachers -> target cache --------+
                          |                                                 v
                          +-- rooms, noise --> bank -> student -> hidden -> lesson -> loss
```

A run lives in a folder: `checkpoint.pt` (all that resuming needs), `metrics.jsonl`, and at the end
`encoder.pt`.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kwspot.manifest import Clip, read_data
from kwspot_export import augment, processes
from kwspot_export.acoustics import Acoustics, draw_babble
from kwspot_export.bank import Bank
from kwspot_export.corpus import Corpus
from kwspot_export.distill_recipe import (
    DistillRecipe,
    FinetuneRecipe,
    PruningSettings,
    Sound,
    VoiceRecipe,
)
from kwspot_export.encoder_file import save_encoder
from kwspot_export.encoders import build_encoder
from kwspot_export.lessons import open_lesson
from kwspot_export.loop import Step, Terms, TrainingError, learn
from kwspot_export.prune_teacher import prune_teacher
from kwspot_export.recipe import RecipeError
from kwspot_export.segments import WINDOW_OUTPUTS, Segments, draw_segments
from kwspot_export.student import SUBSAMPLING
from kwspot_export.targets import TargetCache, TargetKey
from kwspot_export.teachers import Teacher, open_teacher

log = logging.getLogger(__name__)

Report = Callable[[str, int, int], None]  # what is being prepared, how much is done, of how much


def no_report(what: str, done: int, total: int) -> None:
    """Report nothing."""


def heard_clips(sound: Sound, data: Path) -> list[Clip]:
    """Read the clips of role train that may be heard.

    Raises TrainingError for clips of a source whose licence the recipe does not state.
    """
    clips = [
        clip
        for clip in read_data(data, sound.manifests)
        if clip.role == "train" and not any(clip.mentions(word) for word in sound.unheard)
    ]
    prefixes = (*(g.prefix for g in sound.speech), *sound.noises, *sound.rooms)
    clips = [clip for clip in clips if clip.name.startswith(prefixes)]
    unlicensed = {clip.source for clip in clips} - sound.licences.keys()
    if unlicensed:
        raise TrainingError(f"the recipe states no licence for {', '.join(sorted(unlicensed))}")
    return clips


def open_corpus(clips: list[Clip], cache: Path, report: Report) -> Corpus:
    """Decode clips, in the first process of a run alone; the others wait for what it leaves."""
    if processes.number() != 0:
        processes.wait()
        return Corpus.open(clips, cache)
    corpus = Corpus.open(clips, cache, lambda *done: report("decode", *done))
    processes.wait()
    return corpus


def open_acoustics(corpus: Corpus, sound: Sound) -> Acoustics:
    """Collect the noises, rooms and babble of a recipe; raise RecipeError where one is missing."""

    def starting(prefixes: tuple[str, ...]) -> np.ndarray:
        found = [i for i, c in enumerate(corpus.clips) if c.name.startswith(prefixes)]
        if not found:
            raise RecipeError(f"the manifests hold no clips for training under {list(prefixes)}")
        return np.array(found, np.int64)

    rng = np.random.default_rng([sound.seed, 1])
    speech = starting(tuple(group.prefix for group in sound.speech))
    rooms = augment.room_responses(corpus, starting(sound.rooms).tolist())
    babble = draw_babble(corpus, speech, rng)
    weights = np.full(len(speech), 1 / len(speech))
    noises = starting(sound.noises)
    return Acoustics(corpus, rooms, babble, noises, speech, weights, sound.conditions)


def open_bank(
    segments: Segments,
    recipe: DistillRecipe | FinetuneRecipe | VoiceRecipe,
    cache: Path,
    workers: int,
    report: Report,
) -> Bank:
    """Compute what is missing of the features that a student hears, and open them."""
    return Bank.open(
        segments,
        open_acoustics(segments.corpus, recipe.sound),
        recipe.front_end,
        recipe.sound.variants,
        recipe.sound.seed,
        cache / "banks",
        workers,
        lambda *done: report("sound", *done),
        recipe.sound.warped,
    )


class Distillation:
    """One run of a recipe over a data folder."""

    def __init__(
        self,
        recipe: DistillRecipe,
        data: Path,
        folder: Path,
        cache: Path,
        teachers: Path,
        device: str = "cpu",
        workers: int = 2,
        report: Report = no_report,
    ) -> None:
        self.recipe, self.folder, self.cache = recipe, folder, cache
        self.teachers, self.device, self.workers = teachers, torch.device(device), workers
        self.report = report
        self.clips = heard_clips(recipe.sound, data)
        self.corpus = open_corpus(self.clips, cache, report)
        rng = np.random.default_rng([recipe.sound.seed, 0])
        self.segments = draw_segments(self.corpus, recipe.sound.speech, recipe.sound.segments, rng)

    def build_targets(self) -> list[TargetCache]:
        """Run every teacher over the segments that its cache lacks."""
        if self.recipe.pruning is not None:
            self._prune(self.recipe.pruning)
        return [self._targets(number) for number in range(len(self.recipe.teachers))]

    def _prune(self, settings: PruningSettings) -> None:
        """Make a smaller teacher of the first one, unless that was done before."""
        if processes.number() == 0 and not (self._pruned / "config.json").exists():
            result = prune_teacher(
                self._open(self.recipe.teachers[0].source),
                self.segments,
                self._pruned,
                settings.sparsity,
                settings.groups,
                settings.steps,
                self.recipe.seed,
                lambda row: self.report("prune", row.step + 1, settings.steps * 3 // 2),
            )
            log.info(
                "pruned %s from %.2f to %.2f M parameters",
                self.recipe.teachers[0].source,
                result.parameters_before / 1e6,
                result.parameters_after / 1e6,
            )
        processes.wait()

    @property
    def _pruned(self) -> Path:
        return self.folder / "pruned"

    def _open(self, source: str) -> Teacher:
        local = self.teachers / source
        return open_teacher(str(local if local.exists() else source), str(self.device))

    def _targets(self, number: int) -> TargetCache:
        choice = self.recipe.teachers[number]
        pruned = number == 0 and self.recipe.pruning is not None
        teacher = open_teacher(self._pruned) if pruned else self._open(choice.source)
        key = TargetKey(
            teacher.fingerprint,
            self.segments.key,
            len(self.segments),
            choice.layers,
            WINDOW_OUTPUTS,
        )
        cache = TargetCache(self.cache / "targets", key)
        cache.build(teacher, self.segments.audio, lambda *done: self.report(teacher.name, *done))
        return cache

    def fit(self, report: Callable[[Step], None]) -> Path:
        """Distil to the end, from the last checkpoint if there is one; return `encoder.pt`."""
        recipe = self.recipe
        caches = self.build_targets()
        bank = open_bank(self.segments, recipe, self.cache, self.workers, self.report)
        torch.manual_seed(recipe.seed)
        encoder = build_encoder(recipe.front_end.mels, recipe.student).to(self.device)
        lesson = open_lesson(recipe, caches, encoder.width).to(self.device)
        net = nn.ModuleDict({"encoder": encoder, "lesson": lesson})

        def loss(step: int) -> Terms:
            rng = np.random.default_rng([recipe.seed, step, 1])
            rows = rng.integers(len(self.segments), size=recipe.pace.batch)
            variants = rng.integers(recipe.sound.variants, size=recipe.pace.batch)
            features = bank.features(rows, variants)
            masked = lesson.draw_masks((len(rows), WINDOW_OUTPUTS), rng)
            if masked is not None:
                frames = masked.repeat_interleave(SUBSAMPLING, dim=1)
                features = features.masked_fill(frames[:, :, None], 0)
            hidden = encoder(processes.share(features).to(self.device))
            return lesson(processes.gather(hidden), rows, masked, recipe.delay)

        learn(net, loss, recipe.pace, self.folder, asdict(recipe), report)
        path = self.folder / "encoder.pt"
        if processes.number() == 0:
            teachers = ", ".join(choice.source for choice in recipe.teachers)
            origin = f"{recipe.name}, seed {recipe.seed}, distilled from {teachers}"
            save_encoder(path, encoder, recipe.student, recipe.front_end, origin)
        processes.wait()
        return path
