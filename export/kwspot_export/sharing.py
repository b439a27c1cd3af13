"""Work in many equal parts, shared out over processes of this machine."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")


def share_out(work: Callable[[int], T], parts: int, workers: int) -> Iterator[T]:
    """Yield work(0), work(1) and so on, in order, done by `workers` processes; 0: by this one.

    `work` must be picklable where processes are not forked.
    """
    yield from DataLoader(
        _Parts(work, parts), batch_size=None, num_workers=workers, collate_fn=_as_it_is
    )


class _Parts(Dataset):
    def __init__(self, work: Callable[[int], Any], parts: int) -> None:
        self.work, self.parts = work, parts

    def __len__(self) -> int:
        return self.parts

    def __getitem__(self, number: int) -> Any:
        return self.work(number)


def _as_it_is(part: T) -> T:
    return part
