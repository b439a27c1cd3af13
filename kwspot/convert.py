"""The edge of kwspot, where audio of any format becomes float32 mono at 16 kHz in [-1, 1].

```
any sample format -> float32 in [-1, 1] -> mean of the channels -> soxr -> float32 mono 16 kHz
```

Letters in shapes: n samples (of every channel), C channels.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from kwspot.errors import AudioError
from kwspot.features import SAMPLE_RATE, FloatArray

MIN_RATE = 4_000  # Hz; below it a header is broken: telephone speech has 8 kHz
MAX_RATE = 768_000  # Hz, the fastest converters on sale
MAX_CHANNELS = 64  # More means an array of shape (C, n): the largest microphone arrays have 64.
# Mastered music and resampling overshoot 1 a little; int16 values passed as floats reach hundreds.
MAX_PEAK = 8.0

_INT16_STEP = np.float32(2.0**-15)  # a power of two: exact in float32


def to_float(samples: object) -> FloatArray:
    """Check 16 kHz mono samples, int16 or float in [-1, 1], and return them as float32. Shape (n,).

    int16 values are divided by 32768, which is exact. A float32 array is returned as it is, not
    copied. Raises AudioError for anything else: another type or shape, NaN or infinite values, and
    floats that are far outside [-1, 1].
    """
    array = _array(samples)
    if array.ndim != 1:
        raise AudioError(
            f"samples have the shape {array.shape}, but (n,) is needed: "
            "pass one channel, or the mean of the channels"
        )
    kind = array.dtype.type
    if kind is np.int16:
        return cast(FloatArray, array * _INT16_STEP)
    if kind is not np.float32 and kind is not np.float64:
        raise AudioError(
            f"samples are {array.dtype}, but int16, or float32 in [-1, 1], is needed: convert them"
        )
    return _unit(array, lambda index: f"sample {index} of {array.size}")


class Converter:
    """Turns the blocks of one stream into float32 mono at 16 kHz, however the stream is cut.

    `rate` is in Hz. Raises AudioError for a rate or a number of channels that no recording has.
    """

    def __init__(self, rate: int, channels: int) -> None:
        if not MIN_RATE <= rate <= MAX_RATE:
            raise AudioError(
                f"a sample rate of {rate} Hz is not between {MIN_RATE} and {MAX_RATE} Hz: "
                "give the rate the audio was recorded at"
            )
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(
                f"audio with {channels} channels is not between 1 and {MAX_CHANNELS}: "
                "arrays must have the shape (n, channels)"
            )
        self._rate = rate
        self._channels = channels
        self._taken = 0  # samples of every channel so far, to say where a bad one is
        self._resampler = None if rate == SAMPLE_RATE else _resampler(rate)

    def convert(self, block: npt.NDArray[Any], last: bool = False) -> FloatArray:
        """Convert the next block: (n,) with interleaved channels, or (n, C) -> float32 (m,).

        Samples are uint8, int16 or int32 at full scale, or float32 or float64 in [-1, 1]. At 16 kHz
        m is n; at other rates output comes in bursts some 30 ms long and late, the rest with
        `last`, which ends the stream. Raises AudioError as `to_float` does, with the second.
        """
        mono = self._mono(_array(block))
        if self._resampler is None:
            return mono
        return cast(FloatArray, self._resampler.resample_chunk(mono, last=last))

    def blocks(self, blocks: Iterable[npt.NDArray[Any]]) -> Iterator[FloatArray]:
        """Convert a whole stream, block by block; what is empty is left out."""
        for block in blocks:
            if len(mono := self.convert(block)):
                yield mono
        if len(rest := self.convert(np.zeros(0, np.float32), last=True)):
            yield rest

    def _mono(self, block: npt.NDArray[Any]) -> FloatArray:
        channels = self._channels
        interleaved = block.ndim == 1 and block.size % channels == 0
        if not interleaved and block.shape[1:] != (channels,):
            raise AudioError(
                f"a block has the shape {block.shape}, but the stream has {channels} channels: "
                "blocks must have the shape (n, channels), or (n,) with the channels interleaved"
            )
        taken = self._taken

        def where(index: int) -> str:
            return f"the sample at {(taken + index // channels) / self._rate:.2f} s"

        samples = _unit(block, where).reshape(-1, channels)
        self._taken += len(samples)
        return samples[:, 0] if channels == 1 else samples.mean(axis=1)


def _resampler(rate: int) -> Any:
    import soxr

    return soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")


def _array(samples: object) -> npt.NDArray[Any]:
    if isinstance(samples, np.ndarray):
        return samples
    raise AudioError(
        f"samples are a {type(samples).__name__}, but a numpy array is needed: "
        "use np.frombuffer(data, np.int16) for bytes, np.asarray(data, np.float32) for a list"
    )


def _unit(samples: npt.NDArray[Any], where: Callable[[int], str]) -> FloatArray:
    """Scale samples of any shape to [-1, 1]; `where` names a sample by its flat index."""
    kind = samples.dtype.type
    if kind is np.int16:
        return cast(FloatArray, samples * _INT16_STEP)
    if kind is np.float32 or kind is np.float64:
        _check_level(samples, where)
        return samples.astype(np.float32, copy=False)
    if kind is np.int32:
        return samples.astype(np.float32) * np.float32(2.0**-31)
    if kind is np.uint8:  # 8-bit PCM is unsigned, with silence at 128.
        return (samples.astype(np.float32) - 128) * np.float32(2.0**-7)
    raise AudioError(
        f"samples are {samples.dtype}, but uint8, int16, int32, float32 or float64 is needed: "
        "convert them"
    )


def _check_level(samples: npt.NDArray[Any], where: Callable[[int], str]) -> None:
    # NaN makes the minimum and the maximum NaN, and every comparison with it false.
    if samples.size == 0 or (samples.min() >= -MAX_PEAK and samples.max() <= MAX_PEAK):
        return
    index = int(np.argmin(np.abs(samples) <= MAX_PEAK))
    value = samples.flat[index]
    if np.isfinite(value):
        raise AudioError(
            f"{where(index)} is {value:g}, far outside [-1, 1]: "
            "divide samples in the int16 range by 32768, or pass them as int16; "
            "a file that holds such samples was written too loud, or is damaged"
        )
    raise AudioError(f"{where(index)} is {value}: check what made it, audio must be finite numbers")
