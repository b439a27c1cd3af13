"""What happens to sound between a mouth and a model: speed, rooms, channels, noise, level.

The same augmentation serves every source of clips, real and synthetic, keyword and not, or the
model would learn the channel instead of the word. All functions map float32 (N,) to float32 (N,).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.random import Generator

from kwspot.endpoints import speech_level
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot_export.corpus import Corpus

ROOM_SAMPLES = 9600  # 0.6 s of a room's response; 2.4 s + 0.6 s is a quick length to transform


@dataclass(frozen=True)
class Conditions:
    """How often and how strongly sound is changed. Shares in [0, 1], levels in dB.

    The lowest level is that of speech whose peaks are at -40 dBFS, as faint microphones give it.
    """

    speed_share: float = 0.6
    speed: tuple[float, float] = (0.85, 1.18)
    room_share: float = 0.45
    channel_share: float = 0.5
    noise_share: float = 0.75
    snr_db: tuple[float, float] = (-5.0, 20.0)
    babble_snr_db: tuple[float, float] = (-2.0, 20.0)
    level_db: tuple[float, float] = (-58.0, -6.0)
    floor_db: tuple[float, float] = (-90.0, -55.0)


def change_speed(samples: FloatArray, factor: float) -> FloatArray:
    """Play faster or slower; pitch and formants move along. N becomes N / factor."""
    return np.asarray(soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE, "LQ"), np.float32)


def room_and_channel(
    samples: FloatArray, response: FloatArray | None, rng: Generator | None
) -> FloatArray:
    """Convolve with a room response (or none) and, given `rng`, a random band limit and tilt."""
    size = len(samples) + ROOM_SAMPLES  # room for the tail, which is cut off, not wrapped around
    spectrum = np.fft.rfft(samples, size)
    if response is not None:
        spectrum *= np.fft.rfft(response, size)
    if rng is not None:
        spectrum *= _channel(len(spectrum), rng)
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32, copy=False)


def _channel(bins: int, rng: Generator) -> FloatArray:
    """Draw a magnitude response: high pass, low pass (telephone to wide band), spectral tilt."""
    hz = np.linspace(0, SAMPLE_RATE / 2, bins, dtype=np.float32)
    gain = (hz / 1000 + np.float32(0.05)) ** np.float32(rng.uniform(-0.35, 0.35))
    if rng.random() < 0.5:
        corner = np.float32(rng.uniform(60, 350))
        gain /= np.sqrt(1 + np.square(np.square(corner / np.maximum(hz, 1.0))))
    if rng.random() < 0.5:
        steep = np.square(hz / np.float32(rng.uniform(3200, 7500)))  # 36 dB an octave
        gain /= np.sqrt(1 + steep**6)
    return gain


def coloured_noise(length: int, rng: Generator) -> FloatArray:
    """Make noise whose power falls with frequency to a random power (white to brown), RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length, np.float32))
    slope = rng.uniform(0.0, 1.0)
    spectrum *= ((np.arange(len(spectrum)) + 10.0) ** -slope).astype(np.float32)
    noise = np.fft.irfft(spectrum, length).astype(np.float32)
    return noise / np.sqrt(np.mean(noise**2) + 1e-12)


def add_at_snr(signal: FloatArray, noise: FloatArray, snr_db: float, level: float) -> FloatArray:
    """Add noise so that a signal of RMS `level` stands `snr_db` above it."""
    noise_level = np.sqrt(np.mean(noise**2) + 1e-12)
    return signal + noise * np.float32(level / noise_level * 10 ** (-snr_db / 20))


def room_responses(corpus: Corpus, indices: Sequence[int]) -> list[FloatArray]:
    """Load room responses, from just before the direct sound on, each of energy 1."""
    responses = []
    for index in indices:
        response = corpus.audio(index)
        direct = int(np.argmax(np.abs(response)))
        begin = max(0, direct - 16)  # 1 ms before the direct sound, so that the word's time is kept
        response = response[begin : begin + ROOM_SAMPLES]
        responses.append(response / np.sqrt(np.sum(response**2) + 1e-12))
    return responses


def babble(
    corpus: Corpus, indices: Sequence[int], talkers: int, length: int, rng: Generator
) -> FloatArray:
    """Mix `talkers` endless sequences of clips at equal speech level: float32 (length,)."""
    total = np.zeros(length, np.float32)
    for _ in range(talkers):
        position = -int(rng.integers(0, SAMPLE_RATE))
        while position < length:
            clip = corpus.audio(int(rng.choice(indices)))
            clip = clip / speech_level(clip)
            begin, end = max(position, 0), min(position + len(clip), length)
            if end > begin:
                total[begin:end] += clip[begin - position : end - position]
            position += len(clip)
    return total / np.float32(np.sqrt(talkers))
