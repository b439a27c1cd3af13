"""The thresholds of a place, in a small file that is bound to one model file.

`place_fit.py` makes them, the detector reads them.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from kwspot.errors import CalibrationError
from kwspot.model import Model, sha256_of
from kwspot.modelfile import SENSITIVITIES
from kwspot.records import read_record
from kwspot.verifier import verifier_digest

FORMAT = 1


@dataclass(frozen=True)
class Place:
    """Thresholds by keyword and sensitivity, and the model file that they hold for.

    `hours` of background decided them, heard by kwspot `version`. `verifier` is the sha256 of what
    verified the scores, empty for scores of the model alone.
    """

    format: int
    model: str
    sha256: str
    hours: float
    version: str
    thresholds: dict[str, dict[str, float]]
    verifier: str = ""


def write_place(place: Place, path: str | Path) -> None:
    """Write the file of a place; raises CalibrationError where that cannot be done."""
    text = json.dumps(dataclasses.asdict(place), indent=1) + "\n"
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}") from error


def read_place(path: str | Path, model: Model, verify: bool = True) -> Place:
    """Read the file of a place for a model whose scores are verified, or not.

    Raises CalibrationError for a file that is missing or no such file, and for one of another
    model file or verifier.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are such
        raise CalibrationError(
            f"{path} is no file of thresholds ({error}): make one with `kwspot calibrate`"
        ) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CalibrationError(
            f"{path} is no file of thresholds that this kwspot reads: make one with "
            "`kwspot calibrate`"
        )
    place = read_record(Place, values, str(path), CalibrationError)
    found = sha256_of(model)
    if place.sha256 != found:
        raise CalibrationError(
            f"{path} holds thresholds of the model file {place.model} with sha256 "
            f"{place.sha256[:12]}, not of {model.path} with {found[:12]}: calibrate this one"
        )
    if place.verifier != (verifier_digest(model) if verify else ""):
        raise CalibrationError(
            f"{path} holds thresholds of scores that were "
            f"{'verified otherwise' if place.verifier else 'not verified'}: calibrate again, "
            "with or without --no-verify as you listen"
        )
    _check(place, model, path)
    return place


def _check(place: Place, model: Model, path: str | Path) -> None:
    for keyword in model.info.keywords:
        for sensitivity in SENSITIVITIES:
            threshold = place.thresholds.get(keyword.label, {}).get(sensitivity)
            if threshold is None or not 0 < threshold <= 1:
                raise CalibrationError(
                    f"{path}: the threshold of {keyword.label!r} at {sensitivity!r} is "
                    f"{threshold}, not above 0 to 1: calibrate again"
                )
