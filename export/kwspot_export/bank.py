"""A bank: the log-mel features of segments, each in several places, computed once and kept on disk.

On two cores rooms and noise cost more than a student's step, so each segment is worsened a few
times and its variants are used over and over. Letters in shapes: N segments, V variants, B those of
a batch, T frames (10 ms), F mel bands.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kwspot.features import FrontEnd
from kwspot_export import processes
from kwspot_export.acoustics import Acoustics
from kwspot_export.frontend import LogMel, draw_warps
from kwspot_export.segments import Segments
from kwspot_export.sharing import share_out

SHARD = 128  # segments a file


class Bank:
    """Features of segments, (N, V, T, F) in float16, in files of SHARD segments."""

    def __init__(self, shards: list[npt.NDArray[np.float16]]) -> None:
        self._shards = shards

    def features(self, rows: npt.NDArray[np.int64], variants: npt.NDArray[np.int64]) -> Tensor:
        """Return features of segments in one of their places each: (B,), (B,) -> (B, T, F)."""
        picked = [
            self._shards[row // SHARD][row % SHARD, variant]
            for row, variant in zip(rows.tolist(), variants.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(picked).astype(np.float32))

    @classmethod
    def open(
        cls,
        segments: Segments,
        acoustics: Acoustics,
        front_end: FrontEnd,
        variants: int,
        seed: int,
        folder: Path,
        workers: int = 0,
        progress: Callable[[int, int], None] | None = None,
        warped: bool = False,
    ) -> "Bank":
        """Compute what is missing of a bank below `folder`, and open it.

        Files appear whole, so an interrupted bank goes on where it was. Of several processes of one
        run the first one computes. `warped` varies vocal tracts as well (`frontend.LogMel`).
        """
        making = _Making(segments, acoustics, front_end, variants, seed, warped)
        place = folder / making.key()
        paths = [place / f"{number:05d}.npy" for number in range(-(-len(segments) // SHARD))]
        if processes.number() == 0:
            place.mkdir(parents=True, exist_ok=True)
            making.missing = [i for i, path in enumerate(paths) if not path.exists()]
            parts = share_out(making, len(making.missing), workers)
            for done, (number, features) in enumerate(parts):
                partial = place / f"{number:05d}.partial.npy"
                np.save(partial, features)
                partial.rename(paths[number])
                if progress is not None:
                    progress(done + 1, len(making.missing))
        processes.wait()
        return cls([np.load(path, mmap_mode="r") for path in paths])


class _Making:
    """Shards yet to be computed; every variant of a segment comes from a seed of its own."""

    def __init__(
        self,
        segments: Segments,
        acoustics: Acoustics,
        front_end: FrontEnd,
        variants: int,
        seed: int,
        warped: bool,
    ) -> None:
        self.segments, self.acoustics, self.front_end = segments, acoustics, front_end
        self.variants, self.seed, self.warped = variants, seed, warped
        self.missing: list[int] = []
        self.log_mel = LogMel(front_end)
        self.lead = front_end.window - front_end.hop  # what the first frame sees before the window

    def __call__(self, which: int) -> tuple[int, npt.NDArray[np.float16]]:
        number = self.missing[which]
        rows = np.arange(number * SHARD, min(len(self.segments), (number + 1) * SHARD))
        return number, np.stack([self._features(int(row)) for row in rows])

    def _features(self, row: int) -> npt.NDArray[np.float16]:
        dry = self.segments.audio(np.array([row]))[0]
        worse = [
            self.acoustics.worsen(dry, np.random.default_rng([self.seed, row, variant]))
            for variant in range(self.variants)
        ]
        audio = torch.from_numpy(np.pad(np.stack(worse), ((0, 0), (self.lead, 0))))
        warps = None
        if self.warped:
            rng = np.random.default_rng([self.seed, row, self.variants])
            warps = torch.from_numpy(draw_warps(self.variants, rng))
        return self.log_mel(audio, warps).numpy().astype(np.float16)

    def key(self) -> str:
        """A name for all that the features depend on."""
        names = [self.acoustics.corpus.clips[i].name for i in self.acoustics.noises]
        settings = {
            "segments": self.segments.key,
            "conditions": asdict(self.acoustics.conditions),
            "noises": names,
            "rooms": len(self.acoustics.rooms),
            "front_end": asdict(self.front_end),
            "variants": self.variants,
            "seed": self.seed,
            "warped": self.warped,
        }
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
