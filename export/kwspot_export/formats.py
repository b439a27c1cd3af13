"""Every file format of a finished net: which there are, and all that is asked for at once."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kwspot.errors import KwspotError
from kwspot.modelfile import ModelInfo
from kwspot_export.calibration import calibrated
from kwspot_export.distill import open_bank
from kwspot_export.finetune import Finetuning
from kwspot_export.loop import load_weights
from kwspot_export.onnx_export import export_onnx
from kwspot_export.parity import Agreement, Exportable
from kwspot_export.publish import describe, moved_thresholds
from kwspot_export.publish_joint import calibrate, describe_joint
from kwspot_export.quantise import Calibration, Posteriors, export_onnx_int8
from kwspot_export.samples_export import export_from_samples
from kwspot_export.tflite_export import export_tflite, export_tflite_int8
from kwspot_export.train import Run
from kwspot_export.validation import score_trials, smoothed

# Windows of about 2 s that eight bits are calibrated on, a quarter of them with the keyword. Of
# fewer, ranges are too small for some clean words; more change nothing.
CALIBRATION_WINDOWS = 160

FLOAT: dict[str, Callable[[Exportable, ModelInfo, Path], float]] = {
    "onnx": export_onnx,
    "tflite": export_tflite,
}
INT8: dict[str, Callable[[Exportable, ModelInfo, Path, Calibration], Agreement]] = {
    "onnx-int8": export_onnx_int8,
    "tflite-int8": export_tflite_int8,
}
FORMATS = (*FLOAT, *INT8)


class FormatError(KwspotError, ValueError):
    """A format that cannot be made here."""


@dataclass(frozen=True)
class Finished:
    """A net at the end of its training, what its file says, and sound to calibrate on."""

    net: Exportable
    info: ModelInfo
    calibration: Calibration


@dataclass(frozen=True)
class Made:
    """One file that was made; its outputs differ from torch's by `largest` at most."""

    path: Path
    largest: float


def check_formats(formats: Sequence[str]) -> None:
    """Raise FormatError for formats that need what is not installed."""
    for name in formats:
        if name.startswith("tflite") and importlib.util.find_spec("litert_torch") is None:
            raise FormatError(
                f"{name} needs litert-torch, which is not installed: "
                "pip install 'kwspot-export[tflite]'"
            )


def export_formats(
    finished: Finished, formats: Sequence[str], folder: Path, with_frontend: bool = False
) -> list[Made]:
    """Write NAME.onnx, NAME-int8.tflite and so on; with the front end also NAME-samples.onnx.

    Raises FormatError before all work, and ParityError for the first file that is not as it should
    be; those before it stay.
    """
    check_formats(formats)
    net, info = finished.net, finished.info
    made = []
    for name in formats:
        kind, _, int8 = name.partition("-")
        stem = f"{info.name}-{int8}" if int8 else info.name
        path, named = folder / f"{stem}.{kind}", replace(info, name=stem)
        if int8:
            largest = INT8[name](net, named, path, finished.calibration).largest
        else:
            largest = FLOAT[name](net, named, path)
        made.append(Made(path, largest))
    if with_frontend:
        path = folder / f"{info.name}-samples.onnx"
        made.append(Made(path, export_from_samples(net, info, path)))
    return made


def finished_run(run: Run, weights: Path) -> Finished:
    """Load the weights of a run of `kwspot train` and calibrate scores and thresholds."""
    found = calibrated(run.load_net(weights), run.score)
    rng = np.random.default_rng([run.recipe.seed, 4 << 40])
    batch = run.composer.batch(CALIBRATION_WINDOWS, rng)
    with torch.no_grad():
        features = run.log_mel(
            torch.as_tensor(batch.audio).to(run.device), torch.as_tensor(batch.warp).to(run.device)
        )
    info = describe(run, found.net, found.score)
    recorded, decision = run.trials.recorded, run.recipe.decision

    def rethreshold(info: ModelInfo, posteriors: Posteriors) -> ModelInfo:
        score = score_trials(
            lambda features: smoothed(posteriors(features)[:, 0], decision.smoothing), recorded
        )
        return moved_thresholds(info, [found.score], [score])

    return Finished(
        found.net, info, Calibration(_strung(features, dealt(len(features), rng)), rethreshold)
    )


def finished_finetuning(job: Finetuning, name: str, weights: Path) -> Finished:
    """Load the weights of a run of `kwspot finetune` and calibrate their thresholds."""
    load_weights(job.net, weights)
    recipe = job.recipe
    rng = np.random.default_rng([recipe.seed, 4 << 40])
    bank = open_bank(job.examples.segments, recipe, job.cache, job.workers, job.report)
    shares = recipe.keywords.unknown_share, recipe.keywords.silence_share
    rows = job.examples.draw_words(CALIBRATION_WINDOWS, *shares, rng)
    features = bank.features(rows, rng.integers(recipe.sound.variants, size=len(rows)))
    scores = calibrate(job)
    info = describe_joint(job, name, scores)

    def rethreshold(info: ModelInfo, posteriors: Posteriors) -> ModelInfo:
        return moved_thresholds(info, [*scores.values()], [*calibrate(job, posteriors).values()])

    order = rng.permutation(len(features))
    return Finished(job.net, info, Calibration(_strung(features, order), rethreshold))


def dealt(windows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return an order of a batch, whose first quarter holds the keyword: every fourth does then.

    In a random one, what is kept for the proof might hold nothing that the net should hear.
    """
    words = windows // 4
    rest = words + rng.permutation(3 * words)
    return np.column_stack([rest.reshape(words, 3), np.arange(words)]).ravel()


def _strung(features: Tensor, order: npt.NDArray[np.int64]) -> Tensor:
    """Join windows (N, T, F) in an order."""
    return features[order].cpu().float().flatten(0, 1)
