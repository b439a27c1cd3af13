"""Training a keyword student, from manifests to the best checkpoint.

```
manifests -> corpus -> pools -> batches (worker processes) -> log-mel -> student -> loss
                 every so often: hard negatives mined, validation streams scored, checkpoint written
```

A run lives in a folder: `checkpoint.pt` (all that resuming needs), `best.pt` (the averaged weights
with the fewest misses at few false alarms) and `metrics.jsonl`.
"""

import copy
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from kwspot.features import SAMPLE_RATE
from kwspot.manifest import Clip, read_data, spoken
from kwspot_export import mining
from kwspot_export.augment import Conditions
from kwspot_export.batches import Batch, Composer, Hard, draw_pools
from kwspot_export.corpus import Corpus
from kwspot_export.encoder_file import begin_encoder
from kwspot_export.frontend import LogMel
from kwspot_export.loop import TrainingError, load_weights, rate
from kwspot_export.objectives.keyword import frame_cross_entropy, max_pooling
from kwspot_export.recipe import Recipe
from kwspot_export.spec_augment import spec_augment
from kwspot_export.student import FrameNet
from kwspot_export.validation import Score, Trials, ValidationSound, draw_trials, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What a run reports after every step."""

    step: int
    steps: int
    loss: float
    seconds_left: float
    merit: float


class Batches(IterableDataset):
    """Batches from `start` to `stop`, shared out over the loader's worker processes."""

    def __init__(self, composer: Composer, seed: int, size: int, start: int, stop: int) -> None:
        self.composer, self.seed, self.size = composer, seed, size
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[Batch]:
        """Yield this worker's share, every batch from a seed of its own."""
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in range(self.start + offset, self.stop, stride):
            yield self.composer.batch(self.size, np.random.default_rng([self.seed, number]))


