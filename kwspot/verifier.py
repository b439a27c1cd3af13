"""Verifiers: a large net hears again what a model takes for its keyword, and has the last word.

```
score >= candidate -> last 2 s -> VerifierNet -> hidden (T, D) -> head -> logit --\
score ------------------------------------------------------------------> logit --+-> new score
```

A model of 130,000 weights that runs all the time is fooled now and then; one fifty times as large
that runs a few times an hour costs nothing and is not. Both their logits count, as weights say that
were fitted to validation streams; a score below `candidate` becomes 0.

A verifier is a file beside the model: of `alexa.onnx`, `alexa-int8.tflite` and so on it is
`alexa.verifier.npy`, one record of numpy, without pickled objects, that begins with its checksum.
"""

import dataclasses
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kwspot.decision import Scores
from kwspot.ear import Ear
from kwspot.errors import ModelError
from kwspot.features import FloatArray
from kwspot.loader import models_folder
from kwspot.model import Model
from kwspot.modelfile import SENSITIVITIES, ModelInfo, OperatingPoint, Provenance
from kwspot.records import read_record

if TYPE_CHECKING:
    from kwspot.verifier_net import VerifierNet

FORMAT = 2
SUFFIX = ".verifier.npy"
TAPS, STRIDE = 5, 2  # of the head's convolutions; the second goes in steps of two
# Scores below 0.05 and above 0.95 count as these: what lies beyond differs from format to format,
# for those in eight bits end at 0.996.
LEAST_SCORE, HIGHEST_SCORE = 0.05, 0.95
WEIGHTS = ("project", "project_bias", "first", "first_bias", "second", "second_bias", "out")


@dataclass(frozen=True)
class VerifierInfo:
    """All that the file of a verifier says of itself.

    Scores of `keyword` from `candidate` on are heard again by the net in the file `net`: with the
    logit of the head, the new score's logit is `score_weight` times the old one's (`own_logit`),
    plus `head_weight` times the head's, plus `offset`. `operating_points` hold for new scores.
    """

    format: int
    keyword: str
    net: str
    samples: int
    candidate: float
    score_weight: float
    head_weight: float
    offset: float
    operating_points: dict[str, OperatingPoint]
    provenance: Provenance


class Verifier:
    """A head for one word, and how it is combined with the model's score.

    `weights`, float32, C channels: project (D, C), first and second (5 C, C) over five outputs of
    the layer before, each with its bias, and out, as many as there are outputs, and one.
    """

    def __init__(self, info: VerifierInfo, weights: dict[str, FloatArray], path: Path) -> None:
        self.info, self.weights, self.path = info, weights, path

    @property
    def net(self) -> "VerifierNet":
        """The net below the head, loaded when first asked for."""
        from kwspot.verifier_net import installed_net  # until a candidate comes, memory is saved

        return installed_net(self.info.net)

    def logit(self, hidden: FloatArray) -> float:
        """Tell how likely the keyword has just ended: hidden states (T, D) -> logit.

        Rounded, for the last bits of matrix products depend on where the numbers lie.
        """
        w = self.weights
        x = np.maximum(hidden @ w["project"] + w["project_bias"], 0)
        x = np.maximum(_taps(x, 1) @ w["first"] + w["first_bias"], 0)
        x = np.maximum(_taps(x, STRIDE) @ w["second"] + w["second_bias"], 0)
        return round(float(x.ravel() @ w["out"][:-1] + w["out"][-1]), 4)

    def score(self, score: float, logit: float) -> float:
        """Combine a score of the model, 0 to 1, with the logit of the head."""
        info, own = self.info, own_logit(score)
        combined = info.score_weight * own + info.head_weight * logit + info.offset
        return 1 / (1 + math.exp(-min(max(combined, -30.0), 30.0)))

    def verified(self, info: ModelInfo) -> ModelInfo:
        """Return what a model says of itself, with the operating points of verified scores."""
        (keyword,) = info.keywords
        points = self.info.operating_points
        return dataclasses.replace(
            info, keywords=(dataclasses.replace(keyword, operating_points=points),)
        )


def own_logit(score: float) -> float:
    """Return the logit of a model's score as it counts in the sum, within bounds."""
    bounded = min(max(score, LEAST_SCORE), HIGHEST_SCORE)
    return math.log(bounded / (1 - bounded))


