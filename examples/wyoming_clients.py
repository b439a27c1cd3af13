"""Four clients at once of `kwspot serve`: two listen, one leaves mid-word, one sends garbage.

    kwspot serve --model alexa --uri tcp://127.0.0.1:10400
    python examples/wyoming_clients.py --uri tcp://127.0.0.1:10400

Each prints what it got. The recording is that of `kwspot demo`, in which «alexa» ends at 5.7, 13.6
and 22.4 s; with --speed 1 it is sent as fast as it was spoken.
"""

import argparse
import asyncio
from pathlib import Path

import numpy as np
import soundfile
import soxr
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.wake import Detect, NotDetected

import kwspot

RECORDING = Path(kwspot.__file__).parent / "demo.flac"
CHUNK_SECONDS = 0.064
WAIT = 5.0  # seconds after the last audio, for a server on a busy machine
MID_WORD = 5.3  # seconds; in the first «alexa»


class Client:
    """Sends audio and prints every answer until the server closes or has nothing more to say."""

    def __init__(self, name: str, uri: str, speed: float) -> None:
        self.name, self.uri, self.speed = name, uri, speed
        self.got: list[Event] = []

    async def run(self, samples: np.ndarray, rate: int, *, garbage: bytes = b"") -> list[Event]:
        """Send samples (n, C) of int16, then garbage if there is some; return the answers."""
        async with AsyncClient.from_uri(self.uri) as client:
            reading = asyncio.create_task(self.read(client))
            await self.send(client, samples, rate)
            if garbage:
                client._writer.write(garbage)
            else:
                await client.write_event(AudioStop().event())
            await asyncio.wait([reading], timeout=WAIT)  # who was detected gets no not-detected
            reading.cancel()
        return self.got

    async def leave(self, samples: np.ndarray, rate: int) -> list[Event]:
        """Send samples and hang up."""
        async with AsyncClient.from_uri(self.uri) as client:
            reading = asyncio.create_task(self.read(client))
            await self.send(client, samples, rate)
            reading.cancel()
        print(f"{self.name:<10} left")
        return self.got

    async def send(self, client: AsyncClient, samples: np.ndarray, rate: int) -> None:
        """Send samples (n, C) of int16 as a stream without an end."""
        form = {"rate": rate, "width": 2, "channels": samples.shape[1]}
        await client.write_event(Detect().event())
        await client.write_event(AudioStart(**form).event())
        step = round(CHUNK_SECONDS * rate)
        for start in range(0, len(samples), step):
            audio = samples[start : start + step].tobytes()
            chunk = AudioChunk(**form, audio=audio, timestamp=1000 * start // rate)
            await client.write_event(chunk.event())
            await asyncio.sleep(CHUNK_SECONDS / self.speed)

    async def read(self, client: AsyncClient) -> None:
        """Collect and print answers."""
        while (event := await client.read_event()) is not None:
            self.got.append(event)
            print(f"{self.name:<10} {event.type:<13} {event.data}")
            if NotDetected.is_type(event.type):
                return


async def clients(uri: str, speed: float) -> dict[str, list[Event]]:
    """Run all four at once; return what each got."""
    mono, rate = soundfile.read(RECORDING, dtype="int16", always_2d=True)
    late = soxr.resample(mono[8 * rate :].repeat(2, axis=1), rate, 48_000)
    noise = np.random.default_rng(0).bytes(50_000)
    runs = {
        "whole": Client("whole", uri, speed).run(mono, rate),
        "late, 48k": Client("late, 48k", uri, speed).run(late, 48_000),
        "leaver": Client("leaver", uri, speed).leave(mono[: round(MID_WORD * rate)], rate),
        "garbage": Client("garbage", uri, speed).run(mono[: 3 * rate], rate, garbage=noise),
    }
    return dict(zip(runs, await asyncio.gather(*runs.values()), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uri", default="tcp://127.0.0.1:10400")
    parser.add_argument("--speed", type=float, default=20.0, help="times real time (default: 20)")
    args = parser.parse_args()
    asyncio.run(clients(args.uri, args.speed))


if __name__ == "__main__":
    main()