class Run:
    """One training run of a recipe over a data folder."""

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        cache: Path,
        device: str = "cpu",
        workers: int = 2,
        decoding: Callable[[int, int], None] | None = None,
        encoder: Path | None = None,
        more: Sequence[Clip] = (),
    ) -> None:
        """Read the manifests and decode the recordings.

        `more` are clips beside those of the manifests, decoded for this run alone. Raises
        TrainingError for data that lack a part, and for a source without a licence.
        """
        self.recipe, self.folder, self.workers = recipe, folder, workers
        self.device = torch.device(device)
        folder.mkdir(parents=True, exist_ok=True)
        clips = _untested(read_data(data, recipe.data.manifests))
        own = _untested(more)
        self.split = _split(clips + own, recipe)
        self.corpus = Corpus.open(clips, cache, decoding)
        if own:
            self.corpus = self.corpus.join(Corpus.open(own, folder.parent / "decoded"))
        rng = np.random.default_rng([recipe.seed, 1 << 40])
        pools = draw_pools(self.corpus, recipe, self.split.train, self.split.positives, rng)
        self.composer = Composer(self.corpus, pools, recipe.front_end, Conditions())
        unlicensed = self.trained_sources().keys() - recipe.data.licences.keys()
        if unlicensed:
            raise TrainingError(f"the recipe states no licence for {', '.join(sorted(unlicensed))}")
        torch.manual_seed(recipe.seed)
        begun, self.origin = begin_encoder(encoder, recipe.student, recipe.front_end)
        self.net = FrameNet(begun, 1).to(self.device)
        self.average = copy.deepcopy(self.net)
        self.log_mel = LogMel(recipe.front_end).to(self.device)
        schedule = recipe.schedule
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.step, self.best, self.finished = 0, -1.0, False

    def trained_sources(self) -> dict[str, tuple[int, float]]:
        """Count the clips and hours that the student learns from, by manifest source."""
        pools = self.composer.pools
        used = {spot.index for spot in pools.positives}
        for part in (pools.negatives, pools.confusables, pools.noises, pools.room_indices):
            used.update(part.tolist())
        sources: dict[str, tuple[int, float]] = {}
        for index in used:
            source = self.corpus.clips[index].source
            clips, hours = sources.get(source, (0, 0.0))
            sources[source] = clips + 1, hours + self.corpus.length(index) / SAMPLE_RATE / 3600
        return sources

    def begin_with(self, weights: Path) -> None:
        """Begin with the weights of another run of the same net, its head too."""
        load_weights(self.net, weights)
        load_weights(self.average, weights)

    def fit(self, report: Callable[[Progress], None]) -> Path:
        """Train to the end, from the last checkpoint if there is one; return the best weights."""
        self._resume()
        trials, schedule = self.trials, self.recipe.schedule
        mine_at = {int(share * schedule.steps) for share in schedule.mine_at}
        stops = sorted(mine_at | {schedule.steps})
        while self.step < schedule.steps:
            if self.step in mine_at:
                self._mine()
            stop = next(s for s in stops if s > self.step)
            self._learn(stop, trials, report)
        if not self.finished:
            self._average_best_and_last(trials)
        return self.folder / "best.pt"

    def _learn(self, stop: int, trials: Trials, report: Callable[[Progress], None]) -> None:
        schedule = self.recipe.schedule
        batches = Batches(self.composer, self.recipe.seed, schedule.batch, self.step, stop)
        loader = DataLoader(
            batches,
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )
        begun, first = time.monotonic(), self.step
        for batch in loader:
            loss = self._update(batch)
            self.step += 1
            if self.step % schedule.validate_every == 0 or self.step == schedule.steps:
                self._validate(trials, loss)
            each = (time.monotonic() - begun) / (self.step - first)
            left = each * (schedule.steps - self.step)
            report(Progress(self.step, schedule.steps, loss, left, self.best))

    def _update(self, batch: Batch) -> float:
        schedule = self.recipe.schedule
        self.net.train()
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate * rate(self.step, schedule.steps, schedule.warm_up)
        target = torch.as_tensor(batch.target).to(self.device)
        certain = torch.as_tensor(batch.certain).to(self.device)
        with torch.no_grad():
            features = self.log_mel(
                torch.as_tensor(batch.audio).to(self.device),
                torch.as_tensor(batch.warp).to(self.device),
            )
            features = spec_augment(
                features, np.random.default_rng([self.recipe.seed, self.step, 1])
            )
        logits = self.net(features)[:, :, 0]
        if self.step < schedule.frame_loss_until * schedule.steps:
            loss = frame_cross_entropy(logits, target, certain)
        else:
            loss = max_pooling(logits, target) + frame_cross_entropy(logits, target, certain)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.step}: lower learning_rate"
            )
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        _move_average(self.average, self.net, min(schedule.average_decay, 1 - 1 / (self.step + 1)))
        return float(loss.detach())

    def _average_best_and_last(self, trials: Trials) -> None:
        """Keep the mean of the best and the last weights instead of the best, if it does better."""
        net = self.best_net().to(self.device)
        _move_average(net, self.average, 0.5)
        score = validate(net, trials, self.recipe.decision.smoothing)
        if score.merit >= self.best:
            log.info("the mean of the best and the last weights is best: merit %.4f", score.merit)
            self.best = score.merit
            torch.save(net.state_dict(), self.folder / "best.pt")
        self.finished = True
        self._save()

    def _mine(self) -> None:
        rng = np.random.default_rng([self.recipe.seed, self.step, 2])
        smoothing = self.recipe.decision.smoothing
        hard = mining.mine(self.average, self.composer, smoothing, rng, self.workers)
        self.composer.pools.hard = hard
        log.info("step %d: %s", self.step, mining.describe(hard, self.composer))
        self._save()

    def _validate(self, trials: Trials, loss: float) -> None:
        score = validate(self.average, trials, self.recipe.decision.smoothing)
        row = {"step": self.step, "loss": round(loss, 5), "merit": round(score.merit, 5)}
        row |= {f"recall_at_{rate}_fa_h": round(r, 4) for rate, r in score.recall.items()}
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        # The first half is still learning words; what is lucky there is not what is good.
        if self.step >= self.recipe.schedule.steps // 2 and score.merit >= self.best:
            self.best = score.merit
            torch.save(self.average.state_dict(), self.folder / "best.pt")
        self._save()

    def score(self, net: FrameNet) -> Score:
        """Score weights on the validation streams."""
        return validate(net, self.trials, self.recipe.decision.smoothing)

    def best_net(self) -> FrameNet:
        """Load the best weights of the run, ready for export."""
        return self.load_net(self.folder / "best.pt")

    def load_net(self, weights: Path) -> FrameNet:
        """Load weights of the run; raise TrainingError for a file that does not hold them."""
        net = copy.deepcopy(self.average).cpu().eval()
        load_weights(net, weights)
        return net

    @cached_property
    def trials(self) -> Trials:
        """The validation streams, composed on first use: half a minute for a wake word."""
        return draw_trials(self.validation_sound, self.workers)

    @cached_property
    def validation_sound(self) -> ValidationSound:
        """What validation streams are composed from."""
        recipe, split = self.recipe, self.split
        rng = np.random.default_rng([recipe.seed, 3 << 40])
        pools = draw_pools(self.corpus, recipe, split.validation, split.validation_positives, rng)
        pools.rooms = self.composer.pools.rooms  # there are no rooms of role validation
        return ValidationSound(
            self.corpus,
            Composer(self.corpus, pools, recipe.front_end, Conditions()),
            recipe.keyword,
            tuple(split.validation_negatives.tolist()),
            tuple(split.validation_positives.tolist()),
            recipe.schedule.validation_copies,
            recipe.seed,
        )

    def _save(self) -> None:
        state = {
            "recipe": asdict(self.recipe),
            "origin": self.origin,
            "step": self.step,
            "best": self.best,
            "finished": self.finished,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "hard": [(h.index, h.sample, h.score) for h in self.composer.pools.hard],
        }
        partial = self.folder / "checkpoint.partial"
        torch.save(state, partial)
        partial.rename(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device)
        if (state["recipe"], state["origin"]) != (asdict(self.recipe), self.origin):
            raise TrainingError(
                f"{path} was made by another recipe or from another encoder: "
                "choose another --run folder or remove this one"
            )
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.composer.pools.hard = [Hard(*place) for place in state["hard"]]
        self.step, self.best, self.finished = state["step"], state["best"], state["finished"]
        log.info("resumed at step %d", self.step)


