"""Dry sound -> a place: its room, its noise, a device's channel, hiss and level."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from kwspot.endpoints import speech_level
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot_export import augment
from kwspot_export.augment import Conditions
from kwspot_export.corpus import Corpus

BABBLE_TALKERS = 3, 4, 6, 6, 8  # how many speak at once, in stretches of
BABBLE_SAMPLES = 120 * SAMPLE_RATE
HISS_BELOW_DB = 10.0  # below the sound at least, or faint words would be but hiss


@dataclass(frozen=True)
class Acoustics:
    """What places are made of. `noises` and `speech` are clips of the corpus."""

    corpus: Corpus
    rooms: list[FloatArray]
    babble: FloatArray
    noises: npt.NDArray[np.int64]
    speech: npt.NDArray[np.int64]
    speech_weights: npt.NDArray[np.float64]
    conditions: Conditions

    def worsen(self, dry: FloatArray, rng: Generator) -> FloatArray:
        """Apply room, channel, noise, device floor and level: (N,) -> (N,)."""
        how = self.conditions
        level = speech_level(dry) if dry.any() else 0.05
        response = None
        if rng.random() < how.room_share and self.rooms:
            response = self.rooms[int(rng.integers(len(self.rooms)))]
        noisy = dry
        if rng.random() < how.noise_share:
            noise, snr_db = self._noise(len(dry), rng)
            noisy = augment.add_at_snr(dry, noise, float(rng.uniform(*snr_db)), level)
        channel = rng if rng.random() < how.channel_share else None
        if response is not None or channel is not None:
            noisy = augment.room_and_channel(noisy, response, channel)
        rms = float(np.sqrt(np.mean(noisy**2)) + 1e-9)
        level_db = rng.uniform(*how.level_db)
        gain = 10 ** (level_db / 20) / rms
        floor = 10 ** (min(rng.uniform(*how.floor_db), level_db - HISS_BELOW_DB) / 20)
        hiss = rng.standard_normal(len(noisy), np.float32) * np.float32(floor)
        return np.clip(noisy * np.float32(gain) + hiss, -1, 1)

    def _noise(self, length: int, rng: Generator) -> tuple[FloatArray, tuple[float, float]]:
        """Draw noise and the range of its signal-to-noise ratio."""
        how = self.conditions
        kind = rng.random()
        if kind < 0.5:
            start = int(rng.integers(len(self.babble) - length))
            return self.babble[start : start + length], how.babble_snr_db
        if kind < 0.62:
            return augment.coloured_noise(length, rng), how.snr_db
        if kind < 0.72:
            index = int(rng.choice(self.speech, p=self.speech_weights))
        else:
            index = int(rng.choice(self.noises))
        noise = self.corpus.crop(index, length, rng)
        return np.resize(noise, length), how.snr_db


def draw_babble(corpus: Corpus, speech: npt.NDArray[np.int64], rng: Generator) -> FloatArray:
    """Mix ten minutes of babble, of few talkers and many, from clips of speech."""
    return np.concatenate(
        [augment.babble(corpus, speech, n, BABBLE_SAMPLES, rng) for n in BABBLE_TALKERS]
    )
