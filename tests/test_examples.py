"""The examples run as they stand, on the recording of `kwspot demo`."""

import asyncio
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

EXAMPLES = Path(__file__).parents[1] / "examples"
DEMO = EXAMPLES.parent / "kwspot" / "demo.flac"
SPOKEN = [5, 13, 22]  # seconds at which the recording's keywords end


def run(script: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60)


def seconds(output: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"(\d+)\.\d\d s", output)]


@pytest.mark.parametrize("script", ["in_a_thread.py", "in_asyncio.py"])
def test_listening_beside_other_work(script: str) -> None:
    done = run(script, str(DEMO))
    assert (seconds(done.stdout), done.stderr) == (SPOKEN, b"")


def test_own_audio() -> None:
    samples, _ = soundfile.read(DEMO, dtype="int16")
    done = run("own_audio.py", stdin=samples.tobytes())
    assert (seconds(done.stdout), done.stderr) == (SPOKEN, b"")


def test_an_led_blinks_at_each_detection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpiozero.py").write_text(
        "class LED:\n"
        "    def __init__(self, pin): self.pin = pin\n"
        "    def blink(self, on_time, n): print('pin', self.pin, 'on')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = run("gpio_led.py", str(DEMO))
    assert (done.stdout.count(b"pin 17 on"), done.stderr) == (3, b"")
    (tmp_path / "gpiozero.py").write_text("raise ImportError('No module named gpiozero')")
    done = run("gpio_led.py", str(DEMO))
    assert done.returncode == 1 and b"pip install gpiozero" in done.stderr


def test_a_browser_is_served_the_page_and_told_what_was_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    monkeypatch.syspath_prepend(EXAMPLES / "websocket")
    import server as example

    samples, _ = soundfile.read(DEMO, dtype="int16")

    async def hear(url: str) -> list[dict]:
        hits = []
        async with connect(url) as socket:

            async def collect() -> None:
                async for message in socket:
                    hits.append(json.loads(message))

            collecting = asyncio.create_task(collect())
            for chunk in np.split(samples, range(1600, len(samples), 1600)):
                await socket.send(chunk.tobytes())
            for _ in range(200):
                if len(hits) == len(SPOKEN):
                    break
                await asyncio.sleep(0.05)
            collecting.cancel()
        return hits

    async def test() -> None:
        server = await example.start(0)
        port = server.sockets[0].getsockname()[1]
        url = f"ws://localhost:{port}"
        one, two = await asyncio.gather(hear(url), hear(url))
        assert one == two and [int(hit["end"]) for hit in one] == SPOKEN
        for bad in (b"odd", "text"):
            async with connect(url) as socket:
                await socket.send(bad)
                with pytest.raises(ConnectionClosed, match=r"1003.*send int16"):
                    await socket.recv()
        page = await asyncio.to_thread(urllib.request.urlopen, f"http://localhost:{port}/")
        with page:
            assert b"getUserMedia" in page.read()
        server.close()
        await server.wait_closed()

    asyncio.run(test())


def test_every_example_is_listed() -> None:
    listed = set(re.findall(r"^\| \[.*?\]\((.*?)\)", (EXAMPLES / "README.md").read_text(), re.M))
    there = {path.name for path in EXAMPLES.iterdir()} - {"README.md", "__pycache__"}
    assert listed == there