class Verification:
    """Verifies the scores of a detector's models as they come, in one stream."""

    def __init__(self, verifiers: dict[int, Verifier]) -> None:
        """Take the verifiers by the number of their keyword among all of the detector."""
        self._verifiers = verifiers
        self._ear = Ear(max(verifier.info.samples for verifier in verifiers.values()))

    def clear(self) -> None:
        """Forget what was heard: a new stream begins."""
        self._ear.clear()

    def hear(self, samples: FloatArray) -> None:
        """Take the samples of the next step."""
        self._ear.hear(samples)

    def __call__(self, scores: Scores) -> None:
        """Replace the scores of the latest step by verified ones."""
        for number, verifier in self._verifiers.items():
            candidate, logit = verifier.info.candidate, None
            for row in scores:
                score, row[number] = row[number], 0.0
                if score >= candidate:
                    if logit is None:
                        heard = self._ear.latest(verifier.info.samples)
                        logit = verifier.logit(verifier.net(heard))
                    row[number] = verifier.score(score, logit)


def open_verification(models: Sequence[Model]) -> tuple[list[ModelInfo], Verification | None]:
    """Find the verifiers of a detector's models.

    Returns what the models say of themselves, with the operating points of verified scores, and
    None where no model has a verifier. Raises ModelError for one that cannot be used.
    """
    infos, found, number = [], {}, 0
    for model in models:
        verifier, info = find_verifier(model), model.info
        if verifier is not None:
            found[number] = verifier
            info = verifier.verified(info)
        infos.append(info)
        number += len(info.keywords)
    return infos, Verification(found) if found else None


def verifier_path(model: Path) -> Path:
    """Return where the verifier of a model file is, if it has one; all its formats share it."""
    return model.with_name(model.stem.removesuffix("-int8") + SUFFIX)


def verifier_digest(model: Model) -> str:
    """Return the sha256 of a model's verifier, empty without one."""
    import hashlib  # of OpenSSL, which few detectors need

    path = verifier_path(model.path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def find_verifier(model: Model) -> Verifier | None:
    """Read the verifier of a model, None without one; raise ModelError for one that is not its."""
    path = verifier_path(model.path)
    if not path.is_file():
        return None
    verifier = read_verifier(path)
    labels = [keyword.label for keyword in model.info.keywords]
    if labels != [verifier.info.keyword]:
        raise ModelError(
            f"{path} verifies {verifier.info.keyword!r}, but {model.path} hears "
            f"{', '.join(labels)}: remove the one that does not belong there"
        )
    return verifier


def read_verifier(path: Path) -> Verifier:
    """Read a file; raise ModelError where it is damaged or its net is not installed."""
    try:
        with path.open("rb") as stream:
            record = np.lib.format.read_array(stream, allow_pickle=False)
        if record["crc32"] != _checksum(record):
            raise ValueError("its checksum is another")
        values = json.loads(record["info"].item())
        weights = {name: record[name].astype(np.float32) for name in WEIGHTS}
    except Exception as error:  # numpy parses the header, and raises whatever that does
        reason = str(error).split("\n")[0]
        raise ModelError(f"{path} is no verifier, or a damaged one: {reason}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ModelError(f"{path} is a verifier that this kwspot does not read: train it again")
    info = read_record(VerifierInfo, values, f"{path}, info", ModelError)
    if not (0 < info.candidate < 1 and set(SENSITIVITIES) <= info.operating_points.keys()):
        raise ModelError(f"{path} describes impossible operating points")
    if not (models_folder() / info.net).is_file():
        raise ModelError(
            f"{path} needs {info.net}, which is not installed: install the kwspot that made it, "
            "train the verifier again, or go without (verify=False, --no-verify)"
        )
    return Verifier(info, weights, path)


def write_verifier(info: VerifierInfo, weights: dict[str, FloatArray], path: Path) -> None:
    """Write a verifier's file."""
    text = json.dumps(dataclasses.asdict(info), sort_keys=True).encode()
    fields = [(name, np.float32, weights[name].shape) for name in WEIGHTS]
    values = (0, text, *(weights[name] for name in WEIGHTS))
    record = np.array(values, [("crc32", np.uint32), ("info", f"S{len(text)}"), *fields])
    record["crc32"] = _checksum(record)
    # Not .npz: importing what reads it would cost a program's start 7 ms and 1.3 MB.
    with path.open("wb") as file:
        np.save(file, record, allow_pickle=False)


def _checksum(record: npt.NDArray[np.void]) -> int:
    """Compute the CRC-32 of all that follows it."""
    return zlib.crc32(record.tobytes()[record.dtype["crc32"].itemsize :])


def _taps(x: FloatArray, stride: int) -> FloatArray:
    """Put TAPS neighbours side by side, zeros beyond the ends: (T, C) -> (T / stride, TAPS C)."""
    padded = np.pad(x, ((TAPS // 2, TAPS // 2), (0, 0)))
    return np.concatenate([padded[i : i + len(x) : stride] for i in range(TAPS)], axis=1)
