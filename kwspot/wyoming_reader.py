"""Reads Wyoming events from a stream, with a bound on everything that the other side may send.

```
{"type": ..., "data_length": n, "payload_length": m} LF, n bytes of JSON, m bytes of audio
```

The package's own reader waits for as many bytes as the header promises, and ends a connection
without a word at the first that is wrong.
"""

import asyncio
import json
from typing import Any

from wyoming.event import Event

from kwspot.errors import KwspotError

MAX_HEADER = 1 << 14  # bytes; those of known clients have some 100
MAX_DATA = 1 << 16  # bytes of JSON
MAX_PAYLOAD = 1 << 18  # bytes, 8 s of int16 at 16 kHz; satellites send a tenth of a second


class ProtocolError(KwspotError):
    """Bytes that are no event: what comes after them cannot be told from audio."""


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Wait for the next event; None at the end of the stream, between two or inside one.

    `reader` must have been made with the limit MAX_HEADER. Raises ProtocolError for what is no
    event, or too large.
    """
    try:
        line = await reader.readuntil(b"\n")
        header = _object(line, "the header of an event")
        if not isinstance(kind := header.get("type"), str):
            raise ProtocolError('an event has no type: send {"type": "...", ...} and a line feed')
        data = header.get("data") or {}
        if not isinstance(data, dict):
            raise ProtocolError("the data of an event is no JSON object")
        data_length = _length(header, "data_length", MAX_DATA)
        payload_length = _length(header, "payload_length", MAX_PAYLOAD)
        if data_length:
            data |= _object(await reader.readexactly(data_length), "the data of an event")
        payload = await reader.readexactly(payload_length) if payload_length else None
    except asyncio.LimitOverrunError as error:
        raise ProtocolError(
            f"a header is longer than {MAX_HEADER} bytes: is this Wyoming?"
        ) from error
    except asyncio.IncompleteReadError:
        return None
    return Event(type=kind, data=data, payload=payload)


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # the second for thousands of brackets
        raise ProtocolError(f"{what} is not JSON: is this Wyoming?") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} is no JSON object: is this Wyoming?")
    return value


def _length(header: dict[str, Any], name: str, most: int) -> int:
    value = header.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= most:
        raise ProtocolError(f"{name} is {str(value)[:40]}: it must be 0 to {most} bytes")
    return value
