"""A verifier for a trained word, from its recipe's sound and its model to one file.

```
windows (`verifier_windows`) -> VerifierNet -> hidden -> head (`verifier_head`)
validation streams -> model -> candidates -> VerifierNet, head -> logits of both
                                          -> weights of their sum -> thresholds -> file, card
```

Nothing of the validation streams is trained on, and no clip of role test is heard.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from kwspot.calibration import BLOCK, HIGHEST_PEAKS
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.model import Model
from kwspot.modelfile import SENSITIVITIES, OperatingPoint, Provenance
from kwspot.verifier import (
    FORMAT,
    Verifier,
    VerifierInfo,
    find_verifier,
    own_logit,
    verifier_path,
    write_verifier,
)
from kwspot.verifier_net import VerifierNet
from kwspot_export.calibration import LEAST_SLOPE, fit_logistic
from kwspot_export.card_tables import in_markdown, point_rows, source_rows
from kwspot_export.effort import Verifying
from kwspot_export.loop import TrainingError
from kwspot_export.parity import ParityError, draft
from kwspot_export.publish import operating_points
from kwspot_export.sharing import share_out
from kwspot_export.student import OUTPUT_HOP
from kwspot_export.train import Run
from kwspot_export.validation import Score, ValidationSound, block_peaks
from kwspot_export.verifier_head import VerifierHead, fit_head
from kwspot_export.verifier_windows import (
    Listener,
    Windows,
    draw_windows,
    ending_at,
    scores_of,
)

log = logging.getLogger(__name__)

CANDIDATES_PER_HOUR = 30  # of speech: each is 2 to 4 runs of the net
CANDIDATE = 0.02, 0.5  # the lowest and the highest score from which on one is a candidate
RATES = (0.3, 0.5, 1.0, 2.0)  # false alarms an hour at which recall is told
ROUNDS = 2  # the first fit finds the peaks of the sum, the second fits to them
BLOCK_OUTPUTS = int(BLOCK * SAMPLE_RATE / OUTPUT_HOP)
TOLERANCE = 1e-3  # between the logits of torch and numpy

T = TypeVar("T")
Report = Callable[[str, int, int], None]  # what is done, how much, of how much


@dataclass(frozen=True)
class Candidate:
    """A step at which the model may have heard its keyword: when, and what both say, logits."""

    output: int
    own: float
    head: float


@dataclass(frozen=True)
class Verified:
    """What came out, and how it does on validation streams: the model alone, and verified."""

    info: VerifierInfo
    alone: Score
    verified: Score


def train_verifier(
    run: Run,
    model: Model,
    net: VerifierNet,
    effort: Verifying,
    provenance: Provenance,
    licences: Mapping[str, str],
    report: Report,
) -> Verified:
    """Train a verifier for the model of a run and write it beside the model, with its card (.md).

    `licences` are those of the run's sources. Raises TrainingError for a model that hears several
    words or another than the recipe's, and where validation streams tell nothing.
    """
    _check_word(run, model)
    windows = draw_windows(
        run,
        model,
        net.info.samples,
        effort.composed,
        effort.mined,
        effort.passes,
        partial(report, "mine"),
    )
    hidden = _hear(net, windows, max(1, run.workers), report)
    head = fit_head(hidden, windows.labels, effort.steps, run.recipe.seed, str(run.device)).cpu()
    del hidden
    info = VerifierInfo(
        format=FORMAT,
        keyword=run.recipe.keyword,
        net=net.path.name,
        samples=net.info.samples,
        candidate=CANDIDATE[0],
        score_weight=0.5,  # until there are streams to fit them to
        head_weight=1.0,
        offset=0.0,
        operating_points={name: OperatingPoint(1.0, 0.0) for name in SENSITIVITIES},
        provenance=provenance,
    )
    verifier = Verifier(info, head.arrays(), verifier_path(model.path))
    _prove(head, verifier, net)
    trained = _calibrate(run, model, verifier, net, report)
    card = _origin(run, model, info, len(windows.labels), effort, licences)
    _publish(verifier, trained, card)
    return trained


def calibrate_verifier(run: Run, model: Model, report: Report) -> Verified:
    """Fit the sum and the thresholds of the verifier beside a model again; its head stays.

    The card is written anew from its score on. Raises TrainingError as `train_verifier` does, and
    for a model without a verifier, ModelError for a verifier that cannot be used.
    """
    _check_word(run, model)
    verifier = find_verifier(model)
    if verifier is None:
        raise TrainingError(f"{model.path} has no verifier: leave --calibrate out to train one")
    trained = _calibrate(run, model, verifier, verifier.net, report)
    card = verifier.path.with_suffix(".md")
    before = card.read_text(encoding="utf-8") if card.is_file() else f"# {verifier.path.name}\n\n"
    _publish(verifier, trained, before.partition("## Score")[0])
    return trained


def _check_word(run: Run, model: Model) -> None:
    labels = [keyword.label for keyword in model.info.keywords]
    if labels != [run.recipe.keyword]:
        raise TrainingError(
            f"{model.path} hears {', '.join(labels)}, the recipe is for {run.recipe.keyword!r}"
        )


def _publish(verifier: Verifier, trained: Verified, card: str) -> None:
    """Write the file, and beside it its card, of which `card` is all up to the score."""
    with draft(verifier.path) as file:
        write_verifier(trained.info, verifier.weights, file)
    verifier.path.with_suffix(".md").write_text(card + _fitted(trained), encoding="utf-8")


def _hear(net: VerifierNet, windows: Windows, threads: int, report: Report) -> npt.NDArray:
    """Run the net over all windows: float16 (W, T, D)."""
    count = len(windows.labels)
    hidden = np.zeros((count, net.info.outputs, net.info.width), np.float16)

    def fill(number: int) -> None:
        hidden[number] = net(windows.samples[number].astype(np.float32) / 32768)

    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(fill, range(count)), 1):
            report("hear", done, count)
    return hidden


def _prove(head: VerifierHead, verifier: Verifier, net: VerifierNet) -> None:
    rng = np.random.default_rng(0)
    for level in (1.0, 0.1, 0.01):
        hidden = net(rng.standard_normal(net.info.samples, np.float32) * np.float32(level))
        with torch.no_grad():
            wanted = float(head(torch.from_numpy(hidden)[None]))
        found = verifier.logit(hidden)
        if not abs(found - wanted) <= TOLERANCE * max(1, abs(wanted)):
            raise ParityError(f"the head's logit is {found} in numpy, {wanted} in torch")


@dataclass
class _Judge(Listener):
    """Hears validation sound with a model and, from `candidate` on, with its verifier.

    `recorded` are the scores of the first stretches, those as recorded, once they are known.
    """

    net_path: Path
    verifier: Verifier
    sound: ValidationSound
    candidate: float = 1.0
    recorded: tuple[npt.NDArray[np.float64], ...] = ()

    @cached_property
    def net(self) -> VerifierNet:
        """The net below the verifier's head."""
        return VerifierNet(self.net_path)

    def scores(self, number: int) -> npt.NDArray[np.float64]:
        """Score a stretch of the negatives: (U,)."""
        return scores_of(self.model, self.sound.stretch(number))

    def alarms(self, number: int) -> tuple[npt.NDArray, dict[int, list[Candidate]]]:
        """Return the peaks of a stretch, of each BLOCK, and its candidates by their BLOCK."""
        samples = self.sound.stretch(number)
        known = number < len(self.recorded)
        scores = self.recorded[number] if known else scores_of(self.model, samples)
        found: dict[int, list[Candidate]] = {}
        for one in self._verify(samples, scores):
            found.setdefault(one.output // BLOCK_OUTPUTS, []).append(one)
        return block_peaks(scores), found

    def hits(self, number: int) -> list[tuple[float, list[Candidate]]]:
        """Return the highest score, and the candidates, at the end of each trial of a positive."""
        hits = []
        for samples, end in self.sound.trials(number):
            scores = scores_of(self.model, samples)
            first, last = (round((end + s) * SAMPLE_RATE / OUTPUT_HOP) for s in (-1.0, 1.0))
            trial = [one for one in self._verify(samples, scores) if first <= one.output < last]
            hits.append((float(scores[max(0, first) : last].max()), trial))
        return hits

    def _verify(self, samples: FloatArray, scores: npt.NDArray[np.float64]) -> Iterator[Candidate]:
        return candidates(self.model, self.verifier, self.net, samples, scores, self.candidate)


def _calibrate(
    run: Run, model: Model, verifier: Verifier, net: VerifierNet, report: Report
) -> Verified:
    """Fit the sum and the thresholds to validation streams, and tell how both ways do there."""
    sound = run.validation_sound
    recorded = sum(copy == 0 for copy, _ in sound.stretches)
    parts = count(1), recorded + len(sound.stretches) + len(sound.positives)

    def shared(work: Callable[[int], T], number: int) -> Iterator[T]:
        for part in share_out(work, number, run.workers):
            report("calibrate", next(parts[0]), parts[1])
            yield part

    judge = _Judge(model.path, net.path, verifier, sound)
    known = tuple(shared(judge.scores, recorded))
    # Thresholds are fitted to the highest peaks as recorded, so these at least are verified.
    ranked = np.sort(np.concatenate([block_peaks(scores) for scores in known]))[::-1]
    most = max(HIGHEST_PEAKS, int(CANDIDATES_PER_HOUR * len(ranked) * BLOCK / 3600))
    lowest = math.floor(float(np.clip(ranked[:most][-1], *CANDIDATE)) * 1e4) / 1e4
    judge = replace(judge, candidate=lowest, recorded=known)
    alone, alarms = zip(*shared(judge.alarms, len(sound.stretches)), strict=True)
    trials = [trial for some in shared(judge.hits, len(sound.positives)) for trial in some]
    heard, hits = zip(*trials, strict=True)
    blocks, hours = sum(map(len, alone)), sum(map(len, alone)) * BLOCK / 3600
    every = [block for stretch in alarms for block in stretch.values()]
    info = _fit(replace(verifier.info, candidate=lowest), hits, every, blocks)
    fitted = Verifier(info, verifier.weights, verifier.path)
    best = [np.zeros(len(peaks), np.float32) for peaks in alone]
    for stretch, found in zip(best, alarms, strict=True):
        for block, inside in found.items():
            stretch[block] = _best(fitted, inside)
    last = np.array([_best(fitted, trial) for trial in hits], np.float32)
    verified = Score({}, last, np.concatenate(best), hours, len(ranked))
    before = Score({}, np.array(heard, np.float32), np.concatenate(alone), hours, len(ranked))
    for score in (before, verified):
        for rate in RATES:
            score.recall[rate] = float(np.mean(score.hits >= score.threshold(rate)))
    points = operating_points(verified, run.recipe.false_alarms_per_hour)
    log.info("verified: merit %.3f, the model alone %.3f", verified.merit, before.merit)
    return Verified(replace(info, operating_points=points), before, verified)


def candidates(
    model: Model,
    verifier: Verifier,
    net: VerifierNet,
    samples: FloatArray,
    scores: npt.NDArray[np.float64],
    candidate: float,
) -> Iterator[Candidate]:
    """Verify a stream (N,) with the model's scores (U,) as a detector does, a step at a time."""
    each = model.info.outputs_per_step
    for step in np.flatnonzero(scores.reshape(-1, each).max(axis=1) >= candidate).tolist():
        heard = ending_at(samples, (step + 1) * each * OUTPUT_HOP, verifier.info.samples)
        logit = verifier.logit(net(heard))
        own = own_logit(float(scores[step * each : (step + 1) * each].max()))
        yield Candidate((step + 1) * each - 1, own, logit)


def _fit(
    info: VerifierInfo,
    hits: Sequence[list[Candidate]],
    alarms: Sequence[list[Candidate]],
    blocks: int,
) -> VerifierInfo:
    """Fit the weights of the sum to its peaks in trials, and in 2 s of other sound."""
    hits = [trial for trial in hits if trial]
    if not hits or not alarms:
        raise TrainingError("the validation streams hold no candidates: nothing can be verified")
    for _ in range(ROUNDS):
        yes, no = (
            np.array([(one.own, one.head) for one in (_peak(info, some) for some in kind)])
            for kind in (hits, alarms)
        )
        (own, head), offset = fit_logistic(yes, no, blocks)
        if own < 0:  # the model's score tells nothing beside the head's
            own, ((head,), offset) = 0.0, fit_logistic(yes[:, 1:], no[:, 1:], blocks)
        if head < LEAST_SLOPE:
            raise TrainingError("the verifier tells the keyword from nothing: give it more clips")
        info = replace(info, score_weight=own, head_weight=head, offset=offset)
    return info


def _peak(info: VerifierInfo, found: list[Candidate]) -> Candidate:
    return max(found, key=lambda one: info.score_weight * one.own + info.head_weight * one.head)


def _best(verifier: Verifier, found: list[Candidate]) -> float:
    return max((verifier.score(1 / (1 + np.exp(-one.own)), one.head) for one in found), default=0.0)


def _origin(
    run: Run,
    model: Model,
    info: VerifierInfo,
    windows: int,
    effort: Verifying,
    licences: Mapping[str, str],
) -> str:
    data = source_rows(run.trained_sources(), licences)
    return f"""# {verifier_path(model.path).name}

Hears again what {model.path.name}, or another format of it, takes for «{info.keyword}», with \
`{info.net}`.
Licence of the weights: {info.provenance.licence}.

Trained on {windows:,} windows of {info.samples / SAMPLE_RATE:.2f} s, \
{effort.steps} steps of 64: {info.provenance.recipe}.

## Trained on

| source | licence | clips | hours |
|---|---|---|---|
{in_markdown(data)}

No clip of role `test` was trained on, or used to choose a threshold.

"""


def _fitted(trained: Verified) -> str:
    info, alone, verified = trained.info, trained.alone, trained.verified
    points = point_rows(info.operating_points, verified)
    recalls = [
        [f"{rate:g}", f"{100 * alone.recall[rate]:.1f}", f"{100 * verified.recall[rate]:.1f}"]
        for rate in RATES
    ]
    return f"""## Score

Heard again is what scores {info.candidate:g} or more. The logit of the new score is \
{info.score_weight:.3f} times that
of the model's, plus {info.head_weight:.3f} times the verifier's, plus {info.offset:.3f},
fitted to {len(verified.hits)} validation trials and {verified.hours:.1f} h of other sound.
On these, recall at the same number of false alarms, chosen there:

| false alarms an hour | the model alone, % | verified, % |
|---|---|---|
{in_markdown(recalls)}

## Thresholds

Of {verified.recorded * BLOCK / 3600:.1f} h of validation clips as they were recorded; beyond \
their {HIGHEST_PEAKS} highest peaks by those of all {verified.hours:.1f} h.
Recall is that of the trials, mostly in babble.

| sensitivity | threshold | false alarms an hour | recall there, % |
|---|---|---|---|
{in_markdown(points)}
"""
