"""Tasks of embeddings: one person in two clips, and words that no network was trained on.

Letters: N clips, T frames, F mel bands, E dimensions of an embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from inputs import (
    SEED,
    WINDOW,
    Features,
    StudyError,
    cached,
    clips_under,
    piece,
    whole,
    window_features,
    word,
)
from network import Network, embeddings
from numpy.random import default_rng
from scoring import equal_error_rate, recall_at
from trials import ARABIC, COMMANDS, TRIALS, read_trials

from kwspot.features import SAMPLE_RATE
from kwspot.manifest import Clip, spoken

NEW_WORDS = ("computer", "jarvis", "smart_mirror", "snowboy", "view_glass")
SHOTS, DRAWS = 5, 10
NEGATIVES = 3000  # windows of all kinds to tell a new word from, the other new words among them
ACCEPTED = 0.01


@dataclass(frozen=True)
class Speakers:
    """Is it one person in two clips? Judged by the cosine of their embeddings.

    `windows` is (N, T, F); `lists` holds for each list of trials the indices (trials, 2) of their
    windows, and whether they are of one person (trials,).
    """

    windows: Features
    lists: tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]], ...]

    @classmethod
    def open(cls, clips: Sequence[Clip], cache: Path, path: Path = TRIALS) -> "Speakers":
        """Read the trials and place their clips; raises StudyError for clips not of role test."""
        trials = read_trials(path)
        by_name = {clip.name: clip for clip in clips if clip.role == "test"}
        names = sorted({name for trial in trials for name in (trial.a, trial.b)})
        missing = [name for name in names if name not in by_name]
        if missing:
            raise StudyError(f"{path.name} has a clip that is not of role test: {missing[0]}")
        chosen = [by_name[name] for name in names]
        windows = cached(cache, "speakers", chosen, lambda: window_features(map(whole, chosen)))
        index = {name: i for i, name in enumerate(names)}
        lists = []
        for folder in (COMMANDS, ARABIC):
            listed = [trial for trial in trials if trial.a.startswith(folder)]
            pairs = np.array([(index[trial.a], index[trial.b]) for trial in listed])
            lists.append((pairs, np.array([trial.target for trial in listed])))
        return cls(windows, tuple(lists))

    def measure(self, network: Network) -> tuple[float, ...]:
        """Return the equal error rate (%) of each list."""
        unit = embeddings(network.voice, self.windows)
        rates = []
        for pairs, target in self.lists:
            cosine = np.einsum("ij,ij->i", unit[pairs[:, 0]], unit[pairs[:, 1]])
            rates.append(equal_error_rate(cosine[target], cosine[~target]))
        return tuple(rates)


@dataclass(frozen=True)
class FiveShot:
    """Words that no network was trained on, found by the cosine to the mean of five clips of each.

    `windows` is (N, T, F); `enrol` and `positives` hold the indices of each of NEW_WORDS,
    `negatives` those of the clips without it.
    """

    windows: Features
    enrol: tuple[npt.NDArray[np.int64], ...]
    positives: tuple[npt.NDArray[np.int64], ...]
    negatives: tuple[npt.NDArray[np.int64], ...]

    @classmethod
    def open(cls, clips: Sequence[Clip], cache: Path) -> "FiveShot":
        """Place words, cut sentences; raises StudyError for want of clips."""
        shown = clips_under(clips, "train", *(f"wake/{new}/" for new in NEW_WORDS))
        single = clips_under(clips, "test", "wake/", "speech/mycroft/", "speech/other_keywords/")
        spoken_on = clips_under(clips, "test", "speech/coffee_orders/", "speech/librispeech/")
        cuts = [(c, i) for c in spoken_on for i in range(int(c.seconds * SAMPLE_RATE) // WINDOW)]
        count = min(len(cuts), max(0, NEGATIVES - len(single)))
        drawn = default_rng(SEED).choice(len(cuts), count, replace=False)
        cuts = [cuts[i] for i in np.sort(drawn)]

        def make() -> Features:
            placed = (word(clip) for clip in [*shown, *single])
            return window_features([*placed, *(piece(*cut) for cut in cuts)])

        heard = [*shown, *single, *(clip for clip, _ in cuts)]
        windows = cached(cache, "five-shot", heard, make)
        test = np.arange(len(heard)) >= len(shown)
        # Community recordings name their words in the file name, if anywhere.
        said = [f" {spoken(f'{clip.name} {clip.text}')} " for clip in heard]
        has = [np.array([f" {spoken(new)} " in text for text in said]) for new in NEW_WORDS]
        within = [np.array([c.name.startswith(f"wake/{new}/") for c in heard]) for new in NEW_WORDS]
        return cls(
            windows,
            tuple(np.flatnonzero(inside & ~test) for inside in within),
            tuple(np.flatnonzero(inside & test) for inside in within),
            tuple(np.flatnonzero(~said_so & test) for said_so in has),
        )

    def measure(self, network: Network) -> tuple[float, float]:
        """Return recall (%) at 1 % false accepts and equal error rate (%), means over all draws."""
        unit = embeddings(network.embed, self.windows)
        rng = default_rng(SEED)
        recalls, rates = [], []
        for enrol, positives, negatives in zip(
            self.enrol, self.positives, self.negatives, strict=True
        ):
            for _ in range(DRAWS):
                prototype = unit[rng.choice(enrol, SHOTS, replace=False)].mean(axis=0)
                scores = unit @ prototype  # its length changes no rank
                recalls.append(recall_at(scores[positives], scores[negatives], ACCEPTED))
                rates.append(equal_error_rate(scores[positives], scores[negatives]))
        return float(np.mean(recalls)), float(np.mean(rates))
