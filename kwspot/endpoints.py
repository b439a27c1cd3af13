"""Where the speech is in a clip, from its energy alone."""

import numpy as np

from kwspot.features import FloatArray

FRAME = 160  # 10 ms
SMOOTH_FRAMES = 5  # 50 ms, longer than a glottal period, shorter than a syllable
PAUSE_FRAMES = 20  # 200 ms: closures inside words are shorter, pauses between phrases longer
PREEMPHASIS = np.float32(0.9)  # hum and breath are low; the weak ends of words are not
LOUD_SHARE = 0.95  # the loudest twentieth may be a click
BELOW_LOUD = 10 ** (-20.0 / 10)  # the weak end of a vowel is about 20 dB below the loud part
ABOVE_FLOOR = 10 ** (9.0 / 10)  # what noise seldom exceeds in a 50 ms mean
LEAST_RANGE = 10 ** (-12.0 / 10)  # in a clip without a pause, the floor is speech as well
DIGITAL_SILENCE = 1e-10  # -100 dBFS; padding says nothing about the noise of a recording


def speech_regions(samples: FloatArray) -> list[tuple[int, int]]:
    """Find stretches of speech: float32 (N,) -> [(start, end), ...] in samples, at least one.

    Frames count as speech when they are less than 20 dB below the loud part of the clip and more
    than 9 dB above its noise floor (the quietest tenth that is no digital silence); stretches less
    than 0.2 s apart are one. A clip shorter than 50 ms, or silent, is speech from end to end.
    """
    frames = (len(samples) - 1) // FRAME
    if frames <= SMOOTH_FRAMES:
        return [(0, len(samples))]
    emphasised = samples[1:] - PREEMPHASIS * samples[:-1]
    framed = emphasised[: frames * FRAME].reshape(frames, FRAME)
    power = np.einsum("ij,ij->i", framed, framed) / FRAME
    power = np.convolve(power, np.full(SMOOTH_FRAMES, 1 / SMOOTH_FRAMES), mode="same")
    live = np.sort(power[power > DIGITAL_SILENCE])
    if not len(live):
        return [(0, len(samples))]
    loud, floor = live[int(LOUD_SHARE * (len(live) - 1))], live[len(live) // 10]
    threshold = max(loud * BELOW_LOUD, min(floor * ABOVE_FLOOR, loud * LEAST_RANGE))
    active = np.flatnonzero(power >= threshold)
    breaks = np.flatnonzero(np.diff(active) > PAUSE_FRAMES) + 1
    stretches = [(int(run[0]), int(run[-1]) + 1) for run in np.split(active, breaks)]
    return [(start * FRAME, end * FRAME) for start, end in stretches]


def speech_span(samples: FloatArray) -> tuple[int, int]:
    """Find the word or phrase in a clip: the longest of its regions, (start, end) in samples."""
    return max(speech_regions(samples), key=lambda region: region[1] - region[0])


def speech_level(samples: FloatArray) -> float:
    """Return the root mean square of a clip's speech span, linear, full scale 1."""
    start, end = speech_span(samples)
    speech = samples[start:end]
    return float(np.sqrt(np.dot(speech, speech) / len(speech) + 1e-12))
