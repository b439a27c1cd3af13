"""The microphone as a source, through PortAudio: it survives being unplugged.

```
PortAudio's thread: callback -> queue of 40 ms blocks -> yours: Converter -> float32 mono 16 kHz
```
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kwspot.convert import Converter
from kwspot.errors import DeviceError
from kwspot.features import INT16_SCALE, SAMPLE_RATE, FloatArray

log = logging.getLogger(__name__)

BLOCK_SECONDS = 0.04  # 25 wake-ups a second: cheap, and short against a keyword
QUEUE_SECONDS = 4.0  # how long whoever listens may be held up before audio is lost
STALL_SECONDS = 2.0  # wall clock; a working microphone calls back every BLOCK_SECONDS
RETRY_SECONDS = 2.0  # wall clock
OVERFLOW_LOG_SECONDS = 10.0  # of audio
SILENCE_SECONDS = 10.0  # of audio
SILENCE_PEAK = 1e-4  # 3 steps of int16: the noise of any open microphone is louder

_PIPE_HINT = "`arecord -t raw -f S16_LE -r 16000 -c 1 | kwspot listen --model alexa --input -`"


@dataclass(frozen=True)
class Device:
    """An audio input as PortAudio lists it. `rate` is its default in Hz."""

    index: int
    name: str
    channels: int
    rate: int
    default: bool


def input_devices() -> list[Device]:
    """List the audio inputs. Raises DeviceError where PortAudio is not installed."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        Device(
            index=info["index"],
            name=info["name"],
            channels=info["max_input_channels"],
            rate=int(info["default_samplerate"]),
            default=info["index"] == default,
        )
        for info in sounddevice.query_devices()
        if info["max_input_channels"] > 0
    ]


class Microphone:
    """Yields what a microphone records, from the start of the iteration until `close()`.

    `device` is an index (digits will do), a name or a part of one; None is the system's default.
    `rate` is in Hz; None is 16 kHz where the device can, and otherwise its default rate, resampled.

    A microphone that is unplugged while it is listened to is looked for until it is back, and the
    iteration goes on. Looking restarts PortAudio, which ends its other streams in this process.
    `overflows` counts how often audio was lost because nobody took it in time.

    Raises DeviceError if there is no such device, if it cannot be opened, or without PortAudio.
    """

    live = True

    def __init__(self, device: int | str | None = None, rate: int | None = None) -> None:
        self.overflows = 0
        self._overflows_logged = 0
        self._unlogged_samples = 0
        if isinstance(device, str) and device.isdecimal():
            device = int(device)
        self._wanted = device
        self._rate = rate
        self._closed = threading.Event()
        self._lock = threading.RLock()  # reentrant: a signal handler may call close()
        self._capture: _Capture | None = self._opened()
        if isinstance(device, int):
            self._wanted = self.name  # Indices change when something is plugged in or out.

    def __iter__(self) -> Iterator[FloatArray]:
        """Record from now on."""
        try:
            while not self._closed.is_set():
                yield from self._blocks(self._started())
                if not self._closed.is_set():
                    self._wait_until_back()
        finally:
            self._shut()

    def close(self) -> None:
        """End the iteration and give the device back. May be called from any thread, and twice."""
        self._closed.set()
        self._shut()

    def __enter__(self) -> "Microphone":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _blocks(self, capture: "_Capture") -> Iterator[FloatArray]:
        """Yield until the device stops delivering, or `close()`."""
        converter = Converter(capture.rate, channels=1)
        silence = _SilenceWatch(capture.rate)
        while (block := capture.take()) is not None and not self._closed.is_set():
            self._log_overflows(len(block), capture.rate)
            if silence.proven_by(block):
                log.warning(
                    'the microphone "%s" has delivered only silence for %d s: is it muted, or the '
                    "wrong device? `kwspot devices` lists them",
                    self.name,
                    SILENCE_SECONDS,
                )
            audio = converter.convert(block)
            if audio.size:
                yield audio

    def _wait_until_back(self) -> None:
        log.warning('the microphone "%s" is gone, unplugged? waiting for it', self.name)
        self._shut()
        while not self._closed.wait(RETRY_SECONDS):
            with suppress(DeviceError):
                _restart_portaudio()
                self._started()
                log.warning('listening again, on the microphone "%s"', self.name)
                return

    def _started(self) -> "_Capture":
        """Open the device unless it is open, and let it record; a running one just goes on."""
        with self._lock:
            if self._capture is None:
                self._capture = self._opened()
            self._capture.start()
            return self._capture

    def _opened(self) -> "_Capture":
        device = _chosen(input_devices(), self._wanted)
        self.name = device.name
        if self._rate is not None:
            return _Capture(device, self._rate, self._count_overflow)
        try:
            return _Capture(device, SAMPLE_RATE, self._count_overflow)
        except DeviceError:
            return _Capture(device, device.rate, self._count_overflow)

    def _shut(self) -> None:
        with self._lock:
            capture, self._capture = self._capture, None
        if capture is not None:
            capture.close()

    def _count_overflow(self) -> None:
        self.overflows += 1

    def _log_overflows(self, samples: int, rate: int) -> None:
        """Log what was lost, and then nothing for the next ten seconds of audio."""
        self._unlogged_samples -= samples
        if self.overflows > self._overflows_logged and self._unlogged_samples <= 0:
            log.warning(
                'audio from the microphone "%s" was lost %d times so far: the machine is too busy',
                self.name,
                self.overflows,
            )
            self._overflows_logged = self.overflows
            self._unlogged_samples = int(OVERFLOW_LOG_SECONDS * rate)


