"""Listen in asyncio, beside other tasks.

    python examples/in_asyncio.py [RECORDING]

Without a recording it hears the microphone, until Ctrl-C.
"""

import asyncio
import sys

from kwspot import KeywordDetector, Microphone


async def listen() -> None:
    """Print what is heard; the detector works in a thread."""
    detector = KeywordDetector("alexa")
    source = sys.argv[1] if len(sys.argv) > 1 else Microphone()
    async for hit in detector.alisten(source):
        print(f"{hit.keyword} at {hit.end:.2f} s", flush=True)


async def count() -> None:
    """Do something else."""
    while True:
        await asyncio.sleep(1)


async def main() -> None:
    counting = asyncio.create_task(count())
    await listen()
    counting.cancel()


asyncio.run(main())
