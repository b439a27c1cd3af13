"""Where audio comes from: files, arrays and iterables, all as float32 mono at 16 kHz.

```
AudioFile | Samples | Chunks | PcmStream (pcm.py) | Microphone -> blocks of float32 (n,), any n
```
"""

import io
import logging
import os
import re
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from kwspot.convert import Converter
from kwspot.errors import AudioError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.pcm import LENGTH_UNKNOWN

log = logging.getLogger(__name__)

BLOCK_SECONDS = 0.1


@runtime_checkable
class Source(Protocol):
    """Anything that yields blocks of float32 (n,), mono at 16 kHz in [-1, 1].

    `live` tells that the audio is being recorded now, and ends only when somebody says so.
    """

    live: bool

    def __iter__(self) -> Iterator[FloatArray]: ...


def as_source(
    audio: Source | str | os.PathLike[str] | npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
) -> Source:
    """Make a source of a path, of an array at 16 kHz, or of an iterable of arrays at 16 kHz.

    Sources are returned as they are. Raises AudioError for anything else.
    """
    if isinstance(audio, Source):
        return audio
    if isinstance(audio, str | os.PathLike):
        return AudioFile(audio)
    if isinstance(audio, np.ndarray):
        return Samples(audio)
    if isinstance(audio, Iterable) and not isinstance(audio, bytes | bytearray | io.IOBase):
        return Chunks(audio)
    raise AudioError(
        f"a {type(audio).__name__} is no source of audio: pass a path, an array or an iterable of "
        "arrays, or PcmStream(file) for a file object with raw PCM"
    )


class AudioFile:
    """A recording in any format that libsndfile reads, at any rate and with any channels.

    Can be iterated again and again; blocks are read from disk as they are needed. `seconds` is the
    length of what the file holds, None where only reading it through would tell.

    Raises AudioError, here if it can and otherwise while iterating, for a file that is missing,
    empty or no audio, that holds NaN, or that cannot be decoded further: what comes before is
    delivered. A file that just ends too early is delivered, with a warning in the log.
    """

    live = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._check_file()
        with self._open() as file:
            rate = file.samplerate
            self.seconds = file.frames / rate if _length_known(file) else None
        with closing(iter(self)) as blocks:
            if next(blocks, None) is None:
                raise AudioError(f"{self.path} holds no samples: record it again")

    def __iter__(self) -> Generator[FloatArray, None, None]:
        """Decode from the beginning, a tenth of a second a block."""
        with self._open() as file:
            try:
                yield from self._converted(file)
            except AudioError as error:
                raise AudioError(f"{self.path}: {error}") from error
            missing = _promised_frames(file) - file.tell()
            # Lossy codecs promise a few milliseconds more or less than they decode to.
            if _length_known(file) and missing > BLOCK_SECONDS * file.samplerate:
                log.warning(
                    "%s breaks off: its header promises %.2f s, but only %.2f s are there",
                    self.path,
                    (file.tell() + missing) / file.samplerate,
                    file.tell() / file.samplerate,
                )

    def _converted(self, file: Any) -> Iterator[FloatArray]:
        failure = None

        def decoded() -> Iterator[npt.NDArray[np.float32]]:
            nonlocal failure
            while failure is None:
                block, failure = _read(file)
                if not len(block):
                    return
                yield block

        yield from Converter(file.samplerate, file.channels).blocks(decoded())
        if failure is not None:
            raise AudioError(
                f"cannot be decoded after {file.tell() / file.samplerate:.2f} s ({failure}): "
                "copy or record it again"
            )

    def _check_file(self) -> None:
        try:
            status = self.path.stat()
            regular = stat.S_ISREG(status.st_mode)
            if regular:  # libsndfile would call a lack of permission a "System error".
                self.path.open("rb").close()
        except OSError as error:
            raise AudioError(f"cannot read {self.path}: {error.strerror}") from error
        if not regular:
            kind = "a directory" if self.path.is_dir() else "no regular file"
            raise AudioError(f"{self.path} is {kind}: name a recording, or pipe raw PCM in")
        if status.st_size == 0:
            raise AudioError(f"{self.path} is an empty file: record it again")

    def _open(self) -> Any:
        import soundfile

        try:
            file = soundfile.SoundFile(self.path)
        except TypeError as error:  # soundfile wants to be told the format of *.raw.
            raise AudioError(
                f"{self.path} is named like raw PCM, which does not tell its rate and format: "
                "pipe it in, or convert it to WAV"
            ) from error
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self.path} is no audio that can be read ({_reason(error)}): "
                "convert it to WAV or FLAC"
            ) from error
        # soundfile seeks after each read of a seekable file, and each seek costs MP3 its bit
        # reservoir: audible gaps. Reading forward needs no seeking.
        file.seekable = lambda: False
        return file


class Samples:
    """An array as a source: (n,) or (n, channels), with the dtypes of `Converter.convert`.

    `rate` is in Hz. Raises AudioError for arrays that are no audio.
    """

    live = False

    def __init__(self, array: npt.NDArray[Any], rate: int = SAMPLE_RATE) -> None:
        stacked = isinstance(array, np.ndarray) and array.ndim == 2
        channels = array.shape[1] if stacked else 1
        self._audio = Converter(rate, channels).convert(array, last=True)

    def __iter__(self) -> Iterator[FloatArray]:
        """Yield a tenth of a second a block."""
        block = int(BLOCK_SECONDS * SAMPLE_RATE)
        for start in range(0, len(self._audio), block):
            yield self._audio[start : start + block]


class Chunks:
    """An iterable of arrays as a source, each (n,) with interleaved channels, or (n, channels).

    `rate` is in Hz. Raises AudioError while iterating, with the second, for what is no audio.
    """

    live = False

    def __init__(
        self, chunks: Iterable[npt.NDArray[Any]], rate: int = SAMPLE_RATE, channels: int = 1
    ) -> None:
        self._chunks = chunks
        self._rate = rate
        self._channels = channels
        Converter(rate, channels)  # refuses impossible ones here rather than while iterating

    def __iter__(self) -> Iterator[FloatArray]:
        """Return a block for each chunk, or fewer where resampling gathers them."""
        return Converter(self._rate, self._channels).blocks(self._chunks)


def _read(file: Any) -> tuple[npt.NDArray[np.float32], str | None]:
    """Read the next block, float32 (n, C), and why nothing can be read after it, if so."""
    import soundfile

    frames = int(BLOCK_SECONDS * file.samplerate)
    block = np.empty((frames, file.channels), np.float32)
    start = file.tell()
    try:
        return file.read(out=block), None
    except soundfile.LibsndfileError as error:
        return block[: file.tell() - start], _reason(error)


def _reason(error: Any) -> str:
    return str(error.error_string).removeprefix("Error : ").rstrip(".")


def _length_known(file: Any) -> bool:
    return bool(file.frames < 2**62)


def _promised_frames(file: Any) -> int:
    """Samples that the header promises.

    libsndfile counts what a WAV or AIFF file still holds, and says only in its log that the header
    promised more.
    """
    found = re.search(r"^ ?(?:data|SSND) *: (\d+) \(should be (\d+)\)", file.extra_info, re.M)
    promised, there = map(int, found.groups()) if found else (0, 0)
    if there == 0 or promised >= LENGTH_UNKNOWN:
        return int(file.frames)
    return int(file.frames * promised / there)