@dataclass(frozen=True)
class Split:
    """Indices into `clips`, by the part they play. No clip of role test is among them."""

    clips: list[Clip]
    train: np.ndarray
    positives: np.ndarray
    validation: np.ndarray
    validation_positives: np.ndarray
    validation_negatives: np.ndarray


def _untested(clips: Iterable[Clip]) -> list[Clip]:
    return [clip for clip in clips if clip.role != "test"]


def _split(clips: list[Clip], recipe: Recipe) -> Split:
    data = recipe.data
    keyword_prefixes = tuple(group.prefix for group in data.positives)
    negative_prefixes = tuple(group.prefix for group in data.negatives)
    trained_on = (*negative_prefixes, *data.confusables, *data.noises, *data.rooms)
    ignored = {spoken(text) for text in data.ignored_texts}
    speakers = _held_out_speakers(clips, keyword_prefixes, data.hold_out_every)
    held_out = set(data.held_out)
    train, positives, validation, validation_positives, validation_negatives = (
        [] for _ in range(5)
    )
    for i, clip in enumerate(clips):
        aside = clip.role == "validation" or clip.speaker in speakers or clip.name in held_out
        if spoken(clip.text) in ignored:
            continue
        if clip.mentions(recipe.keyword):
            if clip.name.startswith(keyword_prefixes):
                (validation_positives if aside else positives).append(i)
            continue
        excluded = clip.name.startswith(data.excluded)
        if not excluded:
            (validation if aside else train).append(i)
        # What is never trained on for its licence may still tell how often a model is fooled.
        usable = aside or excluded or not clip.name.startswith(trained_on)
        if usable and clip.name.startswith(data.validation_negatives):
            validation_negatives.append(i)
    parts = {
        "train": train,
        "positives": positives,
        "validation": validation,
        "validation_positives": validation_positives,
        "validation_negatives": validation_negatives,
    }
    for name, part in parts.items():
        if not part:
            raise TrainingError(
                f"the manifests hold no clips for {name.replace('_', ' ')} of {recipe.keyword!r}"
            )
    return Split(clips, **{name: np.array(part, np.int64) for name, part in parts.items()})


def _held_out_speakers(clips: list[Clip], prefixes: tuple[str, ...], every: int) -> set[str]:
    speakers = {
        clip.speaker
        for clip in clips
        if clip.name.startswith(prefixes) and clip.source != "kokoro-82m" and clip.role == "train"
    }
    return set(sorted(speakers)[every - 1 :: every]) if every else set()


@torch.no_grad()
def _move_average(average: nn.Module, net: nn.Module, decay: float) -> None:
    for mean, now in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)
