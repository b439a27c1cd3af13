"""Keeps what a detector was fooled by, or nearly: clips of detections and near misses in a folder.

```
detector -> samples -> ring of 8 s --------+
         -> scores, detections -> event ---+-> clip of 3 s -> queue -> a thread of its own -> disk
```

Nothing is kept unless somebody asks for it, and then only these clips. The thread that listens
never waits for the disk: where that is too slow or full, clips are lost, audio is not. Only sound
that is not live is held up.
"""

import csv
import logging
import queue
import threading
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path
from types import TracebackType

import numpy as np

from kwspot.clip_file import write_clip
from kwspot.detector import Detection, KeywordDetector
from kwspot.errors import AudioError, ManifestError
from kwspot.features import SAMPLE_RATE, FloatArray

log = logging.getLogger(__name__)

NEAR_SHARE = 0.6  # of the threshold: a peak above it that did not fire is a near miss
BEFORE_SECONDS = 2.0  # of a clip before its peak; the word ends about there
AFTER_SECONDS = 1.0
RING_SECONDS = 8.0  # a clip, and as late as a gate may hand on what came before it opened
WAITING_CLIPS = 8  # for the disk, 200 kB each
LIMIT_BYTES = 200_000_000
TABLE = "kept.csv"
DETECTION, NEAR_MISS = "detection", "near-miss"


@dataclass(frozen=True)
class Kept:
    """A clip that waits for a label: a row of kept.csv.

    `time` is when it was heard, ISO 8601; `start` and `end` are the keyword's, in seconds of the
    clip, estimated as in Detection.
    """

    path: str
    time: str
    kind: str
    keyword: str
    score: float
    threshold: float
    start: float
    end: float


