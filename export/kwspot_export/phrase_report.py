"""The report beside a phrase's model: one page for a browser, with curves, figures and sound."""

import importlib.util
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kwspot.endpoints import speech_level
from kwspot.features import SAMPLE_RATE, FloatArray, FrontEnd
from kwspot.page import Page
from kwspot_export.card_tables import point_rows
from kwspot_export.corpus import Corpus
from kwspot_export.formats import Finished
from kwspot_export.phrase_card import merit_text, trained_rows
from kwspot_export.phrase_recipe import NEAR
from kwspot_export.phrase_training import PhraseTraining, Trained
from kwspot_export.student import OUTPUT_HOP, FrameNet
from kwspot_export.validation import Score, features_of, smoothed_scores
from kwspot_export.verifier_train import Verified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

PLAYED = 12  # clips with a player, of each kind
LONGEST = 4 * SAMPLE_RATE  # of what is played around a peak
GAP = np.zeros(SAMPLE_RATE // 2, np.float32)  # before a clip, as in a pause


@dataclass(frozen=True)
class Peak:
    """Where in a clip the score was highest."""

    index: int
    sample: int
    score: float


def write_report(
    path: Path,
    job: PhraseTraining,
    trained: Trained,
    finished: Finished,
    score: Score,
    verified: Verified | None,
) -> Path | None:
    """Write the page; return None, and log why, where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        log.info("no report is written: pip install 'kwspot-export[curves]'")
        return None
    run, info, net = trained.run, finished.info, finished.net
    corpus, smoothing = run.corpus, run.recipe.decision.smoothing
    page = Page(f"«{job.phrase.label}»: how {info.name} was trained, and what it mistakes")
    page.text(merit_text(trained))
    points = ["sensitivity", "threshold", "false alarms an hour", "recall on validation, %"]
    if verified:
        page.heading("Operating points")
        page.text("Verified: what scores high enough is heard again by a large net.")
        page.table(points, point_rows(verified.info.operating_points, verified.verified))
        page.figure(_det(verified.verified), "Misses against false alarms, verified.")
    page.heading("Operating points of the model alone")
    page.table(points, point_rows(info.keywords[0].operating_points, score))
    page.text(
        "Recall is that of synthetic voices that were kept out of training, most of them in babble "
        "at 10 and 5 dB. People are harder: measure with kwspot eval on recordings of theirs."
    )
    page.figure(
        _det(score),
        f"Misses against false alarms: {len(score.hits)} trials, "
        f"{score.hours:.1f} h of validation streams, three quarters of them worsened.",
    )
    page.heading("Training")
    seeds = [job.folder / f"seed-{n + 1}" for n in range(len(trained.merits) - 1)]
    page.figure(_curves(seeds), "Loss, and merit on validation, by step and seed.")
    page.table(["source", "licence", "clips", "hours"], trained_rows(job, trained))
    medium = info.keywords[0].operating_points["medium"].threshold
    near = [i for i, clip in enumerate(corpus.clips) if clip.name.startswith(NEAR)]
    for title, text, indices in (
        ("What sounds like it", "Synthetic clips; the model has learned from these.", near),
        (
            "Other sound",
            "Clips of role validation; the model has not heard these.",
            run.split.validation_negatives.tolist(),
        ),
    ):
        peaks = _highest(net, corpus, indices, smoothing)
        page.heading(title)
        page.text(
            f"{text} The highest scores of {len(indices)} clips; "
            f"medium sensitivity takes {medium:.2f}."
        )
        page.table(
            ["score", "what is said", "source", "listen"],
            [
                [
                    f"{peak.score:.3f}",
                    corpus.clips[peak.index].text or corpus.clips[peak.index].name,
                    corpus.clips[peak.index].source,
                    page.audio(_around(corpus, peak)),
                ]
                for peak in peaks
            ],
        )
    if job.screened:
        page.heading("Recordings")
        page.table(
            ["file", "what is said", "left out because"],
            [[one.path.name, one.text, one.reason or "trained on"] for one in job.screened],
        )
    page.write(path)
    return path


def _highest(net: FrameNet, corpus: Corpus, indices: Sequence[int], smoothing: int) -> list[Peak]:
    """Return the clips with the highest scores, one for each text, the highest first."""
    best: dict[str, Peak] = {}
    for index in indices:
        samples = np.concatenate([GAP, corpus.audio(index), GAP])
        scores = smoothed_scores(net, features_of(samples, FrontEnd()), smoothing)
        top = int(scores.argmax())
        clip = corpus.clips[index]
        sample = max(0, (top + 1) * OUTPUT_HOP - len(GAP))
        peak = Peak(index, sample, float(scores[top]))
        text = clip.text or clip.name
        if text not in best or best[text].score < peak.score:
            best[text] = peak
    return sorted(best.values(), key=lambda peak: -peak.score)[:PLAYED]


def _around(corpus: Corpus, peak: Peak) -> FloatArray:
    """Return what is heard up to shortly after a peak, at one loudness."""
    start = max(0, peak.sample - LONGEST * 3 // 4)
    samples = corpus.audio(peak.index, start, LONGEST)
    return samples * np.float32(0.1 / speech_level(samples))


def _det(score: Score) -> "Figure":
    from matplotlib.figure import Figure

    ranked = np.sort(score.alarms)[::-1]
    per_hour = np.arange(1, len(ranked) + 1) / score.hours
    hits = np.sort(score.hits)
    missed = 100 * np.searchsorted(hits, ranked) / len(hits)
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.step(per_hour, missed, where="post")
    axes.set(xscale="log", xlabel="false alarms an hour", ylabel="missed, %")
    axes.set_xlim(per_hour[0], max(20, 2 * per_hour[0]))
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    return figure


def _curves(folders: Sequence[Path]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for folder in folders:
        text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()]
        steps = [row["step"] for row in rows]
        left.plot(steps, [row["loss"] for row in rows], marker=".", label=folder.name)
        right.plot(steps, [row["merit"] for row in rows], marker=".", label=folder.name)
    for axes, name in ((left, "loss"), (right, "merit")):
        axes.set(xlabel="step", ylabel=name)
        axes.grid(alpha=0.3)
    left.legend()
    return figure
