"""The target cache: what a teacher says about every segment, computed once and kept as float16.

```
segments -> teacher -> layers pooled to the student's 25 Hz -> shards of 256 segments
```

One file a shard: a line of JSON, then float16 (rows, U, W). W holds the layers in the order asked
for and then the codes, so that a segment is read in one piece; 1.6 s of three Whisper tiny layers
take 92 kB. A shard is written beside its place and then renamed; it carries the key of teacher,
segments and settings and a checksum, by which one that is damaged or stale is found.

Letters in shapes: B segments of a batch, U outputs of a segment, T frames of the teacher, D width
of a layer, Q width of the codes.
"""

import fcntl
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot_export.student import OUTPUT_HOP
from kwspot_export.teachers import Hidden, Teacher, TeacherError

FORMAT = 1  # to be raised when the same settings give other numbers
SHARD = 256  # segments; 24 MB of three Whisper tiny layers
HEADER = 4096  # bytes of JSON, padded with spaces: the data starts on a page
BATCH = 32  # Whisper tiny: 13 to 18 s for 1000 segments on one core; 16 to 64 differ little
OUTPUT_HZ = SAMPLE_RATE / OUTPUT_HOP

Rows = npt.NDArray[np.int64]


class TargetError(KwspotError, ValueError):
    """Targets that cannot be computed, or that are not there."""


@dataclass(frozen=True)
class TargetKey:
    """All that decides what is in a cache.

    `teacher` is its fingerprint, `segments` whatever names the audio of `count` segments, `layers`
    are indices into `Hidden.layers`, `outputs` how many 40 ms a segment has.
    """

    teacher: str
    segments: str
    count: int
    layers: tuple[int, ...]
    outputs: int = 40

    def __str__(self) -> str:
        """Return 16 hex digits of sha256."""
        content = json.dumps({"format": FORMAT} | asdict(self))
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Shard:
    """One file, checked and mapped. `widths`: of each layer, then of the codes; 0 for none."""

    widths: tuple[int, ...]
    squares: tuple[float, ...]  # mean square of each layer
    values: npt.NDArray[np.float16]  # (rows, U, W), mapped


