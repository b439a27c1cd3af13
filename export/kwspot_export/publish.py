"""From a finished run to a model file and its card: thresholds, metadata, export.

Thresholds come from the run's validation streams, which hold nothing that the student learned from
and no clip of role test.
"""

import math
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from kwspot.calibration import BLOCK, HIGHEST_PEAKS
from kwspot.features import SAMPLE_RATE
from kwspot.modelfile import FORMAT, Keyword, ModelInfo, OperatingPoint, Provenance
from kwspot_export.calibration import PRIOR, Calibrated, calibrated
from kwspot_export.card_tables import in_markdown, point_rows, source_rows
from kwspot_export.onnx_export import export_onnx
from kwspot_export.parity import state_specs
from kwspot_export.recipe import Recipe, Transformer
from kwspot_export.student import FRAMES_PER_STEP, OUTPUTS_PER_STEP, FrameNet
from kwspot_export.train import Run
from kwspot_export.validation import Score

NEAREST = 50  # peaks around a threshold that tell how far eight bits move it


def publish(run: Run, path: Path) -> ModelInfo:
    """Calibrate and export the best student of a run to `path`, and its card beside it (.md)."""
    found = calibrated(run.best_net(), run.score)
    net, score = found.net, found.score
    info = describe(run, net, score)
    difference = export_onnx(net, info, path)
    path.with_suffix(".md").write_text(_card(run, info, found, difference), encoding="utf-8")
    return info


def describe(run: Run, net: FrameNet, score: Score) -> ModelInfo:
    """Put together what the model file will say of itself."""
    recipe = run.recipe
    lengths = [s.end - s.start for s in run.composer.pools.positives if s.alone]
    points = operating_points(score, recipe.false_alarms_per_hour)
    keyword = Keyword(recipe.keyword, points, round(float(np.median(lengths)) / SAMPLE_RATE, 2))
    return ModelInfo(
        format=FORMAT,
        name=recipe.name,
        keywords=(keyword,),
        frames_per_step=FRAMES_PER_STEP,
        outputs_per_step=OUTPUTS_PER_STEP,
        receptive_field=net.receptive_field,
        states=state_specs(net.streaming()),
        provenance=Provenance(
            licence=recipe.licence,
            data=", ".join(sorted(run.trained_sources())),
            recipe=f"{recipe.name}.toml, seed {recipe.seed}, encoder: {run.origin}",
            versions=versions(),
        ),
        decision=recipe.decision,
        front_end=recipe.front_end,
    )


def operating_points(score: Score, rates: dict[str, float]) -> dict[str, OperatingPoint]:
    """Calibrate a threshold for each rate, in false alarms an hour, by sensitivity."""
    # Rounded up: a hair lower and there would be more false alarms than promised.
    return {
        name: OperatingPoint(math.ceil(score.calibrated(rate) * 1e4) / 1e4, rate)
        for name, rate in rates.items()
    }


def moved_thresholds(
    info: ModelInfo, exact: Sequence[Score], quantised: Sequence[Score]
) -> ModelInfo:
    """Move each threshold by as much as eight bits move the scores around it.

    `exact` and `quantised` are a score of each keyword on the same streams. The median move of
    the NEAREST peaks, as logits, hangs on no single one. No threshold is above the highest peak:
    eight bits end a little below 1, where a float threshold may be. A lower rate never has a lower
    threshold.
    """
    keywords = []
    for keyword, before, after in zip(info.keywords, exact, quantised, strict=True):
        # A file streams whole steps and may hear a moment less at the end.
        blocks = min(before.recorded, after.recorded)
        logits = _logits(before, blocks)
        found = _logits(after, blocks)
        moves = found - logits
        points, least = {}, 0.0
        rising = sorted(keyword.operating_points.items(), key=lambda item: item[1].threshold)
        for name, point in rising:
            place = torch.logit(torch.tensor(point.threshold, dtype=torch.float64), eps=1e-6)
            near = (logits - place).abs().argsort()[:NEAREST]
            moved = torch.minimum(place + moves[near].median(), found.max()).sigmoid()
            # Rounded down: rounded up, it could lie above all that the file puts out.
            least = max(least, math.floor(float(moved) * 1e4) / 1e4)
            points[name] = replace(point, threshold=least)
        keywords.append(replace(keyword, operating_points=points))
    return replace(info, keywords=tuple(keywords))


def _logits(score: Score, blocks: int) -> torch.Tensor:
    """Return the logits of all peaks: of keywords, and of the first blocks of other sound."""
    peaks = np.concatenate([score.hits, score.alarms[:blocks]]).astype(np.float64)
    return torch.logit(torch.from_numpy(peaks), eps=1e-6)


def versions() -> dict[str, str]:
    """Name the versions that make a model."""
    packages = ("kwspot", "kwspot-export", "torch", "onnx")
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def _card(run: Run, info: ModelInfo, found: Calibrated, difference: float) -> str:
    recipe: Recipe = run.recipe
    net, platt, score = found.net, found.platt, found.score
    parameters = sum(p.numel() for p in net.parameters())
    kind = "transformer" if isinstance(recipe.student, Transformer) else "convolutional net"
    data = source_rows(run.trained_sources(), recipe.data.licences)
    points = point_rows(info.keywords[0].operating_points, score)
    return f"""# {info.name}

Hears «{recipe.keyword}». Licence of the weights: {info.provenance.licence}.

A causal {kind} of {parameters:,} parameters over {info.front_end.mels} log-mel bands;
one output each {1000 * info.output_samples // SAMPLE_RATE} ms, which depends on the \
{info.receptive_field * 10} ms before it. float32 ONNX; streamed \
outputs of torch and ONNX Runtime differ by at most {difference:.1g}.

Made by `kwspot train --recipe export/recipes/{recipe.name}.toml --data DIR`, seed {recipe.seed},
{recipe.schedule.steps} steps of {recipe.schedule.batch} windows; encoder: {run.origin}; \
torch {torch.__version__}.

## Trained on

| source | licence | clips | hours |
|---|---|---|---|
{in_markdown(data)}

No clip of role `test` was trained on, or used to choose a checkpoint or a threshold.

## Score

The probability of the keyword, if it were in one of {1 / PRIOR:g} stretches of {BLOCK:g} s:
Platt scaling on {len(score.hits)} validation trials and {len(score.alarms)} of other sound,
folded into the last layer (logit times {platt.slope:.3f} plus {platt.offset:.3f}).

## Thresholds

Chosen on {score.recorded * BLOCK / 3600:.1f} h of validation clips as they were recorded, by their
{HIGHEST_PEAKS} highest peaks, and beyond these by how fast the peaks of {score.hours:.1f} h fall,
worsened copies among them. Recall is that of {len(score.hits)} validation trials of few voices,
mostly in babble at 10 and 5 dB, and no promise for other voices.

| sensitivity | threshold | false alarms an hour | recall there, % |
|---|---|---|---|
{in_markdown(points)}

What it does on recordings of people it never heard: `benchmarks/results/{recipe.name}.md`.
"""
