"""A browser's microphone, heard by kwspot on the server.

```
page.html: getUserMedia -> AudioContext at 16 kHz -> AudioWorklet -> int16 by websocket -> alisten
           list of detections                                    <- JSON by websocket  <-
```

    pip install websockets
    python examples/websocket/server.py
    open http://localhost:8765

Browsers give the microphone to pages from localhost and over HTTPS only: for other machines, put a
proxy with a certificate in front.
"""

import argparse
import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from kwspot import KeywordDetector, load_model

MODEL = load_model("alexa")  # one, shared by all connections
MAX_MESSAGE = 1 << 16  # bytes, 2 s; the page sends a tenth of a second
PAGE = (Path(__file__).parent / "page.html").read_bytes()


async def samples(connection: ServerConnection) -> AsyncIterator[np.ndarray]:
    """Yield each message as int16 (n,); text and odd bytes are not audio."""
    async for message in connection:
        if isinstance(message, str) or len(message) % 2:
            await connection.close(1003, "send int16 at 16 kHz, mono, as binary messages")
            return
        yield np.frombuffer(message, "<i2")


async def hear(connection: ServerConnection) -> None:
    """Send every detection in a connection's audio as JSON."""
    try:
        async for hit in KeywordDetector(MODEL).alisten(samples(connection)):
            await connection.send(json.dumps(dataclasses.asdict(hit)))
    except ConnectionClosed:
        pass  # with a last word in it


def page(connection: ServerConnection, request: Request) -> Response | None:
    """Answer plain HTTP with the page, and let websockets pass."""
    if "Upgrade" in request.headers:
        return None
    headers = Headers({"Content-Type": "text/html; charset=utf-8", "Content-Length": len(PAGE)})
    return Response(HTTPStatus.OK, "OK", headers, PAGE)


async def start(port: int) -> Server:
    """Serve the page and the websocket on this machine."""
    # Few messages wait: who sends faster than we hear is slowed down.
    return await serve(
        hear, "localhost", port, process_request=page, max_size=MAX_MESSAGE, max_queue=8
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description="Hear a browser's microphone.")
    parser.add_argument("--port", type=int, default=8765)
    args = parser.parse_args()
    server = await start(args.port)
    print(f"open http://localhost:{args.port}")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
