import json
import multiprocessing
import os
import time
from dataclasses import dataclass, replace
from multiprocessing import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export.targets import HEADER, SHARD, Rows, TargetCache, TargetError, TargetKey, pooling
from kwspot_export.teachers import Hidden, TeacherError
from torch import Tensor
from toy import assert_one_sentence

from kwspot.features import FloatArray

OUTPUTS = 4
SAMPLES = OUTPUTS * 640
COUNT = 2 * SHARD + 10
KEY = TargetKey("0123", "toy segments", COUNT, layers=(0, 2), outputs=OUTPUTS)
HALF = {"atol": 1e-6, "rtol": 2**-11}  # float16 has 11 significant bits


@dataclass
class Sums:
    """A teacher at 50 Hz whose layers are multiples of the sums of each 20 ms."""

    name: str = "sums"
    fingerprint: str = "0123"
    rate_hz: float = 50.0
    widths: tuple[int, ...] = (1, 2, 3)
    coded: bool = True
    scale: float = 1.0
    segments: int = 0

    def __call__(self, audio: Tensor) -> Hidden:
        self.segments += len(audio)
        sums = self.scale * audio.reshape(len(audio), -1, 320).sum(dim=2)
        layers = [sums[..., None] * torch.arange(1.0, width + 1) for width in self.widths]
        return Hidden(tuple(layers), -sums[..., None] if self.coded else None)


class Boastful(Sums):
    """Says that its last layer is wider than it is."""

    def __call__(self, audio: Tensor) -> Hidden:
        hidden = Sums()(audio)
        self.widths = (1, 2, 9)
        return hidden


def audio(rows: Rows) -> FloatArray:
    return np.stack([np.random.default_rng(row).random(SAMPLES, np.float32) for row in rows])


def expected(rows: Rows, width: int) -> Tensor:
    """What `Sums` says, averaged over 40 ms."""
    sums = torch.from_numpy(audio(rows)).reshape(len(rows), OUTPUTS, 640).sum(dim=2) / 2
    return sums[..., None] * torch.arange(1.0, width + 1)


def built(folder: Path, key: TargetKey = KEY) -> TargetCache:
    cache = TargetCache(folder, key)
    cache.build(Sums(), audio)
    return cache


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.targets"))


def test_what_is_read_is_what_the_teacher_said(tmp_path: Path) -> None:
    built(tmp_path)
    cache = TargetCache(tmp_path, KEY)  # and no teacher
    rows = np.array([COUNT - 1, 0, SHARD, SHARD - 1, 0])
    first, second = cache.frames(rows)
    codes = cache.codes(rows)
    assert cache.widths == (1, 3)
    torch.testing.assert_close(first, expected(rows, 1), **HALF)
    torch.testing.assert_close(second, expected(rows, 3), **HALF)
    torch.testing.assert_close(codes, -expected(rows, 1), **HALF)
    for mean, width in zip(cache.means(rows), cache.widths, strict=True):
        torch.testing.assert_close(mean, expected(rows, width).mean(dim=1), **HALF)
    with pytest.raises(IndexError):
        cache.frames(np.array([COUNT]))


def test_rms_is_that_of_all_segments(tmp_path: Path) -> None:
    cache = built(tmp_path)
    rows = np.arange(COUNT)
    for rms, width in zip(cache.rms, cache.widths, strict=True):
        assert rms == pytest.approx(expected(rows, width).square().mean().sqrt().item(), rel=1e-5)


def test_a_teacher_without_a_quantiser_has_no_codes(tmp_path: Path) -> None:
    cache = TargetCache(tmp_path, KEY)
    cache.build(Sums(coded=False), audio)
    assert cache.codes(np.array([0])) is None
    assert [frames.shape for frames in cache.frames(np.array([0, 1]))] == [(2, 4, 1), (2, 4, 3)]


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    first = Sums()
    computed = TargetCache(tmp_path, KEY).build(first, audio, lambda *now: heard.append(now))
    assert computed == first.segments == COUNT
    assert heard[0] == (SHARD, COUNT)
    assert heard[-1] == (COUNT, COUNT)
    shards(tmp_path)[1].unlink()
    second = Sums()
    assert TargetCache(tmp_path, KEY).build(second, audio) == second.segments == SHARD
    third = Sums()
    assert TargetCache(tmp_path, KEY).build(third, audio) == third.segments == 0


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[HEADER + 100] ^= 1
    path.write_bytes(data)


def rescaled(path: Path) -> None:
    """Change a number of the header, which the checksum covers too."""
    data = path.read_bytes()
    header = json.loads(data[:HEADER])
    header["squares"][0] *= 2
    path.write_bytes(json.dumps(header).encode().ljust(HEADER) + data[HEADER:])


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def scrambled(path: Path) -> None:
    path.write_bytes(b"[1, 2]" + b" " * 2 * HEADER)


def swapped(path: Path) -> None:
    path.write_bytes(shards(path.parent)[0].read_bytes())


