"""Raw PCM as a source: the bytes that `arecord` or another program writes to a pipe."""

import io
import logging
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from kwspot.convert import Converter
from kwspot.errors import AudioError
from kwspot.features import SAMPLE_RATE, FloatArray

log = logging.getLogger(__name__)

READ_BYTES = 1 << 14  # half a second of 16 kHz int16; a live pipe gives what it has, which is less
PCM_FORMATS = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}
LENGTH_UNKNOWN = 0x7FFF_0000  # bytes; programs that write WAV to a pipe promise 2 GiB or more

_WAV_FORMATS = {(1, 8): "u8", (1, 16): "s16le", (1, 32): "s32le", (3, 32): "f32le"}
_WAV_EXTENSIBLE = 0xFFFE  # The format tag is then the start of a GUID at byte 24.


class PcmStream:
    """Raw PCM from a binary file object such as `sys.stdin.buffer`, delivered as it comes in.

    `rate` is in Hz, channels are interleaved, `sample_format` is one of PCM_FORMATS. A stream that
    begins with a WAV header, as `arecord` without `-t raw` writes it, is taken at the header's word
    instead. Can be iterated once. Raises AudioError for a stream that ends before its first sample,
    or with a header of another format.
    """

    live = False

    def __init__(
        self,
        file: BinaryIO,
        rate: int = SAMPLE_RATE,
        channels: int = 1,
        sample_format: str = "s16le",
    ) -> None:
        if isinstance(file, io.TextIOBase):
            raise AudioError("a text stream carries no PCM: pass its .buffer, as sys.stdin.buffer")
        if sample_format not in PCM_FORMATS:
            raise AudioError(
                f"{sample_format!r} is no sample format: use one of {', '.join(PCM_FORMATS)}"
            )
        Converter(rate, channels)  # refuses impossible ones here rather than while iterating
        self._file = file
        self._format = _PcmFormat(rate, channels, sample_format)

    def __iter__(self) -> Iterator[FloatArray]:
        """Yield a block for each piece that the stream has ready."""
        pcm, limit = self._format, math.inf
        start = _take(self._file, 4)
        if start == b"RIFF":
            start = b""
            pcm, limit = _wav_header(self._file)
        yield from Converter(pcm.rate, pcm.channels).blocks(self._arrays(start, pcm, limit))

    def _arrays(self, start: bytes, pcm: "_PcmFormat", limit: float) -> Iterator[npt.NDArray[Any]]:
        """Yield the bytes as whole frames of samples, as they come in."""
        dtype = np.dtype(PCM_FORMATS[pcm.sample_format])
        frame = dtype.itemsize * pcm.channels
        rest, begun = b"", False
        for piece in chain([start], _pieces(self._file, limit)):
            data = rest + piece
            whole = len(data) - len(data) % frame
            rest = data[whole:]
            begun = begun or whole > 0
            yield np.frombuffer(data[:whole], dtype)
        if not begun:
            raise AudioError(
                "the stream ended before its first sample: check the program that writes it"
            )
        if rest:
            log.warning("the stream ends inside a sample: its last %d bytes are ignored", len(rest))


@dataclass(frozen=True)
class _PcmFormat:
    rate: int
    channels: int
    sample_format: str


def _take(file: BinaryIO, count: int) -> bytes:
    """Read `count` bytes, fewer at the end only."""
    return b"".join(_pieces(file, count))


def _pieces(file: BinaryIO, limit: float) -> Iterator[bytes]:
    """Yield bytes as soon as there are some, `limit` at most in all."""
    read = getattr(file, "read1", file.read)  # read() of a buffered file waits for all of them.
    while limit > 0 and (piece := read(int(min(READ_BYTES, limit)))):
        limit -= len(piece)
        yield piece


def _wav_header(file: BinaryIO) -> tuple[_PcmFormat, float]:
    """Read a WAV header past its "RIFF": the format, and how many bytes of audio come next."""
    _take(file, 8)  # the length of the file, and "WAVE"
    rate = channels = tag = bits = 0
    while len(head := _take(file, 8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            break
        body = _take(file, size + size % 2)
        if name == b"fmt " and len(body) >= 16:
            tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if tag == _WAV_EXTENSIBLE and len(body) >= 26:
                (tag,) = struct.unpack_from("<H", body, 24)
    else:
        raise AudioError("the stream ends in its WAV header: check the program that writes it")
    if (tag, bits) not in _WAV_FORMATS:
        raise AudioError(
            f"the stream has a WAV header of format {tag} with {bits} bits, which is not known: "
            f"send raw PCM, as one of {', '.join(PCM_FORMATS)}"
        )
    length = math.inf if size == 0 or size >= LENGTH_UNKNOWN else size
    return _PcmFormat(rate, channels, _WAV_FORMATS[tag, bits]), length
