"""Conditions that keywords are heard in: how they are spoken, where, how loud, and in what noise.

```
speed:FACTOR -> room -> level:DBFS -> babble:SNR | noise:SNR | music:SNR      joined with "+"
```
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from kwspot.errors import KwspotError
from kwspot.interference import KINDS, has_clips
from kwspot.material import Material

SNRS_DB = (20.0, 10.0, 5.0, 0.0)
SPEEDS = (0.85, 1.15)
LEVELS_DB = (-40.0, -30.0, -20.0, -10.0, -3.0)

_RANGES = {"speed": (0.5, 2.0), "level": (-60.0, 0.0)} | dict.fromkeys(KINDS, (-60.0, 60.0))


@dataclass(frozen=True)
class Condition:
    """`kind` is "clean", or the kind of sound that is added at `snr_db`.

    `speed` is that of the tape: pitch goes with it. `room` puts the speaker across a room.
    `level_db` is the peak of the clip, in dB of full scale; None leaves it as it was recorded.
    """

    kind: str = "clean"
    snr_db: float = math.inf
    speed: float = 1.0
    room: bool = False
    level_db: float | None = None

    def __str__(self) -> str:
        parts = []
        if self.speed != 1:
            parts.append(f"speed:{self.speed:g}")
        if self.room:
            parts.append("room")
        if self.level_db is not None:
            parts.append(f"level:{self.level_db:g}")
        if self.kind != "clean":
            parts.append(f"{self.kind}:{self.snr_db:g}")
        return "+".join(parts) or "clean"


def parse_condition(text: str) -> Condition:
    """Read "clean", or parts as in this module's picture; raise KwspotError for anything else."""
    if text == "clean":
        return Condition()
    values: dict[str, Any] = {}
    for part in text.split("+"):
        found = _part(part)
        if not found or found.keys() & values.keys():
            raise KwspotError(
                f"{text!r} is no condition: write clean, or one or more of babble:SNR, noise:SNR "
                "or music:SNR (-60 to 60 dB), room, speed:FACTOR (0.5 to 2) and level:DBFS "
                "(-60 to 0), joined with +"
            )
        values |= found
    return dataclasses.replace(Condition(), **values)


def every_condition(material: Material) -> tuple[Condition, ...]:
    """List the conditions that a role has clips for: clean, SNRs of each kind, rooms and so on."""
    found = [Condition()]
    found += [Condition(k, snr) for k in KINDS if has_clips(material, k) for snr in SNRS_DB]
    found += [Condition(room=True)] if material.rooms else []
    found += [Condition(speed=speed) for speed in SPEEDS]
    found += [Condition(level_db=level) for level in LEVELS_DB]
    return tuple(found)


def _part(text: str) -> dict[str, Any]:
    """Read one part as fields of a condition; empty for what is none."""
    if text == "room":
        return {"room": True}
    name, _, number = text.partition(":")
    try:
        value = float(number)
    except ValueError:
        return {}
    if name not in _RANGES or not _RANGES[name][0] <= value <= _RANGES[name][1]:
        return {}
    if name == "speed":
        return {"speed": value}
    return {"level_db": value} if name == "level" else {"kind": name, "snr_db": value}
