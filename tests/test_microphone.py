import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kwspot import microphone
from kwspot.errors import DeviceError
from kwspot.microphone import Device, Microphone, input_devices
from kwspot.sources import Source, as_source

BLOCK = 640  # 40 ms at 16 kHz


class PortAudioError(Exception):
    pass


class FakeStream:
    def __init__(self, portaudio: "FakePortAudio", options: dict) -> None:
        self.portaudio = portaudio
        self.options = SimpleNamespace(**options)
        self.running = self.closed = False

    def start(self) -> None:
        if not self.running:
            self.running = True
            for block in self.portaudio.spoken_at_start:
                self.deliver(block)

    def close(self) -> None:
        assert not self.closed, "PortAudio crashes when a stream is closed twice"
        self.running, self.closed = False, True

    def deliver(self, block: np.ndarray, overflow: bool = False) -> None:
        status = SimpleNamespace(input_overflow=overflow)
        self.options.callback(block.astype(np.int16).tobytes(), len(block), None, status)


class FakePortAudio:
    """Stands in for the sounddevice module; `plugged` is seen when it starts, as in PortAudio."""

    PortAudioError = PortAudioError

    def __init__(self, *names: str, rates: tuple[int, ...] = (16_000, 48_000)) -> None:
        self.plugged = list(names)
        self.rates = rates
        self.busy = False
        self.default = SimpleNamespace(device=[0, -1])
        self.streams: list[FakeStream] = []
        self.spoken_at_start: list[np.ndarray] = []
        self.restarts: list[Callable[[], None]] = []
        self.listed = list(names)
        self.started = 1

    def _terminate(self) -> None:
        assert all(stream.closed for stream in self.streams)
        self.started -= 1

    def _initialize(self) -> None:
        self.started += 1
        assert self.started == 1, "PortAudio lists devices anew only if it was terminated"
        if self.restarts:
            self.restarts.pop(0)()
        self.listed = list(self.plugged)

    def query_devices(self) -> list[dict]:
        inputs = [
            {"name": name, "index": i, "max_input_channels": 2, "default_samplerate": 48000.0}
            for i, name in enumerate(self.listed)
        ]
        speaker = {"name": "speaker", "index": len(inputs), "max_input_channels": 0}
        return [*inputs, speaker]

    def RawInputStream(self, **options: object) -> FakeStream:
        if self.busy:
            raise PortAudioError("Device unavailable [PaErrorCode -9985]")
        if options["samplerate"] not in self.rates:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        self.streams.append(FakeStream(self, options))
        return self.streams[-1]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakePortAudio]:
    monkeypatch.setattr(microphone, "STALL_SECONDS", 0.01)
    monkeypatch.setattr(microphone, "RETRY_SECONDS", 0.001)

    def plugged(*names: str, **options: tuple[int, ...]) -> FakePortAudio:
        portaudio = FakePortAudio(*names, **options)
        monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
        return portaudio

    return plugged


def speech(seed: int = 0, samples: int = BLOCK) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, samples)


def record(
    stream: FakeStream, heard: Iterator[np.ndarray], block: np.ndarray, seconds: float
) -> None:
    for _ in range(round(seconds / 0.04)):
        stream.deliver(block)
        next(heard)


def test_devices_are_listed_without_outputs(plug: Callable[..., FakePortAudio]):
    plug("built-in", "USB")
    assert input_devices() == [
        Device(index=0, name="built-in", channels=2, rate=48_000, default=True),
        Device(index=1, name="USB", channels=2, rate=48_000, default=False),
    ]


def test_a_microphone_is_a_live_source_of_what_it_records(plug: Callable[..., FakePortAudio]):
    portaudio = plug("built-in")
    with Microphone() as mic:
        assert as_source(mic) is mic and isinstance(mic, Source) and mic.live
        (stream,) = portaudio.streams
        assert not stream.running  # nothing old is heard when listening begins later
        heard = iter(mic)
        for seed in range(3):
            stream.deliver(speech(seed))
            expected = speech(seed).astype(np.float32) / 32768
            assert next(heard).tobytes() == expected.tobytes()
        assert stream.running and stream.options.samplerate == 16_000
    assert stream.closed


