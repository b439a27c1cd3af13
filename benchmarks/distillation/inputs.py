"""What the networks of the study hear: windows and streams as features, computed once and kept.

```
clip -> window of 1.6 s, its word ends 0.2 s before the end -> features (T, F)
clips -> one long stream                                    -> features (T, F)
```
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from kwspot_export.frontend import LogMel

from kwspot.endpoints import speech_span
from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE, FloatArray, FrontEnd
from kwspot.manifest import Clip
from kwspot.material import read_clip
from kwspot.streams import Stream

VERSION = 1  # of what this folder makes of clips: a change makes old caches unusable
SEED = 0
FRONT_END = FrontEnd()
LEAD = FRONT_END.window - FRONT_END.hop  # samples that the first frame sees before a window
WINDOW = round(1.6 * SAMPLE_RATE)  # 40 outputs
AFTER = round(0.2 * SAMPLE_RATE)  # between the end of a word and that of its window

Features = npt.NDArray[np.float16]  # (..., T, F); to 0.01, a tenth of what noise does to a band


class StudyError(KwspotError, ValueError):
    """Clips, networks or results that the study cannot use."""


def window_at(samples: FloatArray, end: int) -> FloatArray:
    """Cut the window in which sample `end` is 0.2 s before its end: (N,) -> (LEAD + WINDOW,).

    Zeros stand where the clip has no samples.
    """
    first = end + AFTER - WINDOW - LEAD
    padded = np.pad(samples, (max(-first, 0), AFTER))
    return padded[max(first, 0) :][: LEAD + WINDOW]


def whole(clip: Clip) -> FloatArray:
    """Place a clip so that its last sample is 0.2 s before the end of the window."""
    samples = read_clip(clip)
    return window_at(samples, len(samples))


def word(clip: Clip) -> FloatArray:
    """Place a clip so that its word ends 0.2 s before the end of the window."""
    samples = read_clip(clip)
    return window_at(samples, speech_span(samples)[1])


def piece(clip: Clip, number: int) -> FloatArray:
    """Cut the window that begins `number` windows after the clip's first sample."""
    return window_at(read_clip(clip), (number + 1) * WINDOW - AFTER)


def window_features(windows: Iterable[FloatArray]) -> Features:
    """Compute the features of windows (LEAD + WINDOW,) each: (N, T, F)."""
    log_mel = LogMel(FRONT_END)
    remaining, parts = iter(windows), []
    while some := list(islice(remaining, 64)):
        parts.append(log_mel(torch.from_numpy(np.stack(some))).half())
    return torch.cat(parts).numpy()


def stream_features(stream: Stream) -> Features:
    """Compute the features of a whole stream, place by place: (T, F)."""
    return np.concatenate(list(_frames(samples for _, samples in stream)))


def cached(cache: Path, name: str, clips: Sequence[Clip], make: Callable[[], Features]) -> Features:
    """Return what `make` makes of `clips`, or what an earlier call kept in the folder `cache`.

    Kept under the name, VERSION, the front end and the list of clips.
    """
    made_of = [VERSION, SEED, dataclasses.asdict(FRONT_END), [(c.name, c.seconds) for c in clips]]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    path = cache / f"{name}-{key}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".partial.npy")
        np.save(draft, make())
        draft.rename(path)
    return np.load(path, mmap_mode="r")


def clips_under(clips: Sequence[Clip], role: str, *folders: str) -> list[Clip]:
    """Choose the clips of a role in some folders; raise StudyError for a folder without any."""
    chosen = [clip for clip in clips if clip.role == role and clip.name.startswith(folders)]
    for folder in folders:
        if not any(clip.name.startswith(folder) for clip in chosen):
            raise StudyError(f"the manifests have no clips of role {role!r} in {folder}")
    return chosen


def _frames(parts: Iterable[FloatArray]) -> Iterator[Features]:
    log_mel = LogMel(FRONT_END)
    rest = np.zeros(LEAD, np.float32)
    for samples in parts:
        rest = np.concatenate([rest, samples])
        frames = max(0, (len(rest) - LEAD) // FRONT_END.hop)
        if frames:
            whole_frames = torch.from_numpy(rest[: LEAD + frames * FRONT_END.hop])
            yield log_mel(whole_frames[None])[0].half().numpy()
        rest = rest[frames * FRONT_END.hop :]
