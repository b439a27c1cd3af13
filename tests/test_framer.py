import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kwspot.framer import Framer

LEAD, STEP = 24, 128


def blocks_of(samples: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    framer, blocks = Framer(LEAD, STEP, backlog=3), []
    for part in np.split(samples, sorted(cuts)):
        while len(part):
            part = part[framer.write(part) :]
            if framer.complete:
                np.testing.assert_array_equal(framer.newest(), framer.newest()[:STEP])
            while framer.blocks:
                blocks.append(framer.read().copy())
    return blocks


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, 6000), data=st.data())
def test_any_chunking_gives_the_blocks_of_the_padded_signal(
    length: int, data: st.DataObject
) -> None:
    samples = np.arange(1, length + 1, dtype=np.float32)
    cuts = data.draw(st.lists(st.integers(0, length), max_size=20))
    padded = np.concatenate([np.zeros(LEAD, np.float32), samples])
    expected = [padded[i * STEP : i * STEP + LEAD + STEP] for i in range(length // STEP)]
    for block, wanted in zip(blocks_of(samples, cuts), expected, strict=True):
        np.testing.assert_array_equal(block, wanted)


def test_a_backlog_waits_until_it_is_read_or_skipped() -> None:
    framer = Framer(LEAD, STEP, backlog=3)
    for number in range(50):
        framer.write(np.full(STEP, number, np.float32))
        assert framer.newest()[0] == number
        if framer.blocks > 3:
            framer.skip()
    assert [framer.read()[-1] for _ in range(framer.blocks)] == [47, 48, 49]


def test_clear_forgets_everything() -> None:
    framer = Framer(LEAD, STEP, backlog=3)
    framer.write(np.ones(STEP - 1, np.float32))
    framer.clear()
    framer.write(np.full(STEP, 2, np.float32))
    np.testing.assert_array_equal(framer.read(), [0] * LEAD + [2] * STEP)
