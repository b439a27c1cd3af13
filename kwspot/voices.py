"""Enrolled voices: small files without audio, and who of them spoke a detection.

```
detection -> speaker embedding (E,) -> likeness to each profile -> the most above its threshold
```

The embedding is that of the installed voice net (`kwspot.voice_net`), which runs at a detection, or
that of the model itself, if it was trained for it and puts one out beside its posteriors, each
computed from the mean of the last second: at a detection, that of the keyword. Training and
`benchmarks/distillation` read it at one output, too. A mean over all outputs since the keyword
began would hear a second from before it: with a student of that study, two clips of «alexa» then
have an equal error rate of 43 % instead of 36. Telling voices apart is a convenience, no security:
a recording passes, and so does a voice alike.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kwspot.errors import VoiceError
from kwspot.features import FloatArray
from kwspot.likeness import Likeness
from kwspot.model import Model, sha256_of
from kwspot.modelfile import VoicePoint
from kwspot.records import read_record
from kwspot.voice_net import VoiceEar, VoiceNet, installed_voice_net

FORMAT = 1
SUFFIX = ".json"
LONGEST_NAME = 40  # letters, four bytes each at most: file names may have 255 bytes


@dataclass(frozen=True)
class Profile:
    """A voice as one file of a net hears it: the mean direction of its embeddings, of length 1.

    A detection is this voice's where the likeness of its embedding to `direction` (E,)
    (`kwspot.likeness`) is `threshold` or more. `clips` made it, by kwspot `version`.
    """

    format: int
    model: str
    sha256: str
    version: str
    clips: int
    threshold: float
    direction: tuple[float, ...]


class Voices:
    """Tells the voices of profiles apart, by model, each with its likeness, and name."""

    def __init__(
        self, profiles: Sequence[dict[str, Profile]], likenesses: Sequence[Likeness]
    ) -> None:
        self._likenesses = likenesses
        self._names = [list(known) for known in profiles]
        self._thresholds = [[p.threshold for p in known.values()] for known in profiles]
        self._directions = [np.array([p.direction for p in known.values()]) for known in profiles]

    def __call__(self, model: int, embedding: FloatArray) -> tuple[str | None, float | None]:
        """Take the embedding (E,) of a detection by a model, by its number.

        Returns whose voice it is, None for none of them, and the likeness to that voice or to the
        nearest; None where no voice is known to the model.
        """
        names = self._names[model]
        if not names:
            return None, None
        alike = self._likenesses[model](unit(embedding), self._directions[model])
        voices = sorted(zip(alike, names, self._thresholds[model], strict=True), reverse=True)
        for score, name, threshold in voices:
            if score >= threshold:
                return name, score
        return None, voices[0][0]


def voices_folder() -> Path:
    """Return where profiles are kept unless a folder is named: $XDG_DATA_HOME/kwspot/voices."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The specification wants relative paths passed over.
    return (base if base.is_absolute() else Path.home() / ".local/share") / "kwspot" / "voices"


def open_voices(
    folder: str | Path | None, models: Sequence[Model], only: Sequence[str] | None = None
) -> Voices:
    """Read the profiles of a folder, `voices_folder()` for None, for the models of a detector.

    Raises VoiceError for models whose voices nothing tells apart, for a folder without profiles, a
    profile that cannot be read or is of another file, and for names in `only` that are not enrolled
    or that a model does not know.
    """
    folder = voices_folder() if folder is None else Path(folder)
    tellers = [voice_teller(model) for model in models]
    names = profile_names(folder)
    absent = [name for name in only or () if name not in names]
    if absent or not names:
        who = f"{absent[0]!r} is not" if absent else "nobody is"
        there = f" (but {', '.join(names)})" if names else ""
        raise VoiceError(f"{who} enrolled in {folder}{there}: use `kwspot enroll NAME`")
    digests = [sha256_of(teller) for teller in tellers]
    known: list[dict[str, Profile]] = [{} for _ in models]
    for name in names:
        profile = read_profile(name, folder)
        if profile.sha256 not in digests:
            raise VoiceError(
                f"{folder / name}{SUFFIX} is a voice as the file {profile.model} with sha256 "
                f"{profile.sha256[:12]} hears it, not {tellers[0].path} with {digests[0][:12]}: "
                "enroll again, or name another folder"
            )
        for number, teller in enumerate(tellers):
            if digests[number] == profile.sha256:
                if len(profile.direction) != teller.info.embedding:
                    raise VoiceError(f"{folder / name}{SUFFIX} does not fit its net: enroll again")
                known[number][name] = profile
    for model, profiles in zip(models, known, strict=True):
        if only is not None and not profiles.keys() & set(only):
            raise VoiceError(
                f"{model.path} knows no voice of {', '.join(only)}, so that it would never be "
                "heard: enroll one with it, or leave it out"
            )
    return Voices(known, [likeness_of(model) for model in models])