@pytest.mark.parametrize("damage", [flipped, rescaled, truncated, emptied, scrambled, swapped])
def test_a_damaged_shard_is_found_and_rebuilt(damage, tmp_path: Path) -> None:
    built(tmp_path)
    damage(shards(tmp_path)[1])
    rows = np.array([SHARD + 3])
    with pytest.raises(TargetError, match=r"shard 1 of .* is missing or damaged") as refusal:
        TargetCache(tmp_path, KEY).frames(rows)
    assert_one_sentence(refusal.value)
    cache = TargetCache(tmp_path, KEY)
    assert cache.build(Sums(), audio) == SHARD
    torch.testing.assert_close(cache.frames(rows)[0], expected(rows, 1), **HALF)


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": "4567"},
        {"segments": "other segments"},
        {"count": COUNT - 1},
        {"layers": (2, 0)},
        {"outputs": 2},
    ],
)
def test_every_setting_is_part_of_the_key(change: dict, tmp_path: Path) -> None:
    cache = built(tmp_path)
    other = TargetCache(tmp_path, replace(KEY, **change))
    with pytest.raises(TargetError, match="is missing"):
        other.frames(np.array([0]))
    # A shard of one cache under the name of another is stale, and found.
    cache.folder.rename(other.folder)
    with pytest.raises(TargetError, match="is missing or damaged"):
        other.frames(np.array([0]))


def test_an_interrupted_shard_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    def interrupted(rows: Rows) -> FloatArray:
        if rows[0] >= SHARD + 32:
            raise KeyboardInterrupt
        return audio(rows)

    with pytest.raises(KeyboardInterrupt):
        TargetCache(tmp_path, KEY).build(Sums(), interrupted)
    assert len(shards(tmp_path)) == 1
    assert TargetCache(tmp_path, KEY).build(Sums(), audio) == COUNT - SHARD


def work(shared: Path, abandoned: Path, barrier: Barrier, computed: Queue) -> None:
    """Build one cache beside the parent, then die in the middle of a shard of another."""

    def deadly(rows: Rows) -> FloatArray:
        barrier.wait()
        time.sleep(0.2)  # the parent tries to claim the shard, and waits for it
        os._exit(7)

    torch.set_num_threads(1)
    barrier.wait()
    computed.put(TargetCache(shared, KEY).build(Sums(), audio))
    TargetCache(shared, KEY).frames(np.arange(COUNT))  # all is there, whoever made it
    computed.close()
    computed.join_thread()
    TargetCache(abandoned, KEY).build(Sums(), deadly)


@pytest.mark.slow
def test_processes_share_the_work_and_take_over_from_a_dead_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, computed = context.Barrier(2), context.Queue()
    folders = (tmp_path / "shared", tmp_path / "abandoned")
    worker = context.Process(target=work, args=(*folders, barrier, computed))
    worker.start()
    barrier.wait(60)
    own = TargetCache(folders[0], KEY).build(Sums(), audio)
    assert own + computed.get(timeout=60) == COUNT  # nothing twice
    assert len(shards(folders[0])) == 3
    barrier.wait(60)
    assert TargetCache(folders[1], KEY).build(Sums(), audio) == COUNT
    worker.join(60)
    assert worker.exitcode == 7


def test_frames_are_averaged_over_the_time_of_an_output() -> None:
    torch.testing.assert_close(
        pooling(4, 50.0, 2), torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    )
    # A frame lasts 80 ms, an output 40 ms.
    torch.testing.assert_close(
        pooling(2, 12.5, 4), torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    )
    # Frames of 30 ms: the second lies 10 ms in the first output and 20 ms in the second.
    torch.testing.assert_close(
        pooling(3, 100 / 3, 2), torch.tensor([[0.75, 0.25, 0], [0, 0.5, 0.5]])
    )


def test_missing_frames_at_the_end_are_the_last_one() -> None:
    weights = pooling(79, 50.0, 40)  # wav2vec 2.0 gives 79 frames of 1.6 s
    assert weights[38].nonzero().flatten().tolist() == [76, 77]
    assert weights[39].nonzero().flatten().tolist() == [78]
    assert pooling(77, 50.0, 40)[39].nonzero().flatten().tolist() == [76]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(40))


def test_what_cannot_be_cached_is_refused_in_one_sentence(tmp_path: Path) -> None:
    def short(rows: Rows) -> FloatArray:
        return audio(rows)[:, 1:]

    def double(rows: Rows) -> FloatArray:
        return audio(rows).astype(np.float64)

    silent = replace(KEY, count=0)
    for key, teacher, source, error, reason in (
        (silent, Sums(), audio, TargetError, "nothing to cache: 0 segments"),
        (replace(KEY, layers=(3,)), Sums(), audio, TeacherError, "no layer 3: it has 0 to 2"),
        (KEY, Sums(fingerprint="45"), audio, TeacherError, "fingerprint 45, this cache is of 0123"),
        (KEY, Boastful(), audio, TeacherError, r"widths \(1, 3\), not \(1, 9\) as it says"),
        (KEY, Sums(), short, TargetError, r"must be float32 \(32, 2560\) .* \(32, 2559\)"),
        (KEY, Sums(), double, TargetError, "this is float64"),
        (KEY, Sums(scale=1e3), audio, TargetError, "sums gives values .* in its layer 0 and layer"),
        (KEY, Sums(scale=np.nan), audio, TargetError, "float16 cannot hold in its layer 0"),
    ):
        with pytest.raises(error, match=reason) as refusal:
            TargetCache(tmp_path, key).build(teacher, source)
        assert_one_sentence(refusal.value)
    assert not shards(tmp_path)
