"""Utterances from a source, one at a time, each judged whether a model can learn from it.

```
source -> steps of 80 ms -> a moment of the room | speech, until 0.8 s of silence -> Take
```
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from kwspot.endpoints import speech_regions
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.gate import EnergyVoice
from kwspot.sources import Source

STEP = 1280  # 80 ms
ROOM_STEPS = 8  # 0.64 s of room noise before each utterance, which it is compared with
SILENCE_SECONDS = 0.8  # that end an utterance; pauses inside a phrase are shorter
PATIENCE_SECONDS = 10.0  # for an utterance to begin
LONGEST_SECONDS = 4.0  # of speech; longer is no phrase but talk
LIMIT_SECONDS = 6.0  # after which an utterance is judged though it has not ended
SHORTEST_SECONDS = 0.15  # of speech; shorter is a click, not a word
AROUND_SECONDS = 0.4  # looked at before and after; in more silence, clicks could not be told
MARGIN_SECONDS = 0.3  # kept before and after the speech
CLIPPED_LEVEL = 0.999  # full scale of 16 bits is 0.99997
CLIPPED_SAMPLES = 4  # at full scale; one or two may be a peak that just fits
SILENT_DB = -85.0  # RMS of a room; muted microphones are below
QUIETEST_DB = -45.0  # RMS of the speech; 16 bits and cheap microphones have noise at -70
LEAST_SNR_DB = 12.0  # speech above the room; words are whole, and augmentation can add noise


@dataclass(frozen=True)
class Take:
    """An utterance, float32 (N,) with a margin, and what was measured of its speech.

    `fault` says why it is not to be learnt from, and what to do; None for a good one. Levels are
    RMS in dBFS, and above the room's noise.
    """

    samples: FloatArray
    seconds: float
    level_db: float
    snr_db: float
    fault: str | None


def takes(source: Source, ready: Callable[[], None]) -> Iterator[Take]:
    """Yield utterances, good and bad, until the source ends; `ready` is called before each.

    Raises AudioError where the source fails.
    """
    steps = _steps(source)
    while (take := _take(steps, ready)) is not None:
        yield take


def judge(samples: FloatArray, room: FloatArray) -> Take:
    """Judge an utterance (N,) by its level, its length, and the noise of the room before it."""
    regions = speech_regions(samples)
    start, end = regions[0][0], regions[-1][1]
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    speech, seconds = samples[start:end], (end - start) / SAMPLE_RATE
    level, noise = _level_db(speech), _level_db(room)
    clipped = int(np.sum(np.abs(speech) >= CLIPPED_LEVEL))
    fault = None
    if clipped >= CLIPPED_SAMPLES:
        fault = "too loud, it is clipped: move back, or turn the microphone down"
    elif seconds < SHORTEST_SECONDS:
        fault = f"too short ({seconds:.2f} s): that was a click"
    elif seconds > LONGEST_SECONDS:
        fault = f"too long ({seconds:.1f} s): say the phrase alone"
    elif level < QUIETEST_DB:
        fault = f"too quiet ({level:.0f} dBFS): come nearer, or turn the microphone up"
    elif level - noise < LEAST_SNR_DB:
        fault = f"too noisy ({level - noise:.0f} dB above the room): come nearer, or wait"
    kept = samples[max(0, start - margin) : end + margin]
    return Take(kept, seconds, level, level - noise, fault)


def _take(steps: Iterator[FloatArray], ready: Callable[[], None]) -> Take | None:
    """Wait for an utterance and hear it to its end; None where the source ends before one."""
    voice = EnergyVoice()
    room = deque(islice(steps, ROOM_STEPS), maxlen=ROOM_STEPS)
    for step in room:
        voice(step)
    ready()
    for step in islice(steps, _count(PATIENCE_SECONDS)):
        if voice(step):
            return _utterance([*room, step], steps, voice)
        room.append(step)
    if len(room) < ROOM_STEPS or next(steps, None) is None:
        return None
    level = _level_db(np.concatenate(room))
    fault = f"nothing was heard for {PATIENCE_SECONDS:g} s"
    if level < SILENT_DB:
        fault += ", not even the room: is the microphone muted, or the wrong one?"
    return Take(np.zeros(0, np.float32), 0.0, level, 0.0, fault)


def _utterance(heard: list[FloatArray], steps: Iterator[FloatArray], voice: EnergyVoice) -> Take:
    """Hear an utterance to its end; `heard` are the room before it and its first step."""
    room = np.concatenate(heard[:-2])  # the step before the first may hold its weak onset
    quiet = 0
    for step in islice(steps, _count(LIMIT_SECONDS)):
        heard.append(step)
        quiet = 0 if voice(step) else quiet + 1
        if quiet == _count(SILENCE_SECONDS):
            break
    around = _count(AROUND_SECONDS)
    speech = heard[ROOM_STEPS - around : len(heard) - max(0, quiet - around)]
    return judge(np.concatenate(speech), room)


def _steps(source: Source) -> Iterator[FloatArray]:
    """Cut a source into steps; what is left at its end is filled up with zeros."""
    rest = np.zeros(0, np.float32)
    for block in source:
        rest = np.concatenate([rest, block])
        while len(rest) >= STEP:
            yield rest[:STEP]
            rest = rest[STEP:]
    if len(rest):
        yield np.pad(rest, (0, STEP - len(rest)))


def _count(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / STEP)


def _level_db(samples: FloatArray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))
