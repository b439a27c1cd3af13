"""Which clips of one role of the manifests a detector is judged on, and what each is used for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kwspot.errors import ManifestError
from kwspot.features import FloatArray
from kwspot.manifest import Clip
from kwspot.sources import AudioFile

_ROOMS = "room_responses"
_UNSPOKEN = ("noise", "music", "_silence_")  # folders of clips without speech


@dataclass(frozen=True)
class Material:
    """The clips of one role by their use; talkers, noises and music are among the negatives.

    Room responses are those of every role but "train": a handful serves all the others.
    """

    positives: tuple[Clip, ...]
    negatives: tuple[Clip, ...]
    talkers: tuple[Clip, ...]
    noises: tuple[Clip, ...]
    music: tuple[Clip, ...] = ()
    rooms: tuple[Clip, ...] = ()


def choose_material(clips: Sequence[Clip], keyword: str, role: str) -> Material:
    """Sort the clips of one role: whole clips that are the keyword, and those without it.

    Clips in which the keyword is one word of several are neither, and room responses neither.
    Raises ManifestError where there are no positives or no negatives, and for a missing file.
    """
    rooms = tuple(clip for clip in clips if _within(clip, _ROOMS) and clip.role != "train")
    clips = [clip for clip in clips if clip.role == role and not _within(clip, _ROOMS)]
    positives = tuple(clip for clip in clips if clip.says(keyword))
    negatives = tuple(clip for clip in clips if not clip.mentions(keyword))
    for found, what in ((positives, f"clip that says {keyword!r}"), (negatives, "other clip")):
        if not found:
            raise ManifestError(
                f"the manifests have no {what} in the role {role!r}: choose another --role or "
                "add a manifest"
            )
    for clip in (*positives, *negatives):
        if not clip.path.is_file():
            raise ManifestError(f"{clip.path} is in the manifest, but there is no such file")
    return Material(
        positives,
        negatives,
        talkers=tuple(clip for clip in negatives if not _within(clip, *_UNSPOKEN)),
        noises=tuple(clip for clip in negatives if _within(clip, "noise")),
        music=tuple(clip for clip in negatives if _within(clip, "music")),
        rooms=rooms,
    )


def read_clip(clip: Clip) -> FloatArray:
    """Decode a whole clip: float32 (N,). Raises AudioError for one that cannot be read."""
    return np.concatenate(list(AudioFile(clip.path)))


def _within(clip: Clip, *folders: str) -> bool:
    return any(folder in clip.name.split("/")[:-1] for folder in folders)
