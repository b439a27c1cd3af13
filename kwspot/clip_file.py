"""Clips on disk: 16 kHz mono FLAC, whole or not there."""

import io
from pathlib import Path

from kwspot.errors import AudioError
from kwspot.features import SAMPLE_RATE, FloatArray


def write_clip(path: Path, samples: FloatArray) -> int:
    """Write samples (N,) in 16 bits and return the bytes that took.

    Raises AudioError where the file cannot be written, on a full disk for one; nothing is left.
    """
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    try:
        try:
            return path.write_bytes(buffer.getvalue())
        except OSError:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AudioError(f"cannot write {path}: {error.strerror}") from error
