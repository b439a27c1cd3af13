"""The gate: which steps are worth the model's work.

A voice detector says of each step whether it may hold speech; the gate opens at once, and closes
when nothing was heard for the hang-over time.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from kwspot.features import SAMPLE_RATE, FloatArray

HANG_OVER = 1.0  # seconds; longer than pauses inside a phrase and than a model needs after a word
VAD_FRAME = 160  # 10 ms: it adapts by frames, and with those of 20 ms holds on twice as long

_FULL, _INT16_FULL = np.float32(1), np.float32(32767)


class Voice(Protocol):
    """Says whether a step may hold speech. May keep state over the steps of one stream."""

    def __call__(self, step: FloatArray) -> bool:
        """Judge one step: (N,) -> bool. Called once for every step of a stream, in order."""


class WebRtcVoice:
    """WebRTC's voice detector at its least aggressive; a single 10 ms frame of voice is enough."""

    def __init__(self) -> None:
        # Not webrtcvad, which looks up its own version: 4 MiB, and 10 ms of the start.
        import _webrtcvad

        self._process, self._vad = _webrtcvad.process, _webrtcvad.create()
        _webrtcvad.init(self._vad)
        _webrtcvad.set_mode(self._vad, 0)

    def __call__(self, step: FloatArray) -> bool:
        """Judge one step of whole 10 ms frames."""
        limited = np.minimum(np.maximum(step, -_FULL), _FULL)  # np.clip takes thrice the time
        pcm = (limited * _INT16_FULL).astype("<i2").tobytes()
        size = 2 * VAD_FRAME
        # No short cut: the detector adapts to the noise, so it must hear every frame.
        voiced = [
            self._process(self._vad, SAMPLE_RATE, pcm[i : i + size], VAD_FRAME)
            for i in range(0, len(pcm), size)
        ]
        return any(voiced)


class EnergyVoice:
    """Anything 6 dB above a slowly rising noise floor counts as voice."""

    FLOOR_RISE = 10 ** (3.0 / 10 * 0.08)  # 3 dB a second: a fan that starts is floor within seconds
    ABOVE_FLOOR = 10 ** (6.0 / 10)
    QUIETEST = 10 ** (-75.0 / 10)  # a step below -75 dBFS is silence whatever the floor

    def __init__(self) -> None:
        self._floor = 1.0

    def __call__(self, step: FloatArray) -> bool:
        """Judge one step by its mean power."""
        power = float(np.dot(step, step)) / len(step)
        self._floor = min(max(power, self.QUIETEST), self._floor * self.FLOOR_RISE)
        return power > self._floor * self.ABOVE_FLOOR


VOICES: dict[str, Callable[[], Voice] | None] = {
    "webrtc": WebRtcVoice,
    "energy": EnergyVoice,
    "off": None,
}


class Gate:
    """Open while there is voice and for the hang-over time after it; always, if vad is "off"."""

    def __init__(self, vad: str, step_samples: int) -> None:
        if vad not in VOICES:
            raise ValueError(f"vad is {vad!r}: choose one of {', '.join(VOICES)}")
        self._make = VOICES[vad]
        self._hang_over = round(HANG_OVER * SAMPLE_RATE / step_samples)
        self.reset()

    def reset(self) -> None:
        """Close the gate and forget the noise of the stream."""
        self._voice = self._make() if self._make else None
        self._open_for = 0

    def hear(self, step: FloatArray) -> bool:
        """Take one step and tell whether the gate is open after it."""
        if self._voice is None:
            return True
        self._open_for = self._hang_over if self._voice(step) else self._open_for - 1
        return self._open_for > 0
