"""Manifests: CSV lists of recordings with the columns path, seconds, text, speaker, role, source.

A further column, group, may sort speakers, by age or accent for one. Paths are relative to the
folder of the CSV file. Roles are `train`, `validation` and `test`.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from kwspot.errors import ManifestError

COLUMNS = ("path", "seconds", "text", "speaker", "role", "source")
ROLES = ("train", "validation", "test")


_LONG = 5  # letters


@dataclass(frozen=True)
class Clip:
    """One recording. `path` includes the manifest's folder; `name` is as the manifest has it."""

    path: Path
    name: str
    seconds: float
    text: str
    speaker: str
    role: str
    source: str
    group: str = ""

    def says(self, keyword: str) -> bool:
        """Tell whether the whole clip is the keyword, up to case and punctuation."""
        return spoken(self.text) == spoken(keyword)

    def mentions(self, keyword: str) -> bool:
        """Tell whether the keyword is among the words of the clip's text, or ends one of them.

        Whoever says «supercomputer» or writes «heycomputer» says «computer». Short keywords end
        many words that sound unlike them, and must be words of their own.
        """
        word, text = spoken(keyword), f" {spoken(self.text)} "
        return (f"{word} " if len(word) >= _LONG else f" {word} ") in text


def spoken(text: str) -> str:
    """Reduce a text to its words: lower case, punctuation and underscores become spaces."""
    words = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower())
    return " ".join(words.split())


def read_manifest(path: str | Path) -> list[Clip]:
    """Read one manifest.

    Raises ManifestError for a file that is missing or not a CSV file with these columns, and for a
    row with an unknown role or a length that is no number. Whether the recordings exist is found
    out when they are read.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise ManifestError(f"{path} lacks the column {missing[0]!r}: it needs {COLUMNS}")
            return [_clip(row, path, line) for line, row in enumerate(reader, start=2)]
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} is not a CSV file in UTF-8: {error}") from error


def add_clip(path: str | Path, clip: Clip) -> None:
    """Add a clip to a manifest, by its name; begin the manifest where there is none.

    Raises ManifestError where that cannot be written.
    """
    path = Path(path)
    row = {column: getattr(clip, column) for column in COLUMNS} | {"path": clip.name}
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise ManifestError(f"cannot write the manifest {path}: {error.strerror}") from error


def read_manifests(paths: Iterable[str | Path]) -> list[Clip]:
    """Read several manifests into one list, in the order given."""
    return [clip for path in paths for clip in read_manifest(path)]


def read_data(folder: Path, manifests: Iterable[str]) -> list[Clip]:
    """Read manifests of a data folder, also of folders in it; clips are named by their place in it.

    `made/manifest.csv` calls a clip `tts/1.flac`, and its name is `made/tts/1.flac`.
    """
    return [
        replace(clip, name=(Path(manifest).parent / clip.name).as_posix())
        for manifest in manifests
        for clip in read_manifest(folder / manifest)
    ]


def _clip(row: dict[str, str], manifest: Path, line: int) -> Clip:
    values = {column: row[column] for column in COLUMNS}
    if any(value is None for value in values.values()):
        raise ManifestError(f"{manifest}, line {line}: too few columns")
    if values["role"] not in ROLES:
        raise ManifestError(
            f"{manifest}, line {line}: role {values['role']!r} is none of {', '.join(ROLES)}"
        )
    try:
        seconds = float(values["seconds"])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ManifestError(
            f"{manifest}, line {line}: seconds {values['seconds']!r} is no number from 0 up"
        )
    return Clip(
        path=manifest.parent / values["path"],
        name=values["path"],
        seconds=seconds,
        text=values["text"],
        speaker=values["speaker"],
        role=values["role"],
        source=values["source"],
        group=row.get("group") or "",
    )
