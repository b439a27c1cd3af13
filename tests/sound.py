"""Sounds for tests: bursts like words, in silence."""

import numpy as np

from kwspot.features import SAMPLE_RATE, FloatArray


def words(seconds: float, seed: int, silence: float = 0.0) -> FloatArray:
    """Make bursts of harmonics that glide, with pauses; `silence` seconds before and after."""
    rng = np.random.default_rng(seed)
    total = int(seconds * SAMPLE_RATE)
    samples = np.zeros(total, np.float32)
    position = 0
    while position < total:
        length = min(int(rng.uniform(0.1, 0.5) * SAMPLE_RATE), total - position)
        t = np.arange(length) / SAMPLE_RATE
        pitch = rng.uniform(90, 260) * (1 + rng.uniform(-0.5, 0.5) * t)
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
        burst = sum(rng.uniform(0, 1) / k * np.sin(k * phase) for k in range(1, 16))
        samples[position : position + length] = burst * np.hanning(length) * rng.uniform(0.05, 0.2)
        position += length + int(rng.uniform(0.05, 0.3) * SAMPLE_RATE)
    quiet = np.zeros(int(silence * SAMPLE_RATE), np.float32)
    samples = np.concatenate([quiet, samples, quiet])
    hiss = rng.standard_normal(len(samples)) * 10 ** (-72 / 20)
    return (samples + hiss).astype(np.float32)


def as_int16(samples: FloatArray) -> np.ndarray:
    """Quantise to int16."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def voice(bright: bool, seed: int, seconds: float = 0.8, level: float = 0.1) -> FloatArray:
    """Make a steady sound of a dark or a bright voice; `level` is its RMS."""
    samples = np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE))
    for _ in range(3):
        samples = np.convolve(samples, [1, -0.9 if bright else 0.9], mode="same")
    return (level * samples / samples.std()).astype(np.float32)
