"""How a word reaches the microphone: spoken slower or faster, across a room, softer or louder."""

import numpy as np
import soxr
from numpy.random import default_rng

from kwspot.endpoints import speech_level
from kwspot.errors import ManifestError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.material import Material, read_clip

LEAD = SAMPLE_RATE // 1000  # 1 ms of a response before its direct sound, so that a word keeps time

_SEED = 4  # a part of the seed: silence, babble and speakers use 1 to 3
_QUIETEST = 1e-6  # -120 dBFS; a clip of digital silence stays one


def at_speed(samples: FloatArray, factor: float) -> FloatArray:
    """Play samples (N,) faster or slower, pitch and all (Ko et al. 2015): float32 (N / factor,)."""
    if factor == 1:
        return samples
    played = soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE)
    return np.asarray(played, np.float32)


def at_level(samples: FloatArray, level_db: float) -> FloatArray:
    """Scale samples (N,) so that the loudest is at `level_db` dBFS."""
    peak = max(float(np.max(np.abs(samples))), _QUIETEST)
    return samples * np.float32(10 ** (level_db / 20) / peak)


class Rooms:
    """The room responses of a role: each word is heard in one of them, drawn by the seed.

    Raises ManifestError where there are none, and AudioError for one that cannot be read.
    """

    def __init__(self, material: Material, seed: int) -> None:
        if not material.rooms:
            raise ManifestError(
                "the manifests have no clips in a folder room_responses/ outside the role 'train', "
                "whose rooms models have been in: leave room out"
            )
        self._responses = [_from_direct_sound(read_clip(clip)) for clip in material.rooms]
        self._rng = default_rng((seed, _SEED))

    def next(self, speech: FloatArray, tail: int) -> FloatArray:
        """Put a clip (N,) into the next room: float32 (N + tail,), its speech as loud as before."""
        response = self._responses[int(self._rng.integers(len(self._responses)))]
        length = len(speech) + tail
        size = 1 << (length + len(response)).bit_length()
        spectrum = np.fft.rfft(speech, size) * np.fft.rfft(response, size)
        wet = np.fft.irfft(spectrum, size)[:length].astype(np.float32)
        return wet * np.float32(speech_level(speech) / speech_level(wet[: len(speech)]))


def _from_direct_sound(response: FloatArray) -> FloatArray:
    return response[max(0, int(np.argmax(np.abs(response))) - LEAD) :]
