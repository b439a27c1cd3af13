"""Every file format of a student: which there are, and all that is asked for from one run."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kwspot.errors import KwspotError
from kwspot.modelfile import ModelInfo
from kwspot_export.onnx_export import export_onnx
from kwspot_export.parity import Agreement
from kwspot_export.publish import describe
from kwspot_export.quantise import Calibration, export_onnx_int8
from kwspot_export.student import CausalConvNet
from kwspot_export.tflite_export import export_tflite, export_tflite_int8
from kwspot_export.train import Run

CALIBRATION_WINDOWS = 40  # of 2.4 s, a quarter of them with the keyword

FLOAT: dict[str, Callable[[CausalConvNet, ModelInfo, Path], float]] = {
    "onnx": export_onnx,
    "tflite": export_tflite,
}
INT8: dict[str, Callable[[CausalConvNet, ModelInfo, Path, Calibration], Agreement]] = {
    "onnx-int8": export_onnx_int8,
    "tflite-int8": export_tflite_int8,
}
FORMATS = (*FLOAT, *INT8)


class FormatError(KwspotError, ValueError):
    """A format that cannot be made here."""


@dataclass(frozen=True)
class Made:
    """One file that was made: posteriors differ from torch's by `largest` at most."""

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


def export_formats(run: Run, weights: Path, formats: Sequence[str], folder: Path) -> list[Made]:
    """Calibrate the thresholds of `weights` and write NAME.onnx, NAME-int8.tflite and so on.

    Raises FormatError before all work, and ParityError for the first file that is not as it should
    be; those before it stay.
    """
    check_formats(formats)
    net = run.load_net(weights)
    info = describe(run, net, run.score(net))
    calibration = draw_calibration(run)
    made = []
    for name in formats:
        kind, _, int8 = name.partition("-")
        stem = f"{info.name}-{int8}" if int8 else info.name
        path, named = folder / f"{stem}.{kind}", replace(info, name=stem)
        if int8:
            largest = INT8[name](net, named, path, calibration).largest
        else:
            largest = FLOAT[name](net, named, path)
        made.append(Made(path, largest))
    return made


def draw_calibration(run: Run) -> Calibration:
    """Compose windows as for training and string their features together."""
    rng = np.random.default_rng([run.recipe.seed, 4 << 40])
    batch = run.composer.batch(CALIBRATION_WINDOWS, rng)
    order = rng.permutation(CALIBRATION_WINDOWS)  # in a batch those with the keyword come first
    with torch.no_grad():
        features = run.log_mel(
            torch.as_tensor(batch.audio[order]).to(run.device),
            torch.as_tensor(batch.warp[order]).to(run.device),
        )
    return Calibration(features.cpu().flatten(0, 1))
