"""Where speech starts and ends in a clip that holds one word or phrase, from its energy alone."""

import numpy as np

from kwspot.features import SAMPLE_RATE, FloatArray

FRAME = 160  # 10 ms
SMOOTH_FRAMES = 5  # 50 ms, longer than a glottal period, shorter than a syllable
BELOW_PEAK_DB = 30.0  # the weak end of a vowel is about this far below the loudest one
ABOVE_FLOOR_DB = 9.0  # what noise seldom exceeds in a 50 ms mean


def speech_span(samples: FloatArray) -> tuple[int, int]:
    """Find the span of speech: float32 (N,) -> (start, end) in samples, 0 <= start < end <= N.

    Frames count as speech when they are less than 30 dB below the loudest frame and more than 9 dB
    above the noise floor (the 10th percentile), unless the clip holds hardly any pause. A clip
    shorter than 50 ms is speech from end to end.
    """
    frames = len(samples) // FRAME
    if frames <= SMOOTH_FRAMES:
        return 0, len(samples)
    power = np.square(samples[: frames * FRAME]).reshape(frames, FRAME).mean(axis=1)
    power = np.convolve(power, np.full(SMOOTH_FRAMES, 1 / SMOOTH_FRAMES), mode="same")
    level_db = 10 * np.log10(power + 1e-12)
    peak, floor = level_db.max(), np.percentile(level_db, 10)
    threshold = max(peak - BELOW_PEAK_DB, min(floor + ABOVE_FLOOR_DB, peak - 12.0))
    active = np.flatnonzero(level_db >= threshold)
    return int(active[0]) * FRAME, min(len(samples), (int(active[-1]) + 1) * FRAME)


def speech_level(samples: FloatArray) -> float:
    """Return the root mean square of a clip's speech span, linear, full scale 1."""
    start, end = speech_span(samples)
    return float(np.sqrt(np.mean(np.square(samples[start:end], dtype=np.float64)) + 1e-12))


def seconds(samples: int) -> float:
    """Convert a count of samples at 16 kHz to seconds."""
    return samples / SAMPLE_RATE
