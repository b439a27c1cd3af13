"""The Wyoming service, over real sockets, by the client of the wyoming package."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
from sound import as_int16, voice, words
from tiny import INFO, write_model

from kwspot import KeywordDetector, KwspotError
from kwspot.cli import main
from kwspot.convert import Converter
from kwspot.enrolment import Enrolment
from kwspot.loader import load_model
from kwspot.model import Model, OnnxModel
from kwspot.voices import write_profile

pytest.importorskip("wyoming", reason="the extra wyoming is not installed")

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from kwspot import wyoming_server
from kwspot.wyoming_reader import MAX_DATA, MAX_HEADER, MAX_PAYLOAD
from kwspot.wyoming_server import WyomingServer
from kwspot.wyoming_stream import Service

CHUNK = 1024  # samples, as satellites send
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def nothing_is_an_error_of_the_server(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def serving(
    test: Callable[[str], Awaitable[None]],
    *models: Model,
    max_clients: int = 16,
) -> None:
    """Run a server of these models, and a test that is given its URI."""

    async def run() -> None:
        service = Service(models, KeywordDetector, "1.2.3", max_clients=max_clients)
        server = WyomingServer(service, "tcp://127.0.0.1:0")
        await server.start()
        try:
            async with asyncio.timeout(60):
                await test(f"tcp://127.0.0.1:{server.port}")
        finally:
            await server.stop()

    asyncio.run(run())


def chunks(samples: np.ndarray, rate: int = 16000, channels: int = 1) -> list[AudioChunk]:
    """Cut samples (n * C,) of any type as a satellite would, with times that begin at 5000 ms."""
    size = CHUNK * channels
    return [
        AudioChunk(
            rate=rate,
            width=samples.itemsize,
            channels=channels,
            audio=samples[start : start + size].tobytes(),
            timestamp=5000 + 1000 * start // channels // rate,
        )
        for start in range(0, len(samples), size)
    ]


async def say(client: AsyncClient, audio: list[AudioChunk]) -> None:
    first = audio[0]
    await client.write_event(AudioStart(first.rate, first.width, first.channels).event())
    for chunk in audio:
        await client.write_event(chunk.event())
    await client.write_event(AudioStop().event())


async def answers(client: AsyncClient, until: type = Pong) -> list[Event]:
    """Read until an event of a type, or the end; a ping makes the server send a last pong."""
    if until is Pong:
        await client.write_event(Ping().event())
    events = []
    while (event := await client.read_event()) is not None and not until.is_type(event.type):
        events.append(event)
    return events


async def converse(uri: str, audio: list[AudioChunk]) -> list[Event]:
    """Send one stream and return what comes back."""
    async with AsyncClient.from_uri(uri) as client:
        _, events = await asyncio.gather(say(client, audio), answers(client, NotDetected))
        return events


def expected(model: Model, audio: list[AudioChunk]) -> list[tuple[str, int]]:
    """Return name and timestamp of each detection: that of the chunk that completes it."""
    detector, found = KeywordDetector(model), []
    for chunk in audio:
        for hit in detector.process(np.frombuffer(chunk.audio, np.int16)):
            found.append((hit.keyword, chunk.timestamp))
    return found + [(hit.keyword, audio[-1].timestamp) for hit in detector.finish()]


async def heard(uri: str, audio: list[AudioChunk]) -> list[tuple[str, int]]:
    async with AsyncClient.from_uri(uri) as client:
        await say(client, audio)
        return named(await answers(client))


def named(events: list[Event]) -> list[tuple[str, int]]:
    hits = [Detection.from_event(e) for e in events if Detection.is_type(e.type)]
    return [(hit.name, hit.timestamp) for hit in hits]


def test_describe_tells_the_keywords_with_language_and_licence(tiny_model: OnnxModel) -> None:
    async def test(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            (program,) = Info.from_event(event).wake
            (model,) = program.models
            assert (model.name, model.phrase, model.languages) == ("tiny", "tiny", ["en"])
            assert model.attribution.name == "tiny, Apache-2.0"
            assert model.installed and program.installed and program.version == "1.2.3"

    serving(test, tiny_model)


def test_a_stream_gives_the_detections_of_a_detector_with_their_chunks(
    tiny_model: OnnxModel,
) -> None:
    audio = chunks(as_int16(words(6.0, seed=1)))

    async def test(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Detect(["tiny"]).event())
            for _ in range(2):  # a second stream is heard as the first
                await say(client, audio)
                events = await answers(client)
                assert named(events) == expected(tiny_model, audio) != []
                assert all(Detection.is_type(event.type) for event in events)

    serving(test, tiny_model)


def test_without_timestamps_a_detection_has_the_time_in_its_stream(tiny_model: OnnxModel) -> None:
    samples = as_int16(words(4.0, seed=1))
    audio = chunks(samples)
    for chunk in audio:
        chunk.timestamp = None
    detector = KeywordDetector(tiny_model)
    hits = detector.process(samples) + detector.finish()

    async def test(uri: str) -> None:
        assert await heard(uri, audio) == [("tiny", round(1000 * hit.end)) for hit in hits]

    serving(test, tiny_model)


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_audio_of_any_format_is_heard(
    tiny_model: OnnxModel, rate: int, channels: int, width: int
) -> None:
    sound = np.repeat(words(3.0, seed=2)[: rate * 3], channels) / 2
    if width == 1:
        samples = (sound * 128 + 128).astype(np.uint8)
    elif width == 2:
        samples = as_int16(sound)
    else:
        samples = (sound * 2**31).astype(np.int32) & ~0xFF  # what 24 bits can say
    detector, converter = KeywordDetector(tiny_model), Converter(rate, channels)
    mono = [converter.convert(samples), converter.convert(np.zeros(0, np.float32), last=True)]
    hits = detector.process(np.concatenate(mono)) + detector.finish()
    audio = chunks(samples, rate, channels)
    for chunk in audio:
        chunk.timestamp = None
        if width == 3:
            chunk.width = 3
            chunk.audio = np.frombuffer(chunk.audio, np.uint8).reshape(-1, 4)[:, 1:].tobytes()

    async def test(uri: str) -> None:
        assert await heard(uri, audio) == [("tiny", round(1000 * hit.end)) for hit in hits] != []

    serving(test, tiny_model)


def test_a_stream_without_the_word_ends_in_not_detected(tiny_model: OnnxModel) -> None:
    async def test(uri: str) -> None:
        silence = chunks(np.zeros(16000, np.int16))
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(AudioStop().event())  # without any audio
            await say(client, silence)
            await say(client, chunks(as_int16(words(4.0, seed=1))))
            await say(client, silence)
            kinds = [event.type for event in await answers(client)]
        assert kinds[:2] == ["not-detected", "not-detected"] and kinds[-1] == "not-detected"
        assert set(kinds[2:-1]) == {"detection"}

    serving(test, tiny_model)


def test_clients_choose_among_several_models(tiny_path: Path, tmp_path: Path) -> None:
    keywords = (INFO.keywords[0].__class__("other", INFO.keywords[0].operating_points, 0.3),)
    path = write_model(tmp_path / "other.onnx", name="other", keywords=keywords)
    models = OnnxModel(tiny_path), OnnxModel(path)
    audio = chunks(as_int16(words(3.0, seed=1)))

    async def test(uri: str) -> None:
        async def names(wanted: list[str] | None) -> set[str]:
            async with AsyncClient.from_uri(uri) as client:
                await client.write_event(Detect(wanted).event())
                await say(client, audio)
                return {e.data.get("name", e.type) for e in await answers(client)}

        assert await names(None) == await names([]) == {"tiny", "other"}
        assert await names(["other"]) == {"other"}
        assert await names(["tiny", "nobody"]) == {"error", "tiny"}
        assert await names(["nobody"]) == {"error", "not-detected"}

    serving(test, *models)
    with pytest.raises(KwspotError, match="two of the models hear 'tiny'"):
        Service((models[0], models[0]), KeywordDetector, "1")


def test_clients_lose_nothing_when_others_leave_send_garbage_or_do_not_read(
    tiny_model: OnnxModel,
) -> None:
    first, second = (chunks(as_int16(words(8.0, seed=seed))) for seed in (1, 2))

    async def leaves(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            for chunk in second[:40]:
                await client.write_event(chunk.event())
            client._writer.write(b'{"type": "audio-chunk", "payload_length": 2048}\nhalf')

    async def babbles(uri: str) -> list[Event]:
        async with AsyncClient.from_uri(uri) as client:
            for chunk in first[:20]:
                await client.write_event(chunk.event())
            client._writer.write(np.random.default_rng(1).bytes(100_000))
            return await answers(client, NotDetected)

    async def does_not_read(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            line = b'{"type": "describe"}\n'
            client._writer.write(line * 20_000)
            await asyncio.sleep(0.5)

    async def test(uri: str) -> None:
        one, two, _, garbage, _ = await asyncio.gather(
            heard(uri, first), heard(uri, second), leaves(uri), babbles(uri), does_not_read(uri)
        )
        assert one == expected(tiny_model, first) and two == expected(tiny_model, second)
        assert one != two
        assert Error.is_type(garbage[-1].type)

    serving(test, tiny_model)


BAD = {"rate": 16000, "width": 2, "channels": 1}


@pytest.mark.parametrize(
    "event",
    [
        Event("audio-start", {}),
        Event("audio-start", BAD | {"rate": "16000"}),
        Event("audio-start", BAD | {"rate": True}),
        Event("audio-start", BAD | {"rate": 10}),
        Event("audio-start", BAD | {"width": 5}),
        Event("audio-start", BAD | {"width": 0}),
        Event("audio-start", BAD | {"channels": 0}),
        Event("audio-start", BAD | {"channels": -1}),
        Event("audio-start", BAD | {"channels": 1000}),
        Event("audio-chunk", {}),
        Event("audio-chunk", BAD, b"odd"),
        Event("audio-chunk", BAD | {"rate": 8000}, b"even"),
        Event("detect", {"names": "tiny"}),
        Event("detect", {"names": [1]}),
        Event("detect", {"names": {"tiny": 1}}),
    ],
    ids=str,
)
def test_an_event_that_cannot_be_followed_is_answered_and_the_stream_goes_on(
    tiny_model: OnnxModel, event: Event
) -> None:
    audio = chunks(as_int16(words(3.0, seed=1)))

    async def test(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            for chunk in audio[:10]:
                await client.write_event(chunk.event())
            await client.write_event(event)
            for chunk in audio[10:]:
                await client.write_event(chunk.event())
            await client.write_event(AudioStop().event())
            events = await answers(client)
        (error,) = (Error.from_event(e) for e in events if Error.is_type(e.type))
        assert error.code == "bad-event" and "\n" not in error.text
        if event.type != "detect":
            assert named(events) == expected(tiny_model, audio)

    serving(test, tiny_model)


def test_unknown_events_and_odd_timestamps_are_let_pass(tiny_model: OnnxModel) -> None:
    async def test(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Event("select-program", {"name": "kwspot"}))
            await client.write_event(Event("audio-chunk", BAD | {"timestamp": "now"}, b"even"))
            await client.write_event(Event("audio-chunk", BAD))
            await client.write_event(Ping("are you there").event())
            assert Pong.from_event(await client.read_event()).text == "are you there"

    serving(test, tiny_model)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\n",
        b"[]\n",
        b"null\n",
        b'{"type": 1}\n',
        b'{"data": {}}\n',
        b'{"type": "detect", "data": []}\n'.replace(b"[]", b"[1]"),
        b'{"type": "detect", "data_length": -1}\n',
        b'{"type": "detect", "data_length": "9"}\n',
        b'{"type": "detect", "data_length": true}\n',
        b'{"type": "detect", "data_length": 1e9}\n',
        b'{"type": "detect", "data_length": 4}\nnull',
        b'{"type": "detect", "data_length": 4}\n{{{{',
        b'{"type": "detect", "data_length": %d}\n' % (MAX_DATA + 1),
        b'{"type": "audio-chunk", "payload_length": %d}\n' % (MAX_PAYLOAD + 1),
        b'{"type": "audio-chunk", "payload_length": %d}\n' % 2**40,
        b'{"type": "audio-chunk", "payload_length": ' + b"9" * 5000 + b"}\n",
        b"[" * (MAX_HEADER - 10) + b"\n",
        b" " * (4 * MAX_HEADER),
        b"\xff\xfe\x00\n",
    ],
    ids=lambda garbage: repr(garbage[:60]),
)
def test_what_is_no_event_ends_the_connection_with_an_error(
    tiny_model: OnnxModel, garbage: bytes
) -> None:
    async def test(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            client._writer.write(garbage)
            error = Error.from_event(await client.read_event())
            assert error.code == "protocol" and "\n" not in error.text and len(error.text) < 200
            assert await client.read_event() is None

    serving(test, tiny_model)


def test_a_client_too_many_is_told_and_another_may_come_when_one_leaves(
    tiny_model: OnnxModel,
) -> None:
    async def test(uri: str) -> None:
        async def greeted(client: AsyncClient) -> Event:
            await client.write_event(Ping().event())
            return await client.read_event()

        async with AsyncClient.from_uri(uri) as one, AsyncClient.from_uri(uri) as two:
            assert Pong.is_type((await greeted(one)).type)
            assert Pong.is_type((await greeted(two)).type)
            async with AsyncClient.from_uri(uri) as three:
                error = Error.from_event(await three.read_event())
                assert error.code == "too-many-clients" and "2 clients" in error.text
            await two.disconnect()
            for _ in range(100):
                async with AsyncClient.from_uri(uri) as four:
                    if Pong.is_type((await greeted(four)).type):
                        return
                await asyncio.sleep(0.01)
            pytest.fail("nobody was let in again")

    serving(test, tiny_model, max_clients=2)


def test_a_client_that_does_not_read_is_dropped(
    tiny_model: OnnxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wyoming_server, "WRITE_SECONDS", 0.1)

    async def test(uri: str) -> None:
        client = AsyncClient.from_uri(uri)
        await client.connect()
        with pytest.raises(ConnectionError):
            while True:
                client._writer.write(b'{"type": "describe"}\n' * 1000)
                await client._writer.drain()
        client._writer.transport.abort()

    serving(test, tiny_model, max_clients=1)


def test_what_is_sent_faster_than_it_is_heard_waits_at_the_client(tiny_model: OnnxModel) -> None:
    """A slow model holds one client up, and neither its memory nor the others grow with that."""
    sent = 0

    class Slow(OnnxModel):
        def __init__(self) -> None:
            self.info, self.path, self.runtime = tiny_model.info, tiny_model.path, "slow"
            self.fresh_state = tiny_model.fresh_state

        def step(self, features, state):
            time.sleep(0.02)
            return tiny_model.step(features, state)

    async def test(uri: str) -> None:
        nonlocal sent
        audio = chunks(as_int16(words(2.0, seed=1)))
        async with AsyncClient.from_uri(uri) as client:

            async def flood() -> None:
                nonlocal sent
                while True:
                    for chunk in audio:
                        await client.write_event(chunk.event())
                        sent += len(chunk.audio)

            flooding = asyncio.create_task(flood())
            await asyncio.sleep(0.5)
            async with AsyncClient.from_uri(uri) as other:
                began = time.perf_counter()
                await answers(other)
                assert time.perf_counter() - began < 5
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            client._writer.transport.abort()
        # Unhindered, thousands of seconds would have been sent; buffers of sockets are megabytes.
        assert sent < 32 << 20

    serving(test, Slow())


SERVE = [sys.executable, "-m", "kwspot", "serve", "--vad", "off"]


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_end(
    tiny_path: Path, tmp_path: Path, scheme: str, number: int
) -> None:
    uri = "tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{tmp_path}/socket"
    command = [*SERVE, "--model", str(tiny_path), "--uri", uri, "--language", "la"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        first = process.stderr.readline()
        assert first.startswith("serving tiny at "), first

        async def ask() -> None:
            async with AsyncClient.from_uri(first.split()[3].rstrip(";")) as client:
                await client.write_event(Describe().event())
                info = Info.from_event(await client.read_event())
                assert info.wake[0].models[0].languages == ["la"]
                process.send_signal(number)
                assert await client.read_event() is None

        asyncio.run(ask())
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert scheme == "tcp" or not (tmp_path / "socket").exists()


@pytest.fixture
def household(tmp_path: Path) -> tuple[Path, Path]:
    """A model that tells voices apart, and profiles: Ana's voice is dark, Ben's is bright."""
    path = write_model(tmp_path / "voice.onnx", tells_voices=True)
    for name, bright in (("ana", False), ("ben", True)):
        enrolment = Enrolment(load_model(path), "loud")
        clips = [enrolment.hear(str(seed), voice(bright, seed)) for seed in range(3)]
        write_profile(enrolment.profile(clips)[0], name, tmp_path / "voices")
    return path, tmp_path / "voices"


@pytest.mark.parametrize(("only", "heard"), [(None, ["ana", "ben", "ana"]), ("ben", ["ben"])])
def test_clients_are_told_who_spoke_and_others_are_not_heard(
    household: tuple[Path, Path], only: str | None, heard: list[str]
) -> None:
    path, folder = household
    pause = np.zeros(16000, np.float32)
    parts = [part for bright in (False, True, False) for part in (pause, voice(bright, 50))]
    audio = chunks(as_int16(np.concatenate([*parts, pause])))
    command = [*SERVE, "--model", str(path), "--uri", "tcp://127.0.0.1:0"]
    command += ["--profiles", str(folder), *(["--only", only] if only else [])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        uri = process.stderr.readline().split()[3].rstrip(";")

        async def hear() -> list[Event]:
            async with asyncio.timeout(30), AsyncClient.from_uri(uri) as client:
                await say(client, audio)
                return await answers(client)

        try:
            events = asyncio.run(hear())
        finally:
            process.terminate()
    detections = [Detection.from_event(e) for e in events if Detection.is_type(e.type)]
    assert [detection.speaker for detection in detections] == heard


def test_voices_that_cannot_be_heard_are_refused_before_serving(
    household: tuple[Path, Path], tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = household
    serve = ["serve", "--uri", "tcp://127.0.0.1:0", "--profiles", str(folder)]
    assert main([*serve, "--model", str(path), "--model", str(tiny_path)]) == 2
    assert "as the file" in capsys.readouterr().err, "the profiles are of the first model alone"
    assert main([*serve, "--model", str(path), "--only", "eve"]) == 2
    assert "'eve' is not enrolled" in capsys.readouterr().err
    assert main([*serve, "--model", str(tiny_path)]) == 2
    assert "enroll again" in capsys.readouterr().err


def test_options_by_word_go_to_the_model_that_hears_it(
    tiny_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard = (replace(INFO.keywords[0], label="other"),)
    other = write_model(tmp_path / "other.onnx", name="other", keywords=heard)
    thresholds: dict[str, float] = {}

    def service(models: tuple[OnnxModel, ...], make_detector: Any, **_: object) -> None:
        for model in models:
            thresholds.update(make_detector(model).thresholds)
        raise KwspotError("seen enough")

    monkeypatch.setattr("kwspot.wyoming_stream.Service", service)
    serve = ["serve", "--model", str(tiny_path), "--model", str(other), "--threshold"]
    assert main([*serve, "other=0.25", "--sensitivity", "tiny=high"]) == 2
    assert thresholds == {"tiny": 0.5, "other": 0.25}  # 0.6 at medium
    assert main([*serve, "nobody=0.5"]) == 2
    assert "the words are tiny, other" in capsys.readouterr().err


@pytest.mark.parametrize(
    "uri", ["10400", "tcp://localhost", "tcp://:10400", "tcp://a:b", "udp://a:1", "unix://"]
)
def test_an_address_that_is_none_is_refused(tiny_model: OnnxModel, uri: str) -> None:
    with pytest.raises(KwspotError, match="is no address: give tcp://"):
        WyomingServer(Service((tiny_model,), KeywordDetector, "1"), uri)


def test_a_port_that_is_taken_and_a_file_in_the_way_are_said(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        uri = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["serve", "--model", str(tiny_path), "--uri", uri]) == 2
    assert f"cannot listen at {uri}: " in capsys.readouterr().err
    (tmp_path / "file").write_text("mine")
    arguments = ["serve", "--model", str(tiny_path), "--uri", f"unix://{tmp_path}/file"]
    assert main(arguments) == 2
    assert "cannot listen at unix://" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_without_the_package_the_extra_is_named(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "kwspot.wyoming_server")
    monkeypatch.setitem(sys.modules, "wyoming.audio", None)
    assert main(["serve", "--model", str(tiny_path)]) == 2
    assert "pip install 'kwspot[wyoming]'" in capsys.readouterr().err


def test_zeroconf_announces_the_port_that_is_served(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    announced = []

    class HomeAssistantZeroconf:
        def __init__(self, port: int, name: str) -> None:
            announced.append((port > 0, name))

        async def register_server(self) -> None:
            announced.append("registered")
            os.kill(os.getpid(), signal.SIGTERM)

    fake = ModuleType("wyoming.zeroconf")
    fake.HomeAssistantZeroconf = HomeAssistantZeroconf
    arguments = ["serve", "--model", str(tiny_path), "--uri", "tcp://127.0.0.1:0", "--zeroconf"]
    monkeypatch.setitem(sys.modules, "wyoming.zeroconf", fake)
    assert main(arguments) == 0
    assert announced == [(True, "kwspot"), "registered"]
    monkeypatch.setitem(sys.modules, "wyoming.zeroconf", None)
    assert main(arguments) == 2
    assert "pip install 'kwspot[zeroconf]'" in capsys.readouterr().err


@pytest.mark.slow
def test_an_hour_of_audio_leaves_memory_flat(tiny_path: Path) -> None:
    """60 rounds of a minute, by two clients; the first rounds may still fill caches."""
    audio = chunks(as_int16(words(60.0, seed=1)))
    sizes = []

    async def speak(uri: str, server: psutil.Process) -> None:
        for _ in range(30):
            await asyncio.gather(heard(uri, audio), heard(uri, audio))
            sizes.append(server.memory_info().rss / 2**20)

    # Of a process of its own: that of the tests grows and shrinks by what others left behind.
    command = [*SERVE, "--model", str(tiny_path), "--uri", "tcp://127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            uri = process.stderr.readline().split()[3].rstrip(";")
            asyncio.run(speak(uri, psutil.Process(process.pid)))
        finally:
            process.terminate()
    assert max(sizes[10:]) - sizes[5] < 4, sizes  # MiB; a minute of audio has 1.8


def test_the_example_of_four_clients_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    from wyoming_clients import clients

    async def test(uri: str) -> None:
        got = {name: named(events) for name, events in (await clients(uri, 200)).items()}
        assert [time // 1000 for _, time in got["whole"]] == [5, 13, 22]
        assert [time // 1000 for _, time in got["late, 48k"]] == [5, 14]
        assert got["leaver"] == got["garbage"] == []

    serving(test, load_model("alexa"))