class TargetCache:
    """Targets of one teacher on one list of segments, in `folder / key`.

    `build` computes what is missing. A cache once built can be read without the teacher. Reads
    raise TargetError where a shard is missing or damaged; each is checked when first touched.
    """

    def __init__(self, folder: Path, key: TargetKey) -> None:
        if key.count < 1 or key.outputs < 1 or not key.layers:
            raise TargetError(
                f"there is nothing to cache: {key.count} segments of {key.outputs} outputs, "
                f"layers {key.layers}"
            )
        self.folder = folder / str(key)
        self.key = key
        self._shards: list[_Shard | None] = [None] * -(-key.count // SHARD)

    def build(
        self,
        teacher: Teacher,
        audio: Callable[[Rows], FloatArray],
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Check all shards and compute those that are missing, damaged or stale.

        `audio` gives the samples (len(rows), 640 U) of segments. Several processes may build the
        same cache: they share the shards, and each returns when all are there. Returns how many
        segments this one computed; `progress` hears (segments done, segments in all).

        Raises TeacherError for another teacher or a layer that it does not have, TargetError for
        audio of another shape and for targets that float16 cannot hold.
        """
        self._check(teacher)
        self.folder.mkdir(parents=True, exist_ok=True)
        computed = 0
        # First what nobody works on, then what others have claimed and, maybe, left unfinished.
        for wait in (False, True):
            for index in range(len(self._shards)):
                if self._find(index, teacher) is None:
                    with self._claim(index, wait) as claimed:
                        if claimed and self._find(index, teacher) is None:
                            self._compute(index, teacher, audio)
                            computed += len(self._rows(index))
                if progress is not None:
                    ready = (len(self._rows(i)) for i, s in enumerate(self._shards) if s)
                    progress(sum(ready), self.key.count)
        return computed

    @property
    def widths(self) -> tuple[int, ...]:
        """Width D of each layer."""
        return self._shard(0).widths[:-1]

    @cached_property
    def rms(self) -> tuple[float, ...]:
        """Root mean square of each layer over the whole cache; divide by it for unit RMS."""
        shards = [self._shard(i) for i in range(len(self._shards))]
        squares = np.array([shard.squares for shard in shards])
        weights = np.array([len(shard.values) for shard in shards])
        return tuple(np.sqrt(np.average(squares, axis=0, weights=weights)).tolist())

    def frames(self, rows: Rows, layers: Sequence[int] | None = None) -> list[Tensor]:
        """Return the targets of segments: for each layer (B, U, D) float32.

        `layers` are positions in the key's layers; all of them where it is None.
        """
        ends = list(itertools.accumulate(self.widths))
        wanted = range(len(ends)) if layers is None else layers
        return [self._read(rows, slice(ends[i] - self.widths[i], ends[i])) for i in wanted]

    def means(self, rows: Rows, layers: Sequence[int] | None = None) -> list[Tensor]:
        """Return the means over time: for each layer (B, D) float32."""
        return [frames.mean(dim=1) for frames in self.frames(rows, layers)]

    def codes(self, rows: Rows) -> Tensor | None:
        """Return the quantised vectors (B, U, Q) float32, or None of a teacher without."""
        *layers, codes = self._shard(0).widths
        return self._read(rows, slice(sum(layers), None)) if codes else None

    def _read(self, rows: Rows, columns: slice) -> Tensor:
        if len(rows) and not 0 <= np.min(rows) <= np.max(rows) < self.key.count:
            raise IndexError(f"there are {self.key.count} segments")
        values = [self._shard(row // SHARD).values[row % SHARD, :, columns] for row in rows]
        return torch.from_numpy(np.stack(values)).float()

    def _shard(self, index: int) -> _Shard:
        shard = self._shards[index] or self._find(index)
        if shard is None:
            raise TargetError(
                f"shard {index} of {self.folder} is missing or damaged: build the cache again"
            )
        first = self._shards[0] or shard
        if shard.widths != first.widths:
            raise TargetError(
                f"shard {index} of {self.folder} holds layers and codes of widths {shard.widths}, "
                f"the first shard of {first.widths}: delete the folder and build the cache again"
            )
        return shard

    def _find(self, index: int, teacher: Teacher | None = None) -> _Shard | None:
        """Map a shard, if a whole one with this key is there and fits the teacher."""
        if self._shards[index] is None:
            shape = (len(self._rows(index)), self.key.outputs)
            shard = _open_shard(self._path(index), self._label(index), shape)
            if shard is not None and (teacher is None or shard.widths[:-1] == self._of(teacher)):
                self._shards[index] = shard
        return self._shards[index]

    def _compute(self, index: int, teacher: Teacher, audio: Callable[[Rows], FloatArray]) -> None:
        rows, parts = self._rows(index), []
        for start in range(0, len(rows), BATCH):
            samples = audio(rows[start : start + BATCH])
            expected = (len(rows[start : start + BATCH]), self.key.outputs * OUTPUT_HOP)
            if samples.shape != expected or samples.dtype != np.float32:
                raise TargetError(
                    f"audio of segments must be float32 {expected} at {SAMPLE_RATE} Hz, "
                    f"this is {samples.dtype} {samples.shape}"
                )
            hidden = teacher(torch.tensor(samples))
            parts.append(_pooled(hidden, self.key, teacher))
        widths = tuple(0 if part is None else part.shape[2] for part in parts[0])
        if widths[:-1] != self._of(teacher):
            raise TeacherError(
                f"{teacher.name} gave layers of widths {widths[:-1]}, not {self._of(teacher)} "
                "as it says"
            )
        whole = [torch.cat(part).cpu() for part in zip(*parts, strict=True) if part[0] is not None]
        squares = [layer.double().square().mean().item() for layer in whole[: len(self.key.layers)]]
        values = torch.cat([part.half() for part in whole], dim=2)
        if not values.isfinite().all():
            raise TargetError(self._overflow(teacher, whole))
        _write_shard(self._path(index), self._label(index), widths, squares, values.numpy())
        self._find(index, teacher)

    def _overflow(self, teacher: Teacher, whole: list[Tensor]) -> str:
        names = [f"layer {layer}" for layer in self.key.layers] + ["codes"]
        wrong = [n for n, x in zip(names, whole, strict=False) if not x.half().isfinite().all()]
        return f"{teacher.name} gives values that float16 cannot hold in its {' and '.join(wrong)}"

    def _check(self, teacher: Teacher) -> None:
        if teacher.fingerprint != self.key.teacher:
            raise TeacherError(
                f"{teacher.name} has the fingerprint {teacher.fingerprint}, "
                f"this cache is of {self.key.teacher}"
            )
        for layer in self.key.layers:
            if not 0 <= layer < len(teacher.widths):
                raise TeacherError(
                    f"{teacher.name} has no layer {layer}: it has 0 to {len(teacher.widths) - 1}"
                )

    def _of(self, teacher: Teacher) -> tuple[int, ...]:
        return tuple(teacher.widths[layer] for layer in self.key.layers)

    def _rows(self, index: int) -> Rows:
        return np.arange(index * SHARD, min((index + 1) * SHARD, self.key.count))

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.targets"

    def _label(self, index: int) -> str:
        return f"{self.key} {index}"

    @contextmanager
    def _claim(self, index: int, wait: bool) -> Iterator[bool]:
        """Hold byte `index` of a lock file; the system frees what a dead process held."""
        with (self.folder / "claims").open("wb") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, index)
            except (BlockingIOError, PermissionError):  # which of them depends on the system
                yield False
                return
            yield True  # closing the file gives the claim back


def pooling(frames: int, rate_hz: float, outputs: int) -> Tensor:
    """Return weights (U, T) that bring T frames at `rate_hz` to U outputs at 25 Hz.

    Frame t stands for the time from t / rate to (t + 1) / rate; an output is the mean over the part
    of its 40 ms that frames cover. Frames of a slower teacher are repeated; where frames are
    missing at the end, the last one is.
    """
    starts = torch.arange(frames, dtype=torch.float64) / rate_hz
    ends = starts + 1 / rate_hz
    begin = torch.arange(outputs, dtype=torch.float64)[:, None] / OUTPUT_HZ
    overlap = torch.minimum(ends, begin + 1 / OUTPUT_HZ) - torch.maximum(starts, begin)
    weights = overlap.clamp_min(0.0)
    total = weights.sum(dim=1, keepdim=True)
    uncovered = total[:, 0] < 1e-9  # seconds; what rounding leaves
    weights[uncovered] = 0.0
    weights[uncovered, -1] = 1.0
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _pooled(hidden: Hidden, key: TargetKey, teacher: Teacher) -> list[Tensor | None]:
    """Bring the layers asked for, and the codes, to (B, U, D)."""
    parts = [hidden.layers[layer] for layer in key.layers] + [hidden.codes]
    weights = pooling(hidden.layers[0].shape[1], teacher.rate_hz, key.outputs)
    weights = weights.to(hidden.layers[0].device)
    return [None if part is None else torch.matmul(weights, part) for part in parts]


def _write_shard(
    path: Path, label: str, widths: tuple[int, ...], squares: list[float], values: npt.NDArray
) -> None:
    header = {"label": label, "widths": widths, "squares": squares}
    header["sha256"] = _checksum(header, values)
    draft = path.with_suffix(".partial")  # the claim keeps others from writing it
    with draft.open("wb") as out:
        out.write(json.dumps(header).encode().ljust(HEADER - 1) + b"\n")
        out.write(values.data)
    draft.rename(path)


def _open_shard(path: Path, label: str, shape: tuple[int, int]) -> _Shard | None:
    """Map a shard, or return None where it is missing, not whole, damaged or of another key."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(HEADER))
        checksum, widths = header.pop("sha256"), tuple(header["widths"])
        values = np.asarray(np.memmap(path, np.float16, "r", HEADER, (*shape, sum(widths))))
        if header["label"] != label or checksum != _checksum(header, values):
            return None
        return _Shard(widths, tuple(header["squares"]), values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # whatever damage may cause
        return None


def _checksum(header: dict[str, object], values: npt.NDArray) -> str:
    total = hashlib.sha256(json.dumps(header).encode())
    total.update(values.data)
    return total.hexdigest()