def test_a_device_without_16_khz_is_resampled_from_its_default_rate(
    plug: Callable[..., FakePortAudio],
):
    portaudio = plug("built-in", rates=(48_000,))
    mic = Microphone()
    (stream,) = portaudio.streams
    assert stream.options.samplerate == 48_000 and stream.options.blocksize == 1920
    tone = 8000 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    for block in tone.reshape(-1, 1920):
        stream.deliver(block)
    heard = np.empty(0)
    for block in mic:
        heard = np.concatenate([heard, block])
        if len(heard) > 15_000:
            break
    assert np.abs(np.fft.rfft(heard[:15_000])).argmax() == 1000 * 15_000 // 16_000
    assert stream.closed


@pytest.mark.parametrize(
    "wanted", [1, "1", "USB mic: Audio (hw:1,0)", "usb", "USB mic: Audio (hw:7,0)"]
)
def test_a_microphone_is_found_by_index_name_and_part_of_its_name(
    plug: Callable[..., FakePortAudio], wanted: int | str
):
    portaudio = plug("built-in", "USB mic: Audio (hw:1,0)", "USB mic: Audio (hw:1,0) monitor")
    if wanted == "usb":
        portaudio.listed.pop()
    if wanted == "USB mic: Audio (hw:7,0)":
        portaudio.listed.pop()
    mic = Microphone(wanted)
    assert mic.name == "USB mic: Audio (hw:1,0)"
    assert portaudio.streams[0].options.device == 1


def test_errors_name_the_device_and_the_choice(plug: Callable[..., FakePortAudio]):
    portaudio = plug("built-in", "USB one", "USB two")
    listed = '0 "built-in", 1 "USB one", 2 "USB two"'
    with pytest.raises(DeviceError, match=f"no microphone matches 'headset': .*{listed}"):
        Microphone("headset")
    with pytest.raises(DeviceError, match=f"no microphone matches 9: .*{listed}"):
        Microphone(9)
    with pytest.raises(DeviceError, match=r"more than one .*'usb': choose one of 1 .*, 2 "):
        Microphone("usb")
    with pytest.raises(DeviceError, match=r'"built-in" \(Invalid sample rate.*close'):
        Microphone(rate=44_100)
    portaudio.busy = True
    with pytest.raises(DeviceError, match=rf'"built-in" \(Device unavailable .*{listed}'):
        Microphone()


def test_without_any_microphone_the_pipe_is_suggested(plug: Callable[..., FakePortAudio]):
    plug()
    with pytest.raises(DeviceError, match=r"no microphone was found: .*arecord -t raw"):
        Microphone()


def test_without_portaudio_the_package_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(DeviceError, match=r"library not found.*apt install libportaudio2.*arecord"):
        Microphone()
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DeviceError, match=r"pip install sounddevice"):
        input_devices()


@pytest.mark.parametrize("told", [True, False])
def test_an_unplugged_microphone_is_awaited_and_heard_again(
    plug: Callable[..., FakePortAudio], caplog: pytest.LogCaptureFixture, told: bool
):
    name = "USB mic: Audio (hw:1,0)"
    portaudio = plug("built-in", name)
    heard = iter(Microphone(1))
    portaudio.streams[0].deliver(speech(1))
    next(heard)
    portaudio.plugged = ["built-in"]
    if told:  # some drivers end the stream, others just fall silent
        portaudio.streams[0].options.finished_callback()
    portaudio.spoken_at_start = [speech(2)]

    def plug_in_again() -> None:
        portaudio.plugged = ["USB mic: Audio (hw:2,0)", "built-in"]
        portaudio.busy = True

    def free() -> None:
        portaudio.busy = False

    portaudio.restarts = [lambda: None, plug_in_again, free]
    assert next(heard).tobytes() == (speech(2).astype(np.float32) / 32768).tobytes()
    assert [record.message for record in caplog.records] == [
        f'the microphone "{name}" is gone, unplugged? waiting for it',
        'listening again, on the microphone "USB mic: Audio (hw:2,0)"',
    ]
    assert portaudio.streams[0].closed and portaudio.streams[1].options.device == 0


