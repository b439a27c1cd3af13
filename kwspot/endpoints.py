"""Where speech starts and ends in a clip that holds one word or phrase, from its energy alone."""

import numpy as np

from kwspot.features import FloatArray

FRAME = 160  # 10 ms
SMOOTH_FRAMES = 5  # 50 ms, longer than a glottal period, shorter than a syllable
BELOW_PEAK = 10 ** (-30.0 / 10)  # the weak end of a vowel is about 30 dB below the loudest one
ABOVE_FLOOR = 10 ** (9.0 / 10)  # what noise seldom exceeds in a 50 ms mean
LEAST_RANGE = 10 ** (-12.0 / 10)  # in a clip without a pause, the floor is speech as well


def speech_span(samples: FloatArray) -> tuple[int, int]:
    """Find the span of speech: float32 (N,) -> (start, end) in samples, 0 <= start < end <= N.

    Frames count as speech when they are less than 30 dB below the loudest frame and more than 9 dB
    above the noise floor (the quietest tenth), unless the clip holds hardly any pause. A clip
    shorter than 50 ms is speech from end to end.
    """
    frames = len(samples) // FRAME
    if frames <= SMOOTH_FRAMES:
        return 0, len(samples)
    power = np.square(samples[: frames * FRAME]).reshape(frames, FRAME).mean(axis=1)
    power = np.convolve(power, np.full(SMOOTH_FRAMES, 1 / SMOOTH_FRAMES), mode="same")
    tenth = frames // 10
    peak, floor = power.max(), np.partition(power, tenth)[tenth]
    threshold = max(peak * BELOW_PEAK, min(floor * ABOVE_FLOOR, peak * LEAST_RANGE))
    active = np.flatnonzero(power >= threshold)
    return int(active[0]) * FRAME, min(len(samples), (int(active[-1]) + 1) * FRAME)


def speech_level(samples: FloatArray) -> float:
    """Return the root mean square of a clip's speech span, linear, full scale 1."""
    start, end = speech_span(samples)
    return float(np.sqrt(np.mean(np.square(samples[start:end], dtype=np.float64)) + 1e-12))
