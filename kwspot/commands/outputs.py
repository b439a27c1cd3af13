"""Files that a command will write: looked at before the work, which may take hours."""

import os
from pathlib import Path

from kwspot.errors import KwspotError


def check_outputs(*paths: Path | None) -> None:
    """Raise KwspotError for the first of the files that could not be written; None is none."""
    for path in paths:
        if path is None:
            continue
        if not path.parent.is_dir():
            raise KwspotError(f"cannot write {path}: there is no folder {path.parent}")
        if path.is_dir():
            raise KwspotError(f"cannot write {path}: it is a folder")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise KwspotError(f"cannot write {path}: permission denied")
