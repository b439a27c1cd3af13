"""All recordings of a manifest decoded once, as one long array of int16 at 16 kHz on disk.

```
manifest -> clips -> one .i16 file (memory-mapped) + offsets
```

Corpora can be joined, so that what many runs share is decoded once.
"""

import copy
import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from kwspot.convert import Converter
from kwspot.errors import AudioError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.manifest import Clip

DECODED = 256  # clips at a time


class Corpus:
    """Clips and their samples at 16 kHz, mono."""

    def __init__(self, clips: Sequence[Clip], samples: np.memmap, offsets: npt.NDArray) -> None:
        self.clips = list(clips)
        self._files = [(samples, offsets)]
        self._firsts = [0]  # the first clip of each file

    def __len__(self) -> int:
        return len(self.clips)

    def length(self, index: int) -> int:
        """Return the length of clip `index` in samples."""
        _, begin, end = self._place(index)
        return end - begin

    def audio(self, index: int, start: int = 0, length: int | None = None) -> FloatArray:
        """Return float32 samples of clip `index`, or `length` of them from `start`."""
        samples, begin, end = self._place(index)
        begin += start
        if length is not None:
            end = min(end, begin + length)
        return samples[begin:end].astype(np.float32) / 32768

    def crop(self, index: int, length: int, rng: Generator) -> FloatArray:
        """Return `length` samples from anywhere in clip `index`, or all of a shorter clip."""
        spare = self.length(index) - length
        start = int(rng.integers(spare)) if spare > 0 else 0
        return self.audio(index, start, length)

    def join(self, other: "Corpus") -> "Corpus":
        """Return a corpus of these clips and, after them, those of another."""
        joined = copy.copy(self)
        joined.clips = self.clips + other.clips
        joined._files = self._files + other._files
        joined._firsts = self._firsts + [len(self) + first for first in other._firsts]
        return joined

    def _place(self, index: int) -> tuple[np.memmap, int, int]:
        file = bisect_right(self._firsts, index) - 1
        samples, offsets = self._files[file]
        at = index - self._firsts[file]
        return samples, int(offsets[at]), int(offsets[at + 1])

    @classmethod
    def open(
        cls, clips: Sequence[Clip], cache: Path, progress: Callable[[int, int], None] | None = None
    ) -> "Corpus":
        """Decode `clips` into `cache`, or reuse what an earlier call decoded there.

        The cache is keyed by the names and sizes of the files, so that a changed data folder is
        decoded anew. Raises AudioError for a recording that is missing or cannot be decoded.
        """
        sizes = [(clip.name, _size(clip)) for clip in clips]
        key = hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:16]
        data, index = cache / f"{key}.i16", cache / f"{key}.npy"
        if not index.exists():
            cache.mkdir(parents=True, exist_ok=True)
            _decode(clips, data, index, progress)
        return cls(clips, np.memmap(data, np.int16, mode="r"), np.load(index))


def _size(clip: Clip) -> int:
    try:
        return clip.path.stat().st_size
    except OSError as error:
        raise AudioError(f"cannot read {clip.path}: {error.strerror}") from error


def _decode(
    clips: Sequence[Clip], data: Path, index: Path, progress: Callable[[int, int], None] | None
) -> None:
    offsets = np.zeros(len(clips) + 1, np.int64)
    partial = data.with_suffix(".partial")
    # A few at a time, or all that is decoded would wait in memory for the disk.
    batches = [clips[i : i + DECODED] for i in range(0, len(clips), DECODED)]
    with partial.open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, samples in enumerate(s for batch in batches for s in pool.map(_read, batch)):
            out.write(samples.tobytes())
            offsets[i + 1] = offsets[i] + len(samples)
            if progress is not None:
                progress(i + 1, len(clips))
    partial.rename(data)
    # The index is what a later run looks for, so it appears last and whole.
    draft = index.with_suffix(".partial.npy")
    np.save(draft, offsets)
    draft.rename(index)


def _read(clip: Clip) -> npt.NDArray[np.int16]:
    import soundfile

    try:
        samples, rate = soundfile.read(clip.path, dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"cannot decode {clip.path}: {error.error_string}") from error
    if rate == SAMPLE_RATE and samples.shape[1] == 1:
        found: npt.NDArray[np.int16] = samples[:, 0]
        return found
    try:
        blocks = list(Converter(rate, samples.shape[1]).blocks([samples]))
    except AudioError as error:
        raise AudioError(f"cannot use {clip.path}: {error}") from error
    converted = np.concatenate([*blocks, np.zeros(0, np.float32)])
    return np.clip(np.round(converted * 32768), -32768, 32767).astype(np.int16)
