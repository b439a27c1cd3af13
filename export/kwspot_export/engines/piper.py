"""Piper: a folder of voices, NAME.onnx and NAME.onnx.json each, of one speaker or many.

A voice is `NAME#SPEAKER@SPEED~VARIATION`.
"""

import json
from pathlib import Path

import numpy as np
from numpy.random import Generator

from kwspot.convert import Converter
from kwspot.features import FloatArray
from kwspot_export.engines import SpeechError, held_out, phonemes_in

SPEEDS = 0.8, 1.25
VARIATION = 0.5, 1.0  # noise in the sound; Piper's own choice is 0.667


class Piper:
    """The engine."""

    name = "piper"
    licence = "that of its voices"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._speakers = [
            f"{path.name.removesuffix('.onnx.json')}#{number}"
            for path in sorted(folder.glob("*.onnx.json"))
            for number in range(_speakers(path))
        ]
        self._open: dict[str, object] = {}

    def draw(self, role: str, rng: Generator) -> str:
        """Draw a speaker, a speed and a variation."""
        speaker = rng.choice(held_out(self._speakers, role))
        speed = np.exp(rng.uniform(*np.log(SPEEDS)))
        return f"{speaker}@{speed:.2f}~{rng.uniform(*VARIATION):.2f}"

    def say(self, text: str, voice: str) -> FloatArray:
        """Say a text, or IPA between slashes: samples (N,) in [-1, 1] at 16 kHz."""
        import piper

        if (ipa := phonemes_in(text)) is not None:
            text = f"[[ {ipa} ]]"
        who, _, how = voice.partition("@")
        name, _, speaker = who.rpartition("#")
        speed, _, variation = how.partition("~")
        if name not in self._open:
            self._open[name] = piper.PiperVoice.load(self._folder / f"{name}.onnx")
        settings = piper.SynthesisConfig(
            speaker_id=int(speaker),
            length_scale=1 / float(speed),
            noise_scale=float(variation),
        )
        chunks = list(self._open[name].synthesize(text, settings))  # type: ignore[attr-defined]
        samples = np.concatenate([chunk.audio_float_array for chunk in chunks])
        return Converter(chunks[0].sample_rate, 1).convert(samples, last=True)


def open_piper(folder: Path) -> Piper:
    """Open all voices of a folder."""
    return Piper(folder)


def _speakers(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8")).get("num_speakers", 1))
    except (OSError, ValueError) as error:
        raise SpeechError(f"{path} does not describe a Piper voice: {error}") from error
