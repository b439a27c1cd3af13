"""What is added to keywords: babble of several people, noise or music, for as long as it takes."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator, default_rng

from kwspot.endpoints import speech_level, speech_span
from kwspot.errors import ManifestError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.manifest import Clip
from kwspot.material import Material, read_clip

KINDS = ("babble", "noise", "music")
TALKERS = 6
QUIETEST = 1e-3  # -60 dBFS; a talker whose clip has less is pausing and is not made louder

_SEED = 2  # a part of the seed: silence uses 1, speakers 3, rooms 4


def has_clips(material: Material, kind: str) -> bool:
    """Tell whether a role has the clips that one of KINDS is made of."""
    if kind == "babble":
        return len(_speakers(material.talkers)) >= TALKERS
    return bool(_sounds(material, kind))


class Interference:
    """Endless babble of TALKERS people, or endless noise or music, a recording after the other.

    At every time, the talkers are different speakers, where the manifest knows speakers; they are
    equally loud and never pause between two clips. Raises ManifestError where clips are missing.
    """

    def __init__(self, material: Material, kind: str, seed: int) -> None:
        rng = default_rng((seed, _SEED))
        if kind == "babble":
            shares = _deal(material.talkers, rng)
        else:
            shares = [list(_sounds(material, kind))]
            if not shares[0]:
                raise ManifestError(
                    f"the role has no clips in a folder {kind}/: leave {kind}:SNR out"
                )
        self._lanes = [_Lane(share, rng) for share in shares]

    def take(self, count: int) -> FloatArray:
        """Return the next samples: float32 (count,), of no particular level."""
        total = np.zeros(count, np.float32)
        for lane in self._lanes:
            total += lane.take(count)
        return total


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


def _sounds(material: Material, kind: str) -> tuple[Clip, ...]:
    return material.noises if kind == "noise" else material.music


def _speakers(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Group clips by speaker; one of an unknown speaker is a speaker of its own."""
    speakers: dict[str, list[Clip]] = {}
    for clip in clips:
        speakers.setdefault(clip.speaker or clip.name, []).append(clip)
    return speakers


def _deal(clips: Sequence[Clip], rng: Generator) -> list[list[Clip]]:
    """Deal speakers to lanes."""
    speakers = _speakers(clips)
    if len(speakers) < TALKERS:
        raise ManifestError(
            f"babble needs {TALKERS} talkers, the role has {len(speakers)}: leave babble:SNR out"
        )
    lanes: list[list[Clip]] = [[] for _ in range(TALKERS)]
    voices = list(speakers.values())
    for number, voice in enumerate(rng.permutation(len(voices)).tolist()):
        lanes[number % TALKERS] += voices[voice]
    return lanes
