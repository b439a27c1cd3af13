"""espeak-ng: a formant synthesiser, rough, and everywhere; for want of better voices.

A voice is `LANGUAGE+VARIANT@SPEED^PITCH`, speed in words a minute, pitch from 0 to 99.
"""

import io
import subprocess

import numpy as np
from numpy.random import Generator

from kwspot.convert import Converter
from kwspot.features import FloatArray
from kwspot_export.engines import SpeechError, held_out, phonemes_in

LANGUAGES = "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp"
VARIANTS = [f"f{n}" for n in range(1, 6)] + [f"m{n}" for n in range(1, 9)]
WORDS_A_MINUTE = 130, 200
PITCH = 20, 80


class Espeak:
    """The engine: the program `espeak-ng`, once a clip."""

    name = "espeak-ng"
    # GPL is the program; what it says is its user's (espeak-ng's own FAQ).
    licence = "no claim on its output"

    def draw(self, role: str, rng: Generator) -> str:
        """Draw a variant of an accent, a speed and a pitch."""
        variant = rng.choice(held_out(VARIANTS, role))
        speed, pitch = rng.integers(*WORDS_A_MINUTE), rng.integers(*PITCH)
        return f"{rng.choice(LANGUAGES)}+{variant}@{speed}^{pitch}"

    def say(self, text: str, voice: str) -> FloatArray:
        """Say a text: samples (N,) in [-1, 1] at 16 kHz."""
        import soundfile

        if phonemes_in(text) is not None:
            raise SpeechError(
                f"espeak-ng reads no IPA and cannot say {text!r}: spell it as it sounds, "
                "or give voices of Kokoro or Piper"
            )
        who, _, how = voice.partition("@")
        speed, _, pitch = how.partition("^")
        command = ["espeak-ng", "-v", who, "-s", speed, "-p", pitch, "--stdout", "--stdin"]
        done = subprocess.run(command, input=text.encode(), capture_output=True)
        if done.returncode or not done.stdout:
            reason = done.stderr.decode(errors="replace").strip().split("\n")[0]
            raise SpeechError(f"espeak-ng cannot say {text!r} as {who}: {reason or 'no sound'}")
        samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
        return Converter(rate, 1).convert(np.asarray(samples), last=True)
