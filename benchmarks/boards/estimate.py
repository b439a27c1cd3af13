"""What a board would spend on kwspot, estimated from instructions counted under emulation.

```
instructions a second of audio / (clock x instructions a cycle) -> share of one core
```

Not measured: a core retires between a quarter and a half of what it can decode at best. That is
assumed, for the whole of a process that mixes an interpreter, small matrix products and copies, and
it is wide on purpose. It held for a Xeon and an earlier kwspot: 14.3 million x86 instructions a
second of audio, counted by the same plugin, in 3.07 ms at about 3 GHz are 1.55 a cycle, of the
five that such a core decodes. What `pi.py` sends back replaces all this.
"""

from dataclasses import dataclass

SLOW, FAST = 1 / 4, 1 / 2  # instructions a cycle, of those that the core can decode in one


@dataclass(frozen=True)
class Board:
    """A board: its core as qemu calls it, its clock as sold, instructions decoded a cycle at best.

    Widths are those of Arm's documents: the Cortex-A53 issues two in order, the Cortex-A72 decodes
    three and the Cortex-A76 four, both out of order.
    """

    name: str
    core: str
    clock_hz: float
    width: int


BOARDS = (
    Board("Raspberry Pi Zero 2 W", "cortex-a53", 1.0e9, 2),
    Board("Raspberry Pi 3 B", "cortex-a53", 1.2e9, 2),
    Board("Raspberry Pi 4 B", "cortex-a72", 1.5e9, 3),
    Board("Raspberry Pi 5", "cortex-a76", 2.4e9, 4),
)


@dataclass(frozen=True)
class Share:
    """Share of one core, 0 to 1, where the core is at its best and at its worst."""

    best: float
    worst: float


def share(board: Board, instructions: float) -> Share:
    """Estimate the share of one core that `instructions` a second of audio take."""
    rates = (board.clock_hz * board.width * part for part in (FAST, SLOW))
    return Share(*(instructions / rate for rate in rates))
