"""Listening for asyncio: the detector works in a thread, detections arrive in the event loop.

```
source -> thread: KeywordDetector.listen -> queue -> async for
async source -> event loop -> thread: KeywordDetector.process -> async for
```
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from kwspot.features import FloatArray
from kwspot.sources import Source, as_source

if TYPE_CHECKING:
    from kwspot.detector import Detection, KeywordDetector

LEAVE_SECONDS = 0.5  # wall clock; a microphone delivers, and lets go, every 0.04


def detections(detector: "KeywordDetector", source: Any) -> AsyncGenerator["Detection", None]:
    """Yield what `detector` hears in a source; the implementation of `KeywordDetector.alisten`."""
    hear = _hear_async if isinstance(source, AsyncIterable) else _hear_in_thread
    return hear(detector, source)


async def _hear_async(
    detector: "KeywordDetector", chunks: AsyncIterable[npt.NDArray[Any]]
) -> AsyncGenerator["Detection", None]:
    detector.reset()
    async for samples in chunks:
        for hit in await asyncio.to_thread(detector.process, samples):
            yield hit
    for hit in await asyncio.to_thread(detector.finish):
        yield hit


async def _hear_in_thread(
    detector: "KeywordDetector", source: Any
) -> AsyncGenerator["Detection", None]:
    """Listen in a thread, which goes on while whoever is told of a detection is busy."""
    audio = as_source(source)
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Detection | BaseException | None] = asyncio.Queue()
    left, ended = threading.Event(), asyncio.Event()

    def listen() -> None:
        last = None
        try:
            for hit in detector.listen(_until(left, audio)):
                loop.call_soon_threadsafe(queue.put_nowait, hit)
        except BaseException as error:  # raised again below
            last = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(queue.put_nowait, last)
            loop.call_soon_threadsafe(ended.set)

    # Not the loop's executor: a pipe that delivers nothing would keep the program from ending.
    threading.Thread(target=listen, name="kwspot", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await ended.wait()  # so that the detector is free for what comes next


def _until(left: threading.Event, audio: Source) -> Iterator[FloatArray]:
    for samples in audio:
        if left.is_set():
            return
        yield samples
