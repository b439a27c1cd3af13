"""Distilling a net that tells voices apart from a larger one.

```
manifests -> corpus -> segments at several speeds --clean--> teacher -> targets ---+
                          |                                                        v
                          +-- rooms, noise --> bank -> student -> embedding -> 1 - cosine
```

The student hears 1.6 s in rooms and noise, the teacher the whole utterance, clean. A run lives in a
folder: `checkpoint.pt`, `metrics.jsonl`, and at the end `voices.pt`.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from kwspot.manifest import Clip, read_data
from kwspot_export import processes
from kwspot_export.bank import Bank
from kwspot_export.distill import Report, heard_clips, no_report, open_bank, open_corpus
from kwspot_export.distill_recipe import VoiceRecipe
from kwspot_export.loop import Step, Terms, TrainingError, learn, load_weights
from kwspot_export.spec_augment import spec_augment
from kwspot_export.voice_segments import draw_voice_segments
from kwspot_export.voice_student import VoiceStudentNet
from kwspot_export.voice_targets import targets, teach
from kwspot_export.voice_teacher import VoiceTeacher
from kwspot_export.voice_threshold import LEAST_SPEAKERS, Said, repeated


class VoiceDistillation:
    """One run of a recipe over a data folder."""

    def __init__(
        self,
        recipe: VoiceRecipe,
        data: Path,
        folder: Path,
        cache: Path,
        teacher: VoiceTeacher,
        device: str = "cpu",
        workers: int = 2,
        report: Report = no_report,
    ) -> None:
        """Decode the clips and draw segments; raise TrainingError for too few people."""
        self.recipe, self.folder, self.cache, self.teacher = recipe, folder, cache, teacher
        self.device, self.workers, self.report = torch.device(device), workers, report
        self.clips = heard_clips(recipe.sound, data)
        self.corpus = open_corpus(self.clips, cache, report)
        self.held_out = held_out_people(self.clips, recipe)
        self.validation = [
            clip
            for clip in read_data(data, recipe.sound.manifests)
            if clip.name.startswith(recipe.known)
            and clip.text
            and (clip.speaker in self.held_out or (clip.role == "validation" and clip.speaker))
        ]
        speakers = [clip.speaker for clip in self.validation]
        said = repeated(Said.of(self.validation))
        if len({speaker for speaker, _ in said}) < LEAST_SPEAKERS:
            raise TrainingError(
                f"{recipe.name}: fewer than {LEAST_SPEAKERS} of the people who are held out say a "
                "word four times, so that no threshold could be fitted: lower hold_out_every"
            )
        rng = np.random.default_rng(recipe.sound.seed)
        self.segments = draw_voice_segments(
            self.corpus, recipe.sound.speech, recipe.sound.segments, recipe.speeds, rng
        )
        speakers = [self.corpus.clips[clip].speaker for clip in self.segments.clips]
        self.rows = np.flatnonzero([speaker not in self.held_out for speaker in speakers])
        self.people = [
            f"{speakers[row]} at {self.segments.speeds[row]}" if speakers[row] else ""
            for row in self.rows
        ]
        if len(set(self.people)) <= recipe.student.size:
            raise TrainingError(
                f"{recipe.name}: an embedding of {recipe.student.size} numbers needs more people "
                f"than that; {len(set(self.people))} are known by their manifest's speaker"
            )
        torch.manual_seed(recipe.seed)
        self.net = VoiceStudentNet(recipe.front_end.mels, recipe.student)

    def fit(self, report: Callable[[Step], None]) -> VoiceStudentNet:
        """Train to the end, from the last checkpoint if there is one; also writes `voices.pt`."""
        recipe, net = self.recipe, self.net.to(self.device)
        told = teach(
            self.teacher,
            self.segments,
            self.cache,
            lambda *done: self.report(self.teacher.name, *done),
        )
        wanted = torch.from_numpy(
            targets(told[self.rows], self.people, recipe.student.size, recipe.own_share)
        )
        bank = self.bank

        def loss(step: int) -> Terms:
            rng = np.random.default_rng([recipe.seed, step, 1])
            drawn = rng.integers(len(self.rows), size=recipe.pace.batch)
            variants = rng.integers(recipe.sound.variants, size=recipe.pace.batch)
            features = spec_augment(bank.features(self.rows[drawn], variants), rng)
            embedding = processes.gather(net(processes.share(features).to(self.device)))
            cosine = functional.cosine_similarity(embedding, wanted[drawn].to(self.device))
            return Terms((1 - cosine).mean(), {})

        # The teacher by what it is, not by what the recipe says of it.
        settings = asdict(recipe) | {"teacher": self.teacher.fingerprint}
        learn(net, loss, recipe.pace, self.folder, settings, report)
        if processes.number() == 0:
            partial = self.folder / "voices.partial"
            torch.save(net.state_dict(), partial)
            partial.rename(self.weights)
        processes.wait()
        return net

    @cached_property
    def bank(self) -> Bank:
        """Compute what is missing of the features that the student hears, and open them."""
        return open_bank(self.segments, self.recipe, self.cache, self.workers, self.report)

    @property
    def weights(self) -> Path:
        """Where a finished run keeps its weights."""
        return self.folder / "voices.pt"

    def finished(self) -> VoiceStudentNet:
        """Load what a finished run has learnt; raise TrainingError where there is none."""
        load_weights(self.net, self.weights)
        return self.net


def held_out_people(clips: list[Clip], recipe: VoiceRecipe) -> set[str]:
    """Choose the people who are not trained on: every so-many-th of each folder that is known."""
    chosen: set[str] = set()
    for prefix in recipe.known:
        people = sorted({clip.speaker for clip in clips if clip.name.startswith(prefix)} - {""})
        chosen.update(people[recipe.hold_out_every - 1 :: recipe.hold_out_every])
    return chosen
