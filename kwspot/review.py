"""From kept clips to labelled ones: what was the keyword, and what was not.

```
DIR/kept.csv, DIR/*.flac -> label -> DIR/manifest.csv, DIR/reviewed/*.flac
```
"""

from pathlib import Path

import numpy as np

from kwspot.clip_file import write_clip
from kwspot.errors import AudioError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.keeper import Kept
from kwspot.manifest import Clip, add_clip
from kwspot.sources import AudioFile

MANIFEST, FOLDER, SOURCE = "manifest.csv", "reviewed", "reviewed"
AROUND_SECONDS = 0.5  # left around the keyword; where it is in the clip is an estimate


def clip_samples(folder: Path, kept: Kept) -> FloatArray:
    """Read a kept clip: (N,). Raises AudioError where that cannot be done."""
    return np.concatenate(list(AudioFile(folder / kept.path)))


def label(folder: Path, kept: Kept, says_keyword: bool, speaker: str = "") -> None:
    """Move a kept clip to the reviewed ones, and add it to the manifest of the folder.

    Its text is the keyword, and then only the keyword's part of the clip is taken; or nothing,
    which is how manifests write other sound. Raises AudioError and ManifestError where a file
    cannot be read or written; the clip then still waits.
    """
    samples = clip_samples(folder, kept)
    if says_keyword:
        begin = max(0.0, kept.start - AROUND_SECONDS)
        end = kept.end + AROUND_SECONDS
        samples = samples[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    path = folder / FOLDER / kept.path
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise AudioError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    write_clip(path, samples)
    add_clip(
        folder / MANIFEST,
        Clip(
            path=path,
            name=f"{FOLDER}/{kept.path}",
            seconds=round(len(samples) / SAMPLE_RATE, 2),
            text=kept.keyword if says_keyword else "",
            speaker=speaker,
            role="train",
            source=SOURCE,
        ),
    )
    (folder / kept.path).unlink(missing_ok=True)
