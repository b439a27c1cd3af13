"""Streams to judge a detector by, composed from the clips of one role of a manifest.

```
positives   [silence 1.5 s][ keyword ][silence 1 s] [silence 1.5 s][ keyword ][silence 1 s] ...
            <- babble, noise or music, at one SNR a clip -> <---------------------------------->
negatives   [ any other clip ][silence 0.5 s][ any other clip ][silence 0.5 s] ...
```

Silence is white noise at -72 dBFS, a quiet room at a microphone with some gain. Streams are made
clip by clip, so that hours of them need no memory. Equal seeds and manifests give equal streams.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng

from kwspot.conditions import Condition
from kwspot.convert import MAX_PEAK
from kwspot.delivery import Rooms, at_level, at_speed
from kwspot.endpoints import speech_level, speech_span
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.interference import Interference
from kwspot.manifest import Clip
from kwspot.material import Material, read_clip

BEFORE = 1.5  # seconds of silence before a keyword
AFTER = 1.0  # seconds of silence after it, in which a detection still counts
GAP = 0.5  # seconds of silence between other clips
SILENCE_DB = -72.0  # dBFS

_SEED = 1  # a part of the seed: what babble and rooms draw leaves the silence as it is


@dataclass(frozen=True)
class Place:
    """Where a clip is in a stream, in samples: with its silence, and its word or all its sound."""

    clip: Clip
    begin: int
    end: int
    word: tuple[int, int]


Stream = Iterator[tuple[Place, FloatArray]]  # each place with its samples (end - begin,)


def positive_stream(material: Material, condition: Condition, seed: int) -> Stream:
    """Compose the keywords; the same seed gives every SNR the same babble, noise or music.

    The SNR is that of a keyword's RMS within its word to the RMS of what is added to its whole
    place. In a room, the word is where its direct sound is. Sums are not clipped. Raises
    ManifestError at once for want of clips, and AudioError for one that cannot be read.
    """
    added = None if condition.kind == "clean" else Interference(material, condition.kind, seed)
    rooms = Rooms(material, seed) if condition.room else None
    return _positives(material.positives, condition, rooms, added, seed)


def negative_stream(material: Material, seed: int) -> Stream:
    """Compose all that is not the keyword, end to end. Raises AudioError as reading does."""
    silence = default_rng((seed, _SEED))
    gap = round(GAP * SAMPLE_RATE)
    begin = 0
    for clip in material.negatives:
        sound = read_clip(clip)
        samples = np.concatenate([sound, quiet_noise(gap, silence)])
        place = Place(clip, begin, begin + len(samples), (begin, begin + len(sound)))
        yield place, samples
        begin = place.end


def quiet_noise(count: int, rng: Generator) -> FloatArray:
    """Make the silence of a quiet room: float32 (count,) at SILENCE_DB."""
    return rng.standard_normal(count, np.float32) * np.float32(10 ** (SILENCE_DB / 20))


def _positives(
    clips: Sequence[Clip],
    condition: Condition,
    rooms: Rooms | None,
    added: Interference | None,
    seed: int,
) -> Stream:
    silence = default_rng((seed, _SEED))
    before, after = round(BEFORE * SAMPLE_RATE), round(AFTER * SAMPLE_RATE)
    begin = 0
    for clip in clips:
        spoken = at_speed(read_clip(clip), condition.speed)
        heard = spoken if rooms is None else rooms.next(spoken, after)
        if condition.level_db is not None:
            heard = at_level(heard, condition.level_db)
        samples = np.concatenate(
            [quiet_noise(before, silence), np.zeros_like(spoken), quiet_noise(after, silence)]
        )
        samples[before : before + len(heard)] += heard  # what rings on reaches into the silence
        if added is not None:
            noise = added.take(len(samples))
            samples += noise * _gain(speech_level(heard), noise, condition.snr_db)
            # Noise as loud as a loud word may bang louder than a detector takes.
            np.clip(samples, -MAX_PEAK, MAX_PEAK, out=samples)
        first, last = (begin + before + edge for edge in speech_span(spoken))
        place = Place(clip, begin, begin + len(samples), (first, last))
        yield place, samples
        begin = place.end


def _gain(level: float, noise: FloatArray, snr_db: float) -> np.float32:
    rms = math.sqrt(float(np.mean(np.square(noise, dtype=np.float64))) + 1e-12)
    return np.float32(level / rms * 10 ** (-snr_db / 20))
