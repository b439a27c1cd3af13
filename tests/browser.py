"""A headless Chromium that is told what to do through its DevTools pipe (no driver is needed)."""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120.0  # seconds; a browser that starts on a busy machine
OPTIONS = (
    *("--headless", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"),
    "--no-sandbox",  # refused to root, as whom containers run; it opens our own page only
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
)


PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


class Browser:
    """One page in a browser of its own; `requests` are the addresses that it asked for.

    A WAV file as `microphone` is played once to a page that listens.
    """

    def __init__(self, profile: Path, microphone: Path | None = None) -> None:
        hearing = (
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        )
        options = (*OPTIONS, f"--user-data-dir={profile}", *(hearing if microphone else ()))
        reads, self._write = os.pipe()
        self._read, writes = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4.
        command = f'exec "$0" "$@" 3<&{reads} 4>&{writes}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, str(PROGRAM), *options, "about:blank"],
            pass_fds=(reads, writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._pending, self._number, self._session = b"", 0, {}
        self.requests: list[str] = []
        self._loaded = False
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self._call("Page.enable")
        self._call("Network.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def open(self, address: str) -> None:
        self._loaded = False
        self._call("Page.navigate", url=address)
        deadline = time.monotonic() + PATIENCE
        while not self._loaded:
            self._note(self._receive(deadline))

    def evaluate(self, script: str) -> Any:
        """Return what an expression, or the promise that it gives, becomes."""
        answer = self._call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self) -> str:
        """Return what a reader of the page sees."""
        return str(self.evaluate("document.body.innerText"))

    def players(self) -> list[tuple[bool, float]]:
        """Return of each audio player whether the browser can play it, and its seconds."""
        found = self.evaluate(
            """Promise.all([...document.querySelectorAll("audio")].map(async (player) => {
                 if (player.readyState < 1) await new Promise((done) => {
                   player.onloadedmetadata = player.onerror = done;
                 });
                 return [player.error === null, player.duration];
               }))"""
        )
        return [(sound, seconds) for sound, seconds in found]

    def play_first(self) -> Any:
        """Play the first audio player to its end; return the seconds played, or what failed."""
        return self.evaluate(
            """new Promise((done) => {
                 const player = document.querySelector("audio");
                 player.onended = () => done(player.currentTime);
                 player.onerror = () => done(player.error.message);
                 player.play();
               })"""
        )

    def assert_plots(self, count: int) -> None:
        """See that so many plots have a size and curves, and that nothing is too wide to read."""
        plots = self.evaluate(
            """[...document.querySelectorAll("figure svg")].map((plot) => {
                 const box = plot.getBoundingClientRect();
                 return [box.width, box.height, plot.querySelectorAll("path").length];
               })"""
        )
        assert len(plots) == count
        assert all(width > 300 and height > 100 and paths > 10 for width, height, paths in plots)
        assert self.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def assert_alone(self, page: Path) -> None:
        """See that a page asked for nothing but itself."""
        assert {address.partition(":")[0] for address in self.requests} == {"file", "data"}
        files = [address for address in self.requests if address.startswith("file:")]
        assert files == [page.as_uri()]

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while (answer := self._receive(deadline)).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        self._loaded |= event.get("method") == "Page.loadEventFired"

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 16)
            assert part, "the browser has ended"
            self._pending += part
        line, _, self._pending = self._pending.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def website(folder: Path) -> Iterator[str]:
    """Serve a folder; yields its URL."""
    handler = partial(_Quiet, directory=os.fspath(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