class _Capture:
    """One opening of a device: its stream, and the queue that PortAudio's thread fills."""

    def __init__(self, device: Device, rate: int, overflowed: Callable[[], None]) -> None:
        self.rate = rate
        self._device = device
        self._overflowed = overflowed
        self._queue: queue.Queue[npt.NDArray[np.int16] | None] = queue.Queue(
            int(QUEUE_SECONDS / BLOCK_SECONDS)
        )
        self._portaudio_error = _sounddevice().PortAudioError
        try:
            # Raw, since numpy 2.5 deprecates how sounddevice makes arrays.
            self._stream = _sounddevice().RawInputStream(
                device=device.index,
                samplerate=rate,
                channels=1,
                dtype="int16",
                blocksize=int(rate * BLOCK_SECONDS),
                callback=self._record,
                finished_callback=self._finish,
            )
        except self._portaudio_error as error:
            raise _refused(device, error) from error

    def start(self) -> None:
        """Let the callback run; does nothing if it does."""
        try:
            self._stream.start()
        except self._portaudio_error as error:
            raise _refused(self._device, error) from error

    def take(self) -> npt.NDArray[np.int16] | None:
        """Wait for the next block, int16 (n,); None if the device has stopped delivering."""
        try:
            return self._queue.get(timeout=STALL_SECONDS)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Give the device back, and wake up whoever waits for a block."""
        self._stream.close()
        self._finish()

    def _record(self, data: Any, frames: int, time: Any, status: Any) -> None:
        if status.input_overflow:
            self._overflowed()
        try:
            self._queue.put_nowait(np.frombuffer(bytes(data), np.int16))
        except queue.Full:
            self._overflowed()

    def _finish(self) -> None:
        with suppress(queue.Full):  # Then nobody is waiting.
            self._queue.put_nowait(None)


class _SilenceWatch:
    """Tells a muted or wrong microphone by digital silence in its first seconds."""

    def __init__(self, rate: int) -> None:
        self._left = int(SILENCE_SECONDS * rate)
        self._low = int(INT16_SCALE)
        self._high = -int(INT16_SCALE)

    def proven_by(self, block: npt.NDArray[np.int16]) -> bool:
        """Take the next block; true once, when the last of the silent seconds is full."""
        if self._left <= 0:
            return False
        self._left -= len(block)
        self._low = min(self._low, int(block.min()))
        self._high = max(self._high, int(block.max()))
        peak = max(-self._low, self._high) / INT16_SCALE
        silent = peak < SILENCE_PEAK or self._low == self._high
        return self._left <= 0 and silent


def _chosen(devices: list[Device], wanted: int | str | None) -> Device:
    """Find a device by index, name, part of a name, or name without ALSA's card number."""
    if not devices:
        raise DeviceError(f"no microphone was found: plug one in, or pipe audio in, {_PIPE_HINT}")
    if wanted is None:
        return next((device for device in devices if device.default), devices[0])
    if isinstance(wanted, int):
        matches = [device for device in devices if device.index == wanted]
    else:
        name = wanted.lower()
        card = name.partition(" (hw:")[0]  # A microphone that is plugged in again may get another.
        matches = (
            [device for device in devices if device.name.lower() == name]
            or [device for device in devices if name in device.name.lower()]
            or [device for device in devices if card in device.name.lower()]
        )
    if len(matches) != 1:
        fault = "more than one microphone matches" if matches else "no microphone matches"
        raise DeviceError(f"{fault} {wanted!r}: choose one of {_listed(matches or devices)}")
    return matches[0]


def _refused(device: Device, error: Exception) -> DeviceError:
    return DeviceError(
        f'cannot open the microphone "{device.name}" ({error}): close what else records from it, '
        f"or choose one of {_listed(input_devices())}"
    )


def _listed(devices: list[Device]) -> str:
    return ", ".join(f'{device.index} "{device.name}"' for device in devices)


def _restart_portaudio() -> None:
    """Make PortAudio look for devices again: it lists them only when it starts."""
    sounddevice = _sounddevice()
    with suppress(sounddevice.PortAudioError):  # It may not be running, after a failed attempt.
        sounddevice._terminate()
    try:
        sounddevice._initialize()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"PortAudio does not start: {error}") from error


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"microphones need sounddevice and PortAudio ({error}): run `pip install sounddevice` "
            f"and `sudo apt install libportaudio2`, or pipe audio in, {_PIPE_HINT}"
        ) from error
    return sounddevice
