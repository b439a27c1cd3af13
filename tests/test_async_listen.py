"""Listening in asyncio: the same detections, and nothing is held up or left behind."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from sound import words

from kwspot import AudioError, Chunks, KeywordDetector
from kwspot.model import OnnxModel

AUDIO = words(6.0, seed=1)


@pytest.fixture
def detector(tiny_model: OnnxModel) -> Iterator[KeywordDetector]:
    yield KeywordDetector(tiny_model)
    for thread in threading.enumerate():
        if thread.name == "kwspot":
            thread.join(10)
            assert not thread.is_alive()


async def arrays() -> AsyncIterator[np.ndarray]:
    for chunk in np.split(AUDIO, 100):
        await asyncio.sleep(0)
        yield chunk


class Endless:
    """A live source of blocks of 5 ms, until nobody takes them."""

    live = True

    def __init__(self) -> None:
        self.left = False

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while True:
                for block in np.split(AUDIO, 20):
                    time.sleep(0.005)
                    yield block
        finally:
            self.left = True


@pytest.mark.parametrize(
    "make", [lambda: AUDIO, lambda: Chunks(np.split(AUDIO, 100)), arrays], ids=str
)
def test_detections_are_those_of_listen(detector: KeywordDetector, make) -> None:
    async def run() -> list:
        return [hit async for hit in detector.alisten(make())]

    for _ in range(2):
        assert asyncio.run(run()) == list(detector.listen(AUDIO)) != []


def test_other_tasks_run_meanwhile(detector: KeywordDetector) -> None:
    def slow() -> Iterator[np.ndarray]:
        time.sleep(0.1)
        yield AUDIO

    async def run() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        async for _ in detector.alisten(slow()):
            pass
        ticking.cancel()
        return ticks

    assert asyncio.run(run()) > 3


def test_who_breaks_leaves_the_source_and_may_use_the_detector(detector: KeywordDetector) -> None:
    source = Endless()

    async def run() -> None:
        hits = detector.alisten(source)
        async for _ in hits:
            break
        await hits.aclose()
        assert source.left
        assert [hit async for hit in detector.alisten(AUDIO)] == list(detector.listen(AUDIO))

    asyncio.run(run())


def test_a_cancelled_task_leaves_the_source(detector: KeywordDetector) -> None:
    source = Endless()

    async def listen() -> None:
        async for _ in detector.alisten(source):
            pass

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listen(), 0.05)
        assert source.left

    asyncio.run(run())


def test_a_source_that_fails_is_raised_after_what_was_heard(detector: KeywordDetector) -> None:
    async def run(source: object) -> list:
        hits = []
        with pytest.raises(AudioError):
            async for hit in detector.alisten(source):
                hits.append(hit)
        return hits

    def broken() -> Iterator[np.ndarray]:
        yield AUDIO
        yield np.full(10, np.nan, np.float32)

    hits = asyncio.run(run(broken()))
    detector.reset()
    assert hits == detector.process(AUDIO)
    assert asyncio.run(run("gone.wav")) == []
    assert asyncio.run(run(5)) == []


def test_a_pipe_that_delivers_nothing_does_not_keep_the_loop_from_ending(
    detector: KeywordDetector,
) -> None:
    deliver = threading.Event()

    def stuck() -> Iterator[np.ndarray]:
        deliver.wait(30)
        yield AUDIO

    async def listen() -> None:
        async for _ in detector.alisten(stuck()):
            pass

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listen(), 0.01)

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 10
    deliver.set()
