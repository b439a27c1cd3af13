"""A headless Chromium that hears a WAV file as its microphone, driven by its debugging protocol."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Page:
    """One page; `evaluate` runs JavaScript in it and returns what its promise gives."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._calls = socket, 0

    def call(self, method: str, **params: object) -> dict[str, Any]:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(60))).get("id") != self._calls:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        wrapped = {"expression": script, "awaitPromise": True, "returnByValue": True}
        result = self.call("Runtime.evaluate", **wrapped, userGesture=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def text(self) -> str:
        return self.evaluate("document.body.innerText")


@contextmanager
def browser(url: str, microphone: Path, profile: Path) -> Iterator[Page]:
    """Open a URL; the WAV file is played once to who asks for a microphone."""
    from websockets.sync.client import connect

    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",  # which containers do not let it have
        "--disable-gpu",
        "--remote-debugging-port=0",
        "--remote-allow-origins=*",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        try:
            with connect(_address(profile), max_size=None) as socket:
                page = Page(socket)
                page.call("Page.navigate", url=url)
                shown = f"location.href == {json.dumps(url)} && document.readyState == 'complete'"
                while not page.evaluate(shown):
                    time.sleep(0.05)
                yield page
        finally:
            process.terminate()


def _address(profile: Path) -> str:
    """Wait until the browser has a page, and return where to talk to it."""
    for _ in range(300):
        time.sleep(0.1)
        try:
            port = (profile / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = json.load(answer)
        except OSError:
            continue
        for page in pages:
            if page["type"] == "page":
                return page["webSocketDebuggerUrl"]
    raise TimeoutError("the browser does not start")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def website(folder: Path) -> Iterator[str]:
    """Serve a folder; yields its URL."""
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Quiet, directory=os.fspath(folder))
    ) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