class ClipKeeper:
    """Watches a detector and keeps clips of 3 s around detections and near misses in a folder.

    `limit` is in bytes; above it the oldest near misses are dropped first, then the oldest
    detections. Clips that were reviewed are not among them. Sound that is not `live`, such as a
    file's, waits for the disk instead of losing clips. Use it as a context manager, or `close()`
    it. Errors of the disk are logged, once, and listening goes on.

    Raises AudioError for a folder that cannot be made or written to.
    """

    def __init__(
        self,
        detector: KeywordDetector,
        folder: str | Path,
        limit: int = LIMIT_BYTES,
        live: bool = True,
    ) -> None:
        self._detector, self._folder, self._limit = detector, Path(folder), limit
        self._live = live
        self._seconds = {k.label: k.seconds for k in detector.info.keywords}
        self._ring = np.zeros(round(RING_SECONDS * SAMPLE_RATE), np.float32)
        self._event: _Event | None = None
        self._warned = False
        self._begin()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _forget_dropped(self._folder)
        except OSError as error:
            raise AudioError(f"cannot keep clips in {folder}: {error.strerror}") from error
        self._sizes = {
            path: path.stat().st_size
            for kind in (NEAR_MISS, DETECTION)
            for path in sorted(self._folder.glob(f"{kind}-*.flac"))
        }
        self._queue: queue.Queue[tuple[_Event, FloatArray] | None] = queue.Queue(WAITING_CLIPS)
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()
        detector.watch(self)

    def hear(self, samples: FloatArray) -> None:
        """Take the next samples of the stream, a step at most."""
        place = (self._heard + np.arange(len(samples))) % len(self._ring)
        self._ring[place] = samples
        self._heard += len(samples)
        if self._event and self._heard >= self._event.time + round(AFTER_SECONDS * SAMPLE_RATE):
            self._hand_over(self._event)

    def judge(self, time: int, scores: list[float], hits: list[Detection]) -> None:
        """Take the scores at sample `time`, and what was detected there."""
        thresholds = self._detector.thresholds
        for hit in hits:
            if self._event and self._event.kind == DETECTION:
                self._hand_over(self._event)
            threshold = thresholds[hit.keyword]
            self._event = _Event(DETECTION, hit.keyword, time, hit.score, threshold)
        events = (
            _Event(NEAR_MISS, keyword, time, score, threshold)
            for score, (keyword, threshold) in zip(scores, thresholds.items(), strict=True)
        )
        nearest = max(events, key=lambda event: event.share)
        if nearest.share < NEAR_SHARE:
            self._armed = True
        elif self._event is None:
            self._event = nearest if self._armed else None
        elif self._event.kind == NEAR_MISS and nearest.share > self._event.share:
            self._event = nearest

    def end(self) -> None:
        """Take that the stream has ended: what comes next is another one."""
        if self._event:
            self._hand_over(self._event)
        self._begin()

    def close(self) -> None:
        """Stop watching, and wait some seconds for the disk."""
        self._detector.watch(None)
        self.end()
        with suppress(queue.Full):
            self._queue.put(None, timeout=5)
        self._writer.join(timeout=5)

    def __enter__(self) -> "ClipKeeper":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self) -> None:
        self._heard = 0  # samples of the stream
        self._armed = True  # scores were low since the last event

    def _hand_over(self, event: "_Event") -> None:
        """Give the clip of an event to the thread that writes."""
        self._event, self._armed = None, False
        begin = max(0, event.time - round(BEFORE_SECONDS * SAMPLE_RATE))
        begin = max(begin, self._heard - len(self._ring))
        end = min(self._heard, event.time + round(AFTER_SECONDS * SAMPLE_RATE))
        samples = self._ring[np.arange(begin, end) % len(self._ring)]
        event.begin = begin
        try:
            self._queue.put((event, samples), block=not self._live)
        except queue.Full:
            self._warn("the disk is too slow")

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._write(*item)
            except (AudioError, OSError) as error:
                self._warn(str(error))

    def _write(self, event: "_Event", samples: FloatArray) -> None:
        now = datetime.now()
        # With microseconds: the name of a clip that was dropped is never used again.
        path = self._folder / f"{event.kind}-{now:%Y%m%d-%H%M%S-%f}.flac"
        self._sizes[path] = write_clip(path, samples)
        end = (event.time - event.begin) / SAMPLE_RATE
        start = max(0.0, end - self._seconds[event.keyword])
        kept = Kept(
            path.name,
            now.isoformat(timespec="seconds"),
            event.kind,
            event.keyword,
            round(event.score, 4),
            event.threshold,
            round(start, 2),
            round(end, 2),
        )
        _add_rows(self._folder / TABLE, [kept])
        self._drop()

    def _drop(self) -> None:
        """Delete the oldest clips above the limit, near misses first."""
        total = sum(self._sizes.values())
        near = [path for path in self._sizes if path.name.startswith(NEAR_MISS)]
        others = [path for path in self._sizes if not path.name.startswith(NEAR_MISS)]
        for path in near + others:
            if total <= self._limit:
                return
            path.unlink(missing_ok=True)  # somebody may have reviewed it
            total -= self._sizes.pop(path)

    def _warn(self, reason: str) -> None:
        if not self._warned:
            log.warning("clips are not kept, listening goes on: %s", reason)
            self._warned = True


@dataclass
class _Event:
    """A detection or near miss: where it peaked, and where its clip begins, in samples."""

    kind: str
    keyword: str
    time: int
    score: float
    threshold: float
    begin: int = 0

    @property
    def share(self) -> float:
        """How much of the threshold the score reached."""
        return self.score / self.threshold


def read_kept(folder: str | Path) -> list[Kept]:
    """Return the clips of a folder that wait for a label, the oldest first.

    Raises ManifestError for a folder where nothing was kept, and a table that is none.
    """
    path = Path(folder) / TABLE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        kept = [
            Kept(**{f.name: f.type(row[f.name]) for f in fields(Kept)})  # type: ignore[operator]
            for row in rows
        ]
    except OSError as error:
        raise ManifestError(
            f"cannot read {path}: {error.strerror}; `kwspot listen --keep {folder}` keeps clips"
        ) from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ManifestError(f"{path} is no table of kept clips: {error}") from error
    return [clip for clip in kept if (Path(folder) / clip.path).is_file()]


def _forget_dropped(folder: Path) -> None:
    """Write the table again without the clips that are gone: else it would grow for ever."""
    table = folder / TABLE
    if table.exists():
        partial = table.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        _add_rows(partial, read_kept(folder))
        partial.replace(table)


def _add_rows(table: Path, rows: list[Kept]) -> None:
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow([field.name for field in fields(Kept)])
        writer.writerows(astuple(row) for row in rows)
