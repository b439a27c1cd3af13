"""kwspot as a Wyoming wake-word service, for Home Assistant and its satellites.

```
client 1 -> read_event -> Stream: Converter -> KeywordDetectors -> detection | not-detected | error
client 2 -> read_event -> Stream: the same, over the same loaded models
```

A client's next event is read when the last one has been heard, so what waits lies in the socket of
whoever sends faster than it is heard. Audio is heard in threads; the event loop only reads and
writes.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from kwspot.detector import Detection as Hit
from kwspot.errors import AudioError, KwspotError
from kwspot.wyoming_reader import MAX_HEADER, ProtocolError, read_event
from kwspot.wyoming_stream import BadEvent, Format, Service, Stream

log = logging.getLogger(__name__)
T = TypeVar("T")

WRITE_SECONDS = 10.0  # wall clock; who has not read a few hundred bytes by then is gone
PART_SECONDS = 1.0  # wall clock, for who is refused to read why
KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 8}  # seconds, seconds, tries


class WyomingServer:
    """Serves any number of clients up to `service.max_clients`, each with a stream of its own.

    `uri` is tcp://HOST:PORT or unix://PATH. Raises KwspotError for another, and from `start` where
    it cannot be listened at.
    """

    def __init__(self, service: Service, uri: str) -> None:
        self._service = service
        self._uri = uri
        self._host, self.port, self._path = _address(uri)
        self._clients: set[asyncio.Task[None]] = set()
        self._served = 0  # clients that were not turned away
        # One thread a core: a step keeps one busy, and clients take turns.
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kwspot")

    async def start(self) -> None:
        """Listen from now on. With port 0 the system chooses one, which `port` then tells."""
        try:
            if self._path:
                _remove_socket(self._path)
                self._server = await asyncio.start_unix_server(
                    self._greet, self._path, limit=MAX_HEADER
                )
            else:
                self._server = await asyncio.start_server(
                    self._greet, self._host, self.port, limit=MAX_HEADER
                )
                self.port = self._server.sockets[0].getsockname()[1]
        except OSError as error:
            raise KwspotError(f"cannot listen at {self._uri}: {error.strerror}") from error

    async def stop(self) -> None:
        """End all connections and listen no longer."""
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._threads.shutdown()
        if self._path:
            _remove_socket(self._path)

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a client in; called by asyncio."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except OSError:  # with TimeoutError
            pass  # The client is gone, or does not read: nobody is left to be told.
        except Exception:
            log.exception("a client is dropped: this is an error in kwspot, please report it")
        finally:
            # Closing would wait for who does not read.
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(self._service, self._threads, writer)
        if self._served >= self._service.max_clients:
            reason = f"there are {self._served} clients already: see --max-clients"
            await _part(client, reader, writer, "too-many-clients", reason)
            return
        _keep_alive(writer)
        self._served += 1
        try:
            while (event := await read_event(reader)) is not None:
                await client.handle(event)
        except ProtocolError as error:
            await _part(client, reader, writer, "protocol", str(error))
        finally:
            self._served -= 1


async def _part(
    client: "_Client",
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    code: str,
    reason: str,
) -> None:
    """Send a last error, and wait until the client has closed or had the time to read it."""
    log.warning("a client is turned away: %s", reason)
    await client.refuse(code, reason)
    if writer.can_write_eof():
        writer.write_eof()
    # A socket that is closed with unread bytes in it takes back what it has sent.
    with suppress(TimeoutError):
        async with asyncio.timeout(PART_SECONDS):
            while await reader.read(MAX_HEADER):
                pass


class _Client:
    """One connection: what it wants to hear, and the stream that it sends."""

    def __init__(
        self, service: Service, threads: ThreadPoolExecutor, writer: asyncio.StreamWriter
    ) -> None:
        self._service = service
        self._threads = threads
        self._writer = writer
        self._names = service.names
        self._stream: Stream | None = None
        self._stamp: int | None = None  # milliseconds by the client's clock, of its latest chunk

    async def handle(self, event: Event) -> None:
        """Do what an event asks for, and answer. What cannot be done is answered by an error."""
        try:
            if AudioChunk.is_type(event.type):
                await self._hear(event)
            elif AudioStart.is_type(event.type):
                self._stream = await self._opened(Format.of(event))
            elif AudioStop.is_type(event.type):
                await self._finish()
            elif Detect.is_type(event.type):
                self._choose(event.data.get("names"))
            elif Describe.is_type(event.type):
                await self._send(self._service.info())
            elif Ping.is_type(event.type):
                await self._send(Pong(_text(event.data.get("text"))))
            else:
                log.debug("an event of type %.40r is ignored", event.type)  # as Wyoming asks
        except (AudioError, BadEvent) as error:
            await self.refuse("bad-event", str(error))

    async def refuse(self, code: str, text: str) -> None:
        """Answer by an error."""
        await self._send(Error(text=text, code=code))

    def _choose(self, names: object) -> None:
        """Hear these keywords from now on, all without any, in a new stream."""
        if not isinstance(names, list | None) or not all(isinstance(n, str) for n in names or ()):
            raise BadEvent("names of detect must be a list of texts")
        known = self._service.names
        self._names = tuple(n for n in known if n in names) if names else known
        self._stream = None
        if unknown := sorted(set(names or ()) - set(known)):
            raise BadEvent(f"no model hears {unknown[0][:40]!r}: choose of {', '.join(known)}")

    async def _hear(self, event: Event) -> None:
        pcm = Format.of(event)
        if self._stream is None:  # Some clients send no audio-start.
            self._stream = await self._opened(pcm)
        stamp = event.data.get("timestamp")
        self._stamp = stamp if type(stamp) is int else None
        await self._report(await self._in_thread(self._stream.hear, pcm, event.payload or b""))

    async def _opened(self, pcm: Format) -> Stream:
        self._stamp = None
        return await self._in_thread(Stream, self._service, self._names, pcm)

    async def _finish(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await self._report(await self._in_thread(stream.finish))
        if stream is None or not stream.heard:
            await self._send(NotDetected())

    async def _report(self, hits: list[Hit]) -> None:
        for hit in hits:
            time = round(1000 * hit.end) if self._stamp is None else self._stamp
            await self._send(Detection(name=hit.keyword, timestamp=time, speaker=hit.speaker))

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _send(self, answer: Eventable) -> None:
        async with asyncio.timeout(WRITE_SECONDS):
            await async_write_event(answer.event(), self._writer)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the system find out within minutes that a client was switched off."""
    connection = writer.get_extra_info("socket")
    if connection.family == getattr(socket, "AF_UNIX", None):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if option := getattr(socket, name, None):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _address(uri: str) -> tuple[str | None, int, str]:
    """Split a URI into host and port, or a socket's path."""
    parts = urlsplit(uri)
    with suppress(ValueError):  # of a port that is none
        if parts.scheme == "unix" and parts.path:
            return None, 0, parts.path
        if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
            return parts.hostname, parts.port, ""
    raise KwspotError(f"{uri!r} is no address: give tcp://HOST:PORT or unix:///PATH")


def _remove_socket(path: str) -> None:
    """Remove what an earlier run left; anything but a socket stays, and is then in the way."""
    if Path(path).is_socket():
        Path(path).unlink()
