"""Streams to judge a detector by, composed from the clips of one role of a manifest.

```
positives   [silence 1.5 s][ keyword ][silence 1 s] [silence 1.5 s][ keyword ][silence 1 s] ...
            <- babble or noise, at one SNR a clip -> <----------------------------------------->
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

from kwspot.endpoints import speech_level, speech_span
from kwspot.errors import KwspotError, ManifestError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.manifest import Clip
from kwspot.sources import AudioFile

BEFORE = 1.5  # seconds of silence before a keyword
AFTER = 1.0  # seconds of silence after it, in which a detection still counts
GAP = 0.5  # seconds of silence between other clips
SILENCE_DB = -72.0  # dBFS
TALKERS = 6
QUIETEST = 1e-3  # -60 dBFS; a talker whose clip has less is pausing and is not made louder

_UNSPOKEN = ("noise", "room_responses", "_silence_")  # folders of clips without speech
_SILENCE_SEED, _BABBLE_SEED = 1, 2  # parts of the seed: what one draws leaves the other as it is


@dataclass(frozen=True)
class Condition:
    """What is added to the keywords: "clean" nothing, "babble" other talkers, "noise" noise."""

    kind: str
    snr_db: float = math.inf

    def __str__(self) -> str:
        return self.kind if self.kind == "clean" else f"{self.kind}:{self.snr_db:g}"


@dataclass(frozen=True)
class Material:
    """The clips of one role by their use; talkers and noises are drawn from the negatives."""

    positives: tuple[Clip, ...]
    negatives: tuple[Clip, ...]
    talkers: tuple[Clip, ...]
    noises: tuple[Clip, ...]


@dataclass(frozen=True)
class Place:
    """Where a clip is in a stream, in samples: with its silence, and its word or all its sound."""

    clip: Clip
    begin: int
    end: int
    word: tuple[int, int]


Stream = Iterator[tuple[Place, FloatArray]]  # each place with its samples (end - begin,)


def parse_condition(text: str) -> Condition:
    """Read "clean", "babble:SNR" or "noise:SNR", SNR in dB; raise KwspotError for anything else."""
    kind, _, snr = text.partition(":")
    if text == "clean":
        return Condition("clean")
    try:
        snr_db = float(snr)
    except ValueError:
        snr_db = math.nan
    if kind not in ("babble", "noise") or not -60 <= snr_db <= 60:
        raise KwspotError(
            f"{text!r} is no condition: write clean, babble:SNR or noise:SNR with -60 to 60 dB"
        )
    return Condition(kind, snr_db)


def choose_material(clips: Sequence[Clip], keyword: str, role: str) -> Material:
    """Sort the clips of one role: whole clips that are the keyword, and those without it.

    Clips in which the keyword is one word of several are neither. Room responses are not used.
    Raises ManifestError where there are no positives or no negatives, and for a missing file.
    """
    clips = [clip for clip in clips if clip.role == role]
    positives = tuple(clip for clip in clips if clip.says(keyword))
    negatives = tuple(
        clip for clip in clips if not clip.mentions(keyword) and not _within(clip, "room_responses")
    )
    for found, what in ((positives, f"clip that says {keyword!r}"), (negatives, "other clip")):
        if not found:
            raise ManifestError(
                f"the manifests have no {what} in the role {role!r}: choose another --role or "
                "add a manifest"
            )
    for clip in (*positives, *negatives):
        if not clip.path.is_file():
            raise ManifestError(f"{clip.path} is in the manifest, but there is no such file")
    return Material(
        positives,
        negatives,
        talkers=tuple(clip for clip in negatives if not _within(clip, *_UNSPOKEN)),
        noises=tuple(clip for clip in negatives if _within(clip, "noise")),
    )


def positive_stream(material: Material, condition: Condition, seed: int) -> Stream:
    """Compose the keywords; the same seed gives every SNR the same babble or noise.

    The SNR is that of a keyword's RMS within its word to the RMS of what is added to its whole
    place. Sums are not clipped. Raises ManifestError at once for want of talkers or noises, and
    AudioError for a clip that cannot be read.
    """
    added = None if condition.kind == "clean" else Interference(material, condition.kind, seed)
    return _positives(material.positives, condition.snr_db, added, seed)


def negative_stream(material: Material, seed: int) -> Stream:
    """Compose all that is not the keyword, end to end. Raises AudioError as reading does."""
    silence = default_rng((seed, _SILENCE_SEED))
    gap = round(GAP * SAMPLE_RATE)
    begin = 0
    for clip in material.negatives:
        sound = read_clip(clip)
        samples = np.concatenate([sound, quiet_noise(gap, silence)])
        place = Place(clip, begin, begin + len(samples), (begin, begin + len(sound)))
        yield place, samples
        begin = place.end


def read_clip(clip: Clip) -> FloatArray:
    """Decode a whole clip: float32 (N,). Raises AudioError for one that cannot be read."""
    return np.concatenate(list(AudioFile(clip.path)))


def quiet_noise(count: int, rng: Generator) -> FloatArray:
    """Make the silence of a quiet room: float32 (count,) at SILENCE_DB."""
    return rng.standard_normal(count, np.float32) * np.float32(10 ** (SILENCE_DB / 20))


class Interference:
    """Endless babble of TALKERS people, or endless noise of one recording after the other.

    At every time, the talkers are different speakers, where the manifest knows speakers; they are
    equally loud and never pause between two clips. Raises ManifestError where clips are missing.
    """

    def __init__(self, material: Material, kind: str, seed: int) -> None:
        rng = default_rng((seed, _BABBLE_SEED))
        if kind == "noise":
            if not material.noises:
                raise ManifestError("the role has no clips in a folder noise/: leave noise:SNR out")
            shares = [list(material.noises)]
        else:
            shares = _deal(material.talkers, rng)
        self._lanes = [_Lane(share, rng) for share in shares]

    def take(self, count: int) -> FloatArray:
        """Return the next samples: float32 (count,), of no particular level."""
        total = np.zeros(count, np.float32)
        for lane in self._lanes:
            total += lane.take(count)
        return total


def _positives(
    clips: Sequence[Clip], snr_db: float, added: Interference | None, seed: int
) -> Stream:
    silence = default_rng((seed, _SILENCE_SEED))
    before, after = round(BEFORE * SAMPLE_RATE), round(AFTER * SAMPLE_RATE)
    begin = 0
    for clip in clips:
        speech = read_clip(clip)
        samples = np.concatenate(
            [quiet_noise(before, silence), speech, quiet_noise(after, silence)]
        )
        if added is not None:
            noise = added.take(len(samples))
            samples += noise * _gain(speech_level(speech), noise, snr_db)
        first, last = (begin + before + edge for edge in speech_span(speech))
        place = Place(clip, begin, begin + len(samples), (first, last))
        yield place, samples
        begin = place.end


class _Lane:
    """An endless, shuffled sequence of clips at one level, each cut to its speech."""

    def __init__(self, clips: list[Clip], rng: Generator) -> None:
        self._clips, self._rng = clips, rng
        self._order: list[int] = []
        self._rest = np.zeros(0, np.float32)
        self.take(int(rng.integers(SAMPLE_RATE)))  # talkers do not begin a word together

    def take(self, count: int) -> FloatArray:
        parts, have = [self._rest], len(self._rest)
        while have < count:
            parts.append(self._next())
            have += len(parts[-1])
        joined = np.concatenate(parts)
        self._rest = joined[count:].copy()  # a view would keep the whole in memory
        return joined[:count]

    def _next(self) -> FloatArray:
        if not self._order:
            self._order = self._rng.permutation(len(self._clips)).tolist()
        samples = read_clip(self._clips[self._order.pop()])
        start, end = speech_span(samples)
        return samples[start:end] / np.float32(max(speech_level(samples), QUIETEST))


def _deal(clips: Sequence[Clip], rng: Generator) -> list[list[Clip]]:
    """Deal speakers to lanes; a clip of an unknown speaker is a speaker of its own."""
    speakers: dict[str, list[Clip]] = {}
    for clip in clips:
        speakers.setdefault(clip.speaker or clip.name, []).append(clip)
    if len(speakers) < TALKERS:
        raise ManifestError(
            f"babble needs {TALKERS} talkers, the role has {len(speakers)}: leave babble:SNR out"
        )
    lanes: list[list[Clip]] = [[] for _ in range(TALKERS)]
    voices = list(speakers.values())
    for number, voice in enumerate(rng.permutation(len(voices)).tolist()):
        lanes[number % TALKERS] += voices[voice]
    return lanes


def _gain(level: float, noise: FloatArray, snr_db: float) -> np.float32:
    rms = math.sqrt(float(np.mean(np.square(noise, dtype=np.float64))) + 1e-12)
    return np.float32(level / rms * 10 ** (-snr_db / 20))


def _within(clip: Clip, *folders: str) -> bool:
    return any(folder in clip.name.split("/")[:-1] for folder in folders)
