import os

import numpy as np
import pytest
from kwspot_export.sharing import share_out


def square(number: int) -> tuple[np.ndarray, int]:
    return np.full(2, number * number), os.getpid()


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_come_in_order_and_as_they_are(workers: int) -> None:
    parts = list(share_out(square, 5, workers))
    assert all(type(part) is np.ndarray for part, _ in parts)
    assert [part.tolist() for part, _ in parts] == [[n * n, n * n] for n in range(5)]
    here = {process == os.getpid() for _, process in parts}
    assert here == {workers == 0}


def broken(number: int) -> int:
    if number == 3:
        raise ValueError("part 3 is bad")
    return number


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_part_is_raised_here(workers: int) -> None:
    with pytest.raises(ValueError, match="part 3 is bad"):
        list(share_out(broken, 5, workers))