def voice_teller(model: Model) -> Model | VoiceNet:
    """Return what tells voices apart at a model's detections: itself, or the installed voice net.

    Raises VoiceError where it is neither trained for that nor a net installed.
    """
    return model if model.info.voice is not None else installed_voice_net()


def open_ear(spare: int) -> VoiceEar:
    """Open what hears voices for models that tell none apart, `spare` samples back at most."""
    return VoiceEar(installed_voice_net(), spare)


def voice_point(model: Model) -> VoicePoint:
    """Return the operating point for voices at a model's detections; raises as `voice_teller`."""
    point = voice_teller(model).info.voice
    assert point is not None
    return point


def likeness_of(model: Model) -> Likeness:
    """Return how voices at a model's detections are compared."""
    teller = voice_teller(model)
    return teller.likeness if isinstance(teller, VoiceNet) else Likeness()


def make_profile(model: Model, embeddings: Sequence[FloatArray]) -> Profile:
    """Make a profile of a voice from embeddings (E,) at a model's detections of its clips."""
    teller = voice_teller(model)
    return Profile(
        FORMAT,
        teller.path.name,
        sha256_of(teller),
        importlib.metadata.version("kwspot"),
        len(embeddings),
        voice_point(model).threshold,
        tuple(round(value, 7) for value in mean_voice(embeddings).tolist()),
    )


def mean_voice(embeddings: Sequence[FloatArray]) -> FloatArray:
    """Return the mean direction (E,), of length 1, of embeddings (E,) that all count alike."""
    return unit(np.mean([unit(embedding) for embedding in embeddings], axis=0))


def unit(embedding: FloatArray) -> FloatArray:
    """Scale an embedding (E,) to length 1; that of a quantised model only nearly has it."""
    scaled: FloatArray = embedding / max(float(np.linalg.norm(embedding)), 1e-12)
    return scaled


def profile_names(folder: Path) -> list[str]:
    """Return the names of the voices that are enrolled in a folder, none where there is none."""
    return sorted(check_name(path.stem) for path in folder.glob(f"[!.]*{SUFFIX}"))


def read_profile(name: str, folder: Path) -> Profile:
    """Read a profile; raise VoiceError for one that is missing or that cannot be one."""
    path = folder / f"{check_name(name)}{SUFFIX}"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VoiceError(f"{name!r} is not enrolled in {folder}") from error
    except OSError as error:
        raise VoiceError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are such
        raise VoiceError(f"{path} is no profile ({error}): enroll again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise VoiceError(f"{path} is no profile that this kwspot reads: enroll again")
    profile = read_record(Profile, values, str(path), VoiceError)
    length = math.hypot(*profile.direction)
    if not (abs(length - 1) < 1e-3 and -1 < profile.threshold <= 1):  # not where one is no number
        raise VoiceError(f"{path} holds numbers that no voice has: enroll again")
    return profile


def write_profile(profile: Profile, name: str, folder: Path) -> Path:
    """Write a profile, whole or not at all, that its owner alone can read; return its path.

    A folder that is not there is made for its owner alone, too. Raises VoiceError for a name that
    is none, and where the file cannot be written.
    """
    path = folder / f"{check_name(name)}{SUFFIX}"
    text = json.dumps(dataclasses.asdict(profile), indent=1) + "\n"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=folder, prefix=".", suffix=".partial")  # mode 0600
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise VoiceError(f"cannot write {path}: {error.strerror}") from error
    return path


def delete_profile(name: str, folder: Path) -> Path:
    """Delete a profile and return its path; raise VoiceError where that cannot be done."""
    path = folder / f"{check_name(name)}{SUFFIX}"
    try:
        path.unlink()
    except FileNotFoundError as error:
        raise VoiceError(f"{name!r} is not enrolled in {folder}") from error
    except OSError as error:
        raise VoiceError(f"cannot delete {path}: {error.strerror}") from error
    return path


def check_name(name: str) -> str:
    """Return a name that can be a voice's; raise VoiceError for others, such as paths."""
    if len(name) > LONGEST_NAME or not re.fullmatch(r"\w[\w-]*( [\w-]+)*", name):
        raise VoiceError(
            f"{name!r} is no name for a voice: use letters, digits, - and _, with single spaces "
            f"between words, {LONGEST_NAME} in all at most"
        )
    return name
