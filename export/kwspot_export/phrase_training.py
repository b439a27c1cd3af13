"""From a phrase to a finished net: voices, recordings, seeds, and the mean of what they learned.

```
phrase -> clips by synthetic voices, of it and of what sounds like it
       -> recordings, those that are good
       -> recipe -> a run for each seed, from the distilled encoder -> mean of the weights
```

All of it is in one folder, and the same settings go on in it where they were interrupted.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from kwspot.features import SAMPLE_RATE
from kwspot.manifest import Clip, read_data, read_manifest, spoken
from kwspot.sources import AudioFile
from kwspot_export.engines import SpeechError, open_engine
from kwspot_export.licences import Licences
from kwspot_export.neighbours import neighbours
from kwspot_export.phrase import parts, read_phrase
from kwspot_export.phrase_recipe import (
    NOISES,
    ROOMS,
    VOICES,
    compose_recipe,
    find_manifests,
    size_of,
)
from kwspot_export.phrase_settings import Settings, claim
from kwspot_export.pronunciation import missing_package
from kwspot_export.recipe import Recipe
from kwspot_export.recordings import (
    SOURCE,
    TEMPLATES,
    Judge,
    Recording,
    draw_others,
    find_recordings,
    take,
)
from kwspot_export.synthesis import MANIFEST, Line, synthesise
from kwspot_export.train import Progress, Run

log = logging.getLogger(__name__)

CLIP_BYTES, RUN_BYTES = 50_000, 5_000_000
PART_CLIPS = 3  # times those of a neighbour: «hey» alone is heard more often than any of them


@dataclass(frozen=True)
class Trained:
    """What is left when all seeds have learned: weights, and a run to score and export them with.

    `merits` are those of each seed and, last, of what was kept.
    """

    run: Run
    weights: Path
    merits: tuple[float, ...]
    mean: bool


class PhraseTraining:
    """One phrase, learned in one folder; errors in what was asked for are raised at once."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        cache: Path,
        device: str = "cpu",
        workers: int = 2,
        licences: Licences | None = None,
    ) -> None:
        self.settings, self.folder, self.cache = settings, folder, cache
        self.licences = licences or Licences()
        self.device, self.workers = device, workers
        self.phrase = read_phrase(settings.phrase, settings.say)
        self.data, self.encoder = Path(settings.data), Path(settings.encoder)
        self.manifests = find_manifests(self.data)
        self.clips = [clip for clip in read_data(self.data, self.manifests) if clip.role != "test"]
        self.size = size_of(self.encoder)
        self.found = [
            one
            for given in settings.recordings
            for one in find_recordings(Path(given), self.phrase.label)
        ]
        # With nothing but the data: what they lack is found before the work.
        self.compose([])
        claim(folder, settings)
        self.screened: list[Recording] = []

    @property
    def words(self) -> str:
        """Return the phrase as words, to look for what sounds like them; empty for IPA alone."""
        label = self.phrase.label if self.settings.say else ""
        return self.phrase.said if self.phrase.spelled else label

    @cached_property
    def lines(self) -> list[Line]:
        """What voices will say."""
        effort, said = self.settings.effort, self.phrase.said
        near: list[str] = []
        if self.words and missing_package() is None:
            near = neighbours(self.words, effort.neighbours)
        pieces = parts(self.phrase)
        near = [text for text in near if text not in pieces and text != self.phrase.label]
        return [
            Line(said, effort.clips, "tts"),
            *(Line(text, PART_CLIPS * effort.each, "near") for text in pieces),
            *(Line(text, effort.each, "near") for text in near),
        ]

    def unsaid(self) -> int:
        """Count the clips that voices have still to say."""
        manifest = Path(self.settings.spoken) / MANIFEST
        said = len(self._spoken()) if manifest.exists() else 0
        return max(0, sum(line.clips for line in self.lines) - said)

    def bytes_needed(self) -> float:
        """Return about how much the run will write that is not there yet."""
        seconds = sum(clip.seconds for clip in self.clips)
        decoded = 0 if any(self.cache.glob("*.i16")) else seconds * SAMPLE_RATE * 2
        return decoded + self.unsaid() * 2 * CLIP_BYTES + self.settings.effort.seeds * RUN_BYTES

    def engines(self) -> list[str]:
        """Name the engines that speak."""
        return [Path(voice).name for voice in self.settings.voices]

    def try_voices(self) -> float:
        """Say the phrase once with every engine; return the CPU seconds of a clip.

        Raises SpeechError for an engine that is missing or cannot say it.
        """
        rng, spent = np.random.default_rng(0), []
        for source in self.settings.voices:
            engine = open_engine(source)
            voice = engine.draw("train", rng)
            begun = time.perf_counter()
            samples = engine.say(self.phrase.said, voice)
            spent.append(time.perf_counter() - begun)
            if not len(samples) or np.abs(samples).max() < 1e-3:
                raise SpeechError(
                    f"{engine.name} gives silence for {self.phrase.said!r}: "
                    "tell with --say how it sounds"
                )
        return float(np.mean(spent))

    def speak(self, report: Callable[[int, int], None]) -> None:
        """Say all lines; what was said before is kept."""
        voices, folder = self.settings.voices, Path(self.settings.spoken)
        synthesise(self.lines, voices, folder, 1, max(1, self.workers), report)

    def screen(self) -> list[Recording]:
        """Look over the recordings and copy the good ones; return all, with the reasons."""
        if not self.found:
            return []
        rng = np.random.default_rng(0)
        said = [c for c in self._spoken() if c.name.startswith(VOICES)]
        templates = rng.choice(len(said), min(TEMPLATES, len(said)), replace=False)
        phrase = [np.concatenate(list(AudioFile(said[i].path))) for i in templates]
        others = [
            clip
            for clip in self.clips
            if not clip.name.startswith((NOISES, ROOMS)) and not clip.mentions(self.phrase.label)
        ]
        judge = Judge(phrase, draw_others(others, rng), self.encoder)
        self.screened = take(self.found, self.phrase.label, judge, self.folder / "recordings")
        return self.screened

    def compose(self, own: list[Clip]) -> Recipe:
        """Write the recipe of seed 1, in memory."""
        licences = {SOURCE: "their speaker's"}
        synthesis = Path(self.settings.spoken) / "synthesis.json"
        if synthesis.exists():
            licences |= json.loads(synthesis.read_text(encoding="utf-8"))["licences"]
        return compose_recipe(
            self.phrase,
            self.phrase.name,
            self.manifests,
            self.clips,
            own,
            self.settings.exclude,
            licences,
            self.size,
            self.settings.effort,
        )

    def learn(
        self,
        decoding: Callable[[int, int], None],
        report: Callable[[int, Progress], None],
    ) -> Trained:
        """Train every seed and keep the mean of their weights, if it does as well as the best.

        `report` is told the seed with every step.
        """
        own = self._spoken() + self._recorded()
        recipe = self.compose(own)
        record = json.dumps(asdict(recipe), indent=1, ensure_ascii=False)
        (self.folder / "recipe.json").write_text(record + "\n", encoding="utf-8")
        first: Run | None = None
        best, merits = [], []
        for seed in range(1, self.settings.effort.seeds + 1):
            run = Run(
                replace(recipe, seed=seed),
                self.data,
                self.folder / f"seed-{seed}",
                self.cache,
                self.device,
                self.workers,
                decoding,
                self.encoder,
                own,
            )
            if first is None:
                first = run
                begin = Path(self.settings.begun_with or self.folder / "begin.pt")
                if not self.settings.begun_with:
                    torch.save(run.net.state_dict(), begin)
            # All seeds begin alike, or the mean of their weights would mean nothing.
            run.begin_with(begin)
            run.trials = first.trials  # and are compared on the same sound
            best.append(run.fit(lambda progress, seed=seed: report(seed, progress)))
            merits.append(run.best)
            log.info("seed %d: merit %.3f", seed, run.best)
        return self._keep(first, best, merits)

    def _keep(self, run: Run, best: list[Path], merits: list[float]) -> Trained:
        states = [run.load_net(path).state_dict() for path in best]
        net = run.load_net(best[int(np.argmax(merits))])
        kept, mean = max(merits), False
        if len(states) > 1:
            soup = run.load_net(best[0])
            soup.load_state_dict(
                {
                    name: value
                    if not value.dtype.is_floating_point
                    else torch.stack([state[name] for state in states]).mean(0)
                    for name, value in states[0].items()
                }
            )
            merit = run.score(soup.to(run.device)).merit
            log.info("the mean of the seeds' weights: merit %.3f", merit)
            if merit >= kept:
                net, kept, mean = soup.cpu(), merit, True
        weights = self.folder / "best.pt"
        torch.save(net.state_dict(), weights)
        return Trained(run, weights, (*merits, kept), mean)

    def _spoken(self) -> list[Clip]:
        """Return the clips of voices, those of the phrase by the phrase's own name."""
        clips = read_manifest(Path(self.settings.spoken) / MANIFEST)
        wanted = {spoken(line.text) for line in self.lines}
        label, said = self.phrase.label, spoken(self.phrase.said)
        return [
            replace(clip, name=f"voices:{clip.name}", text=label)
            if spoken(clip.text) == said
            else replace(clip, name=f"voices:{clip.name}")
            for clip in clips
            if spoken(clip.text) in wanted
        ]

    def _recorded(self) -> list[Clip]:
        if not self.found:
            return []
        clips = read_manifest(self.folder / "recordings" / MANIFEST)
        return [replace(clip, name=f"recordings:{clip.name}") for clip in clips]
