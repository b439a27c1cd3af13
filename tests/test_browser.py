"""The pages of examples/ in a headless Chromium: what JavaScript hears is what Python hears."""

import asyncio
import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import Browser, needs_browser, website

from kwspot import KeywordDetector
from kwspot.features import FrontEnd, LogMel
from kwspot.modelfile import dump_info

ROOT = Path(__file__).parents[1]
BROWSER = ROOT / "examples" / "browser"
MODEL = ROOT / "models" / "alexa.onnx"
DEMO = ROOT / "kwspot" / "demo.flac"
SECONDS = 7  # of the demo: one of its keywords

pytestmark = [
    pytest.mark.slow,  # sounds are played as they were spoken
    needs_browser,
]
with_runtime = pytest.mark.skipif(
    not (BROWSER / "node_modules" / "onnxruntime-web").is_dir(),
    reason="onnxruntime-web is not installed: npm install --prefix examples/browser",
)
SETUP = """
    const ort = await import("./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
    const kwspot = await import("./kwspot.js");
    ort.env.wasm.numThreads = 1;
    const floats = (text) =>
      new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
"""


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples, rate = soundfile.read(DEMO, dtype="int16", frames=16_000 * SECONDS)
    path = tmp_path_factory.mktemp("microphone") / "demo.wav"
    soundfile.write(path, samples, rate)
    return path


def as_text(samples: np.ndarray) -> str:
    return base64.b64encode(samples.astype("<f4").tobytes()).decode()


@contextmanager
def page_at(address: str, microphone: Path, folder: Path) -> Iterator[Browser]:
    with Browser(folder / "profile", microphone) as page:
        page.open(address)
        yield page


def wait_for_hit(page: Browser) -> list[tuple[str, float]]:
    """Press the button, hear the whole file, and return what the page lists."""
    page.evaluate("document.getElementById('start').click()")
    deadline = time.monotonic() + SECONDS + 20
    while " at " not in page.text() and time.monotonic() < deadline:
        time.sleep(0.2)
    found = re.findall(r"(\w+) at ([\d.]+) s", page.text())
    assert found, page.text()
    return [(keyword, float(end)) for keyword, end in found]


@with_runtime
def test_scores_and_detections_in_javascript_are_those_of_python(
    microphone: Path, tmp_path: Path
) -> None:
    samples, _ = soundfile.read(DEMO, dtype="float32")
    detector = KeywordDetector(MODEL, vad="off", verify=False)
    expected, hits = detector.score(samples), list(detector.listen(samples))
    script = f"""(async () => {{ {SETUP}
        const detector = await kwspot.KeywordDetector.load("../../models/alexa.onnx", ort);
        const samples = floats("{as_text(samples)}"), scores = [], hits = [];
        for (let at = 0; at < samples.length; at += 1000)  // no multiple of a step
          hits.push(...await detector.process(samples.subarray(at, at + 1000), scores));
        return {{ info: detector.info, scores, hits }};
    }})()"""
    with website(ROOT) as site, page_at(f"{site}/examples/browser/", microphone, tmp_path) as page:
        found = page.evaluate(script)
    assert found["info"] == json.loads(dump_info(detector.info))
    np.testing.assert_allclose(found["scores"], expected, atol=1e-4)
    listed = [(h["keyword"], h["start"], h["end"]) for h in found["hits"]]
    assert listed == [(h.keyword, h.start, h.end) for h in hits if h.end < 27.0] != []


@with_runtime
def test_features_in_javascript_are_those_of_python(microphone: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    samples = (rng.standard_normal(16_000) * np.repeat([0, 1e-5, 1e-3, 0.3], 4000)).astype("f4")
    script = f"""(async () => {{ {SETUP}
        const front = {json.dumps(vars(FrontEnd()))};
        return [...new kwspot.LogMel(front).of(floats("{as_text(samples)}"))];
    }})()"""
    with website(ROOT) as site, page_at(f"{site}/examples/browser/", microphone, tmp_path) as page:
        found = np.array(page.evaluate(script))
    expected = LogMel(FrontEnd())(samples)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=2e-4)


@with_runtime
def test_the_page_hears_in_its_microphone_what_python_hears_in_the_file(
    microphone: Path, tmp_path: Path
) -> None:
    with website(ROOT) as site, page_at(f"{site}/examples/browser/", microphone, tmp_path) as page:
        ((keyword, end),) = wait_for_hit(page)
    (hit,) = KeywordDetector(MODEL, vad="off", verify=False).listen(microphone)
    # The file begins to play a moment before the page listens, or after it.
    assert keyword == hit.keyword and abs(end - hit.end) < 1.5


def test_the_websocket_page_hears_in_its_microphone_what_python_hears_in_the_file(
    microphone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    monkeypatch.syspath_prepend(ROOT / "examples" / "websocket")
    import server as example

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(example.start(0), loop).result(10)
    family, port = server.sockets[0].family.name, server.sockets[0].getsockname()[1]
    host = "[::1]" if family == "AF_INET6" else "127.0.0.1"
    try:
        with page_at(f"http://{host}:{port}/", microphone, tmp_path) as page:
            ((keyword, end),) = wait_for_hit(page)
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
    (hit,) = KeywordDetector("alexa").listen(microphone)
    assert keyword == hit.keyword and abs(end - hit.end) < 1.5