@pytest.mark.parametrize("level", [0, 3, -32768, 700])
def test_ten_seconds_of_silence_are_warned_of_once(
    plug: Callable[..., FakePortAudio], caplog: pytest.LogCaptureFixture, level: int
):
    portaudio = plug("built-in")
    heard = iter(Microphone())
    (stream,) = portaudio.streams
    silence = np.full(BLOCK, level)
    record(stream, heard, silence, 9.96)
    assert not caplog.records
    record(stream, heard, silence, 0.04)
    (warning,) = caplog.records
    assert warning.message == (
        'the microphone "built-in" has delivered only silence for 10 s: is it muted, or the '
        "wrong device? `kwspot devices` lists them"
    )
    record(stream, heard, silence, 21)
    assert len(caplog.records) == 1


def test_a_quiet_room_is_no_silence(
    plug: Callable[..., FakePortAudio], caplog: pytest.LogCaptureFixture
):
    portaudio = plug("built-in")
    heard = iter(Microphone())
    record(portaudio.streams[0], heard, np.resize([-4, 4], BLOCK), 0.04)
    record(portaudio.streams[0], heard, np.zeros(BLOCK), 12)
    assert not caplog.records


def test_overflows_are_counted_and_logged_every_ten_seconds_at_most(
    plug: Callable[..., FakePortAudio], caplog: pytest.LogCaptureFixture
):
    portaudio = plug("built-in")
    mic = Microphone()
    heard = iter(mic)
    (stream,) = portaudio.streams
    stream.deliver(speech(), overflow=True)
    next(heard)
    assert mic.overflows == 1 and "was lost 1 times so far" in caplog.text
    for _ in range(103):  # four seconds fit into the queue: 100 blocks
        stream.deliver(speech())
    assert mic.overflows == 4
    for _ in range(100):
        next(heard)
    record(stream, heard, speech(), 5.96)
    assert len(caplog.records) == 1
    record(stream, heard, speech(), 0.04)
    assert len(caplog.records) == 2 and "was lost 4 times so far" in caplog.text
    record(stream, heard, speech(), 12)
    assert len(caplog.records) == 2


def test_close_ends_the_iteration_from_inside_and_twice(plug: Callable[..., FakePortAudio]):
    portaudio = plug("built-in")
    mic = Microphone()
    for seed in range(5):
        portaudio.streams[0].deliver(speech(seed))
    heard = 0
    for _ in mic:
        heard += 1
        mic.close()
    mic.close()
    assert heard == 1 and portaudio.streams[0].closed
    assert list(mic) == [] and len(portaudio.streams) == 1


def test_close_in_another_thread_wakes_up_who_waits(
    plug: Callable[..., FakePortAudio], monkeypatch: pytest.MonkeyPatch
):
    plug("built-in")
    monkeypatch.setattr(microphone, "STALL_SECONDS", 60.0)
    mic = Microphone()
    listener = threading.Thread(target=list, args=(mic,))
    listener.start()
    mic.close()
    listener.join(5)
    assert not listener.is_alive()


def test_close_ends_the_wait_for_an_unplugged_microphone(
    plug: Callable[..., FakePortAudio], monkeypatch: pytest.MonkeyPatch
):
    portaudio = plug("built-in")
    monkeypatch.setattr(microphone, "RETRY_SECONDS", 60.0)
    mic = Microphone()
    listener = threading.Thread(target=list, args=(mic,))
    listener.start()
    while not portaudio.streams[0].closed:
        time.sleep(0.001)
    mic.close()
    listener.join(5)
    assert not listener.is_alive()


def test_a_microphone_can_be_listened_to_again_after_a_break(plug: Callable[..., FakePortAudio]):
    portaudio = plug("built-in")
    mic = Microphone()
    portaudio.streams[0].deliver(speech(1))
    portaudio.streams[0].deliver(speech(2))
    for _ in mic:
        break
    assert portaudio.streams[0].closed
    portaudio.spoken_at_start = [speech(3)]
    assert next(iter(mic)).tobytes() == (speech(3).astype(np.float32) / 32768).tobytes()
    assert len(portaudio.streams) == 2
