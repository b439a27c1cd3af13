"""Kokoro-82M by kokoro-onnx, its voices alone, mixed and crossed.

A voice file has a style (lengths, 1, 256) for each of some fifty people: what they sound like in
the first half, how they speak in the second. Convex mixes and crossings are people of their own:

    af_sky@0.9/en-us   mix:af_sky*0.6+am_adam*0.4@1.1/en-gb   swap:af_sky+am_adam@1/en-us#12

(swapped: sound + manner), where the number after @ is the speed and an accent comes last.
"""

from pathlib import Path

import numpy as np
from numpy.random import Generator

from kwspot.convert import Converter
from kwspot.features import FloatArray
from kwspot_export.accents import draw_accent, pronounce, region_of
from kwspot_export.engines import SpeechError, held_out, phonemes_in

TIMBRE = 128  # styles before it carry the sound, those from it on the manner
SPEEDS = 0.8, 1.25
ALONE, MIXED = 0.25, 0.45  # shares of the voices that are drawn; the rest are crossed


class Kokoro:
    """The engine; texts are English, whatever a voice's mother tongue."""

    name = "kokoro-82m"
    licence = "Apache-2.0"

    def __init__(self, model: Path, voices: Path) -> None:
        import kokoro_onnx
        import onnxruntime

        # Several processes speak at once: with a thread a core each, half their time is waiting.
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
            self._kokoro = kokoro_onnx.Kokoro.from_session(session, str(voices))
        except Exception as error:  # of ONNX Runtime or numpy, each with classes of their own
            reason = str(error).split("\n")[0]
            raise SpeechError(f"{model.parent} has no usable Kokoro model: {reason}") from error
        self._names = sorted(self._kokoro.voices.keys())

    def draw(self, role: str, rng: Generator) -> str:
        """Draw a voice, a speed and an accent."""
        names, kind = held_out(self._names, role), rng.random()
        speed = f"@{np.exp(rng.uniform(*np.log(SPEEDS))):.2f}/{draw_accent(rng)}"
        if kind < ALONE or len(names) < 3:
            return str(rng.choice(names)) + speed
        if kind < ALONE + MIXED:
            chosen = rng.choice(names, int(rng.integers(2, 4)), replace=False)
            shares = np.round(rng.dirichlet(np.ones(len(chosen))), 2)
            parts = (f"{name}*{share:.2f}" for name, share in zip(chosen, shares, strict=True))
            return "mix:" + "+".join(parts) + speed
        return "swap:" + "+".join(rng.choice(names, 2, replace=False)) + speed

    def say(self, text: str, voice: str) -> FloatArray:
        """Say a text, or IPA between slashes: samples (N,) in [-1, 1] at 16 kHz."""
        recipe, _, how = voice.rpartition("@")
        speed, _, accent = how.partition("/")
        sounds = phonemes_in(text)
        if sounds is None:
            sounds = self._kokoro.tokenizer.phonemize(text, region_of(accent))
        try:
            samples, rate = self._kokoro.create(
                pronounce(sounds, accent), self._style(recipe), float(speed), is_phonemes=True
            )
        except ValueError as error:  # no phoneme of the text is known
            raise SpeechError(f"kokoro-82m cannot say {text!r}: {error}") from error
        return Converter(rate, 1).convert(samples.astype(np.float32), last=True)

    def _style(self, recipe: str) -> FloatArray:
        kind, _, parts = recipe.rpartition(":")
        if kind == "mix":
            weighted = [part.split("*") for part in parts.split("+")]
            total = sum(float(share) for _, share in weighted)
            styles = [
                self._kokoro.voices[name] * (float(share) / total) for name, share in weighted
            ]
            return np.sum(styles, axis=0, dtype=np.float32)
        if kind == "swap":
            sound, manner = (self._kokoro.voices[name] for name in parts.split("+"))
            return np.concatenate([sound[..., :TIMBRE], manner[..., TIMBRE:]], axis=-1)
        return self._kokoro.voices[parts]


def open_kokoro(folder: Path) -> Kokoro:
    """Open the one model and the one file of voices in a folder."""
    models, voices = sorted(folder.glob("*.onnx")), sorted(folder.glob("voices*.bin"))
    if not models:
        raise SpeechError(f"{folder} has voices, but no Kokoro model (*.onnx)")
    return Kokoro(models[0], voices[0])
