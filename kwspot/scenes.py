"""Synthetic audio to measure with, always the same: silence, speech, music, and life at home.

The model's work does not depend on what it hears, but the gate's decision does.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from kwspot.features import SAMPLE_RATE, FloatArray

TALK = 4.0  # seconds of syllables, then as many of a pause, and so on
SYLLABLES = 4.0  # a second, as in running speech
TALK_LEVEL = 0.05  # amplitude at the middle of a syllable, about -26 dBFS
NOISE_LEVEL = 10 ** (-70 / 20)  # -70 dBFS, a quiet room
MUSIC_LEVEL = 0.05
CHORDS = ((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6))  # Hz; A, G, F
BEAT = 0.5  # seconds
HOME = (("silence", 42), ("speech", 12), ("music", 6))  # seconds of each, a minute in all

Second = npt.NDArray[np.float64]  # (SAMPLE_RATE,), times or samples of one second


def scene(name: str) -> Iterator[FloatArray]:
    """Yield one of SCENES second by second for ever, on the noise of a quiet room."""
    rng = np.random.default_rng(1)
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    while True:
        noise = rng.standard_normal(SAMPLE_RATE)
        yield (NOISE_LEVEL * noise + _SOUNDS[name](time_s, noise)).astype(np.float32)
        time_s = time_s + 1


def _silence(time_s: Second, noise: Second) -> Second:
    return np.zeros(SAMPLE_RATE)


def _speech(time_s: Second, noise: Second) -> Second:
    """Noise that rises and falls like syllables, with pauses."""
    talking = time_s % (2 * TALK) < TALK
    level = TALK_LEVEL * np.sin(np.pi * SYLLABLES * time_s) ** 2
    return np.where(talking, level * noise, 0.0)


def _music(time_s: Second, noise: Second) -> Second:
    """Chords of five harmonics that die away within each beat."""
    chord = CHORDS[int(time_s[0]) // 2 % len(CHORDS)]
    tones = [np.sin(2 * np.pi * n * hz * time_s) / n for hz in chord for n in range(1, 6)]
    decay: Second = np.exp(-3 * (time_s % BEAT))
    return MUSIC_LEVEL * decay * sum(tones, np.zeros(SAMPLE_RATE))


def _home(time_s: Second, noise: Second) -> Second:
    second = int(time_s[0]) % len(_HOME_SECONDS)
    return _SOUNDS[_HOME_SECONDS[second]](time_s, noise)


_HOME_SECONDS = [name for name, length in HOME for _ in range(length)]
_SOUNDS: dict[str, Callable[[Second, Second], Second]] = {
    "silence": _silence,
    "speech": _speech,
    "music": _music,
    "home": _home,
}
SCENES = {
    "silence": "a quiet room",
    "speech": "synthetic speech, every other 4 s a pause",
    "music": "synthetic music",
    "home": "each minute 42 s of silence, 12 s of speech, 6 s of music, all synthetic",
}
