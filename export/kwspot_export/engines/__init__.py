"""Speech synthesis behind one protocol: a text and a voice in, samples out.

A voice is a short text that says all there is to it, as manifests have it in their column
`speaker`: the same engine says the same text with the same voice alike.
"""

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Protocol

from numpy.random import Generator

from kwspot.errors import KwspotError
from kwspot.features import FloatArray


class SpeechError(KwspotError, RuntimeError):
    """Speech that cannot be synthesised."""


class Engine(Protocol):
    """Something that speaks. `name` is the source of its clips, `licence` that of what it says."""

    name: str
    licence: str

    def draw(self, role: str, rng: Generator) -> str:
        """Draw a voice; those of the roles `train` and `validation` share no base voice."""

    def say(self, text: str, voice: str) -> FloatArray:
        """Say a text, or IPA between slashes: samples (N,) in [-1, 1] at 16 kHz."""


def phonemes_in(text: str) -> str | None:
    """Return the IPA that stands between slashes, with punctuation after it; None for words."""
    found = re.fullmatch(r"\s*/([^/]*\w[^/]*)/([.!,?]?)\s*", text)
    return found[1].strip() + found[2] if found else None


def open_engine(source: str) -> Engine:
    """Open an engine: a folder with a Kokoro model or with Piper voices, or `espeak-ng`.

    Raises SpeechError for anything else, and for an engine whose package is not installed.
    """
    if source == "espeak-ng":
        if shutil.which("espeak-ng") is None:
            raise SpeechError("espeak-ng is not installed: apt install espeak-ng")
        from kwspot_export.engines.espeak import Espeak

        return Espeak()
    folder = Path(source)
    if any(folder.glob("voices*.bin")):
        _need("kokoro_onnx", "kokoro-onnx", source)
        from kwspot_export.engines.kokoro import open_kokoro

        return open_kokoro(folder)
    if any(folder.glob("*.onnx.json")):
        _need("piper", "piper-tts", source)
        from kwspot_export.engines.piper import open_piper

        return open_piper(folder)
    raise SpeechError(
        f"{source} is no speech engine: give a folder with a Kokoro model (kokoro*.onnx and "
        "voices*.bin), one with Piper voices (*.onnx and *.onnx.json), or espeak-ng"
    )


def _need(module: str, package: str, source: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise SpeechError(
            f"{source} needs {package}, which is not installed: pip install {package}"
        )


def held_out(names: list[str], role: str) -> list[str]:
    """Return the base voices of a role: every eighth is kept for validation, at least one.

    Raises SpeechError where there are too few to keep any.
    """
    kept = names[::8]
    voices = kept if role == "validation" else [name for name in names if name not in kept]
    if not voices:
        raise SpeechError(f"one voice ({names[0]}) is not enough to train on and to validate")
    return voices
