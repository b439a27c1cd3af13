"""Fine-tuning: one encoder, two questions, «which word?» and «whose voice?».

```
manifests -> corpus -> examples -> bank -> encoder -> heads -> cross-entropy | angular softmax
```

Stage 2 of Kerpicci et al. (arXiv 2210.16611): the tasks take turns, each step on all parameters.
A run lives in a folder: `checkpoint.pt`, `metrics.jsonl`, and at the end `model.pt`.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kwspot_export import processes
from kwspot_export.distill import Report, heard_clips, no_report, open_bank, open_corpus
from kwspot_export.distill_recipe import FinetuneRecipe
from kwspot_export.encoder_file import begin_encoder
from kwspot_export.examples import BACKGROUND, draw_examples
from kwspot_export.heads import JointNet, PooledHeads
from kwspot_export.loop import Step, Terms, learn
from kwspot_export.objectives.speaker import AngularSoftmax
from kwspot_export.recipe import RecipeError
from kwspot_export.spec_augment import spec_augment


class Finetuning:
    """One run of a recipe over a data folder, from a distilled encoder or from scratch."""

    def __init__(
        self,
        recipe: FinetuneRecipe,
        data: Path,
        folder: Path,
        cache: Path,
        encoder: Path | None = None,
        device: str = "cpu",
        workers: int = 2,
        report: Report = no_report,
    ) -> None:
        self.recipe, self.data = recipe, data
        self.folder, self.cache = folder, cache
        self.device, self.workers, self.report = torch.device(device), workers, report
        self.turns = _turns(recipe)
        torch.manual_seed(recipe.seed)
        self.encoder, self.origin = begin_encoder(encoder, recipe.student, recipe.front_end)
        self.clips = heard_clips(recipe.sound, data)
        self.corpus = open_corpus(self.clips, cache, report)
        self.examples = draw_examples(
            self.corpus, recipe, np.random.default_rng([recipe.sound.seed, 0])
        )
        self.net = JointNet(
            self.encoder,
            PooledHeads(
                self.encoder.width,
                len(self.examples.names),
                recipe.speakers.size if recipe.speakers else 0,
                len(BACKGROUND),
            ),
        )
        # Weights are drawn here, at once: loading data draws random numbers too.
        self.learner = _Learner(self.net, self._voices(), recipe.frozen)

    def fit(self, report: Callable[[Step], None]) -> JointNet:
        """Train to the end, from the last checkpoint if there is one; also writes `model.pt`."""
        recipe, examples = self.recipe, self.examples
        bank = open_bank(examples.segments, recipe, self.cache, self.workers, self.report)
        turns = self.turns
        learner = self.learner.to(self.device)
        pace = replace(recipe.pace, steps=recipe.pace.steps * len(turns))

        def loss(step: int) -> Terms:
            rng = np.random.default_rng([recipe.seed, step, 1])
            task = turns[step % len(turns)]
            if task == "keywords":
                shares = recipe.keywords.unknown_share, recipe.keywords.silence_share
                rows = examples.draw_words(pace.batch, *shares, rng)
            else:
                rows = examples.draw_voices(pace.batch, rng)
            variants = rng.integers(recipe.sound.variants, size=pace.batch)
            features = spec_augment(bank.features(rows, variants), rng)
            logits, embedding = self.net(processes.share(features).to(self.device))
            if task == "keywords":
                labels = torch.from_numpy(examples.labels[rows]).to(self.device)
                total = functional.cross_entropy(processes.gather(logits[:, -1]), labels)
            else:
                speakers = torch.from_numpy(examples.speakers[rows]).to(self.device)
                total = learner.voices(processes.gather(embedding[:, -1]), speakers)
            return Terms(total, {task: float(total.detach())}, task)

        settings = asdict(recipe) | {"origin": self.origin}
        heads = self.net.heads
        learn(learner, loss, pace, self.folder, settings, report, heads, dict.fromkeys(turns))
        self.net.eval()
        if processes.number() == 0:
            partial = self.folder / "model.partial"
            torch.save(self.net.state_dict(), partial)
            partial.rename(self.folder / "model.pt")
        processes.wait()
        return self.net

    def _voices(self) -> AngularSoftmax | None:
        task = self.recipe.speakers
        if task is None:
            return None
        return AngularSoftmax(task.size, self.examples.speaker_count, task.margin, task.scale)


def _turns(recipe: FinetuneRecipe) -> list[str]:
    """Name the task of each step of a round."""
    turns = ["keywords"] * recipe.keywords.turns
    turns += ["speakers"] * (recipe.speakers.turns if recipe.speakers else 0)
    if not turns:
        raise RecipeError(f"{recipe.name}: no task has a turn")
    return turns


class _Learner(nn.Module):
    """The net and what is thrown away after training; a frozen encoder keeps its statistics too."""

    def __init__(self, net: JointNet, voices: AngularSoftmax | None, frozen: bool) -> None:
        super().__init__()
        self.net, self.voices, self.frozen = net, voices, frozen
        net.encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "_Learner":
        super().train(mode)
        if self.frozen:
            self.net.encoder.eval()
        return self
