"""Make the bundled demo recording `kwspot/demo.flac` with a speech synthesiser.

```
parts of a sentence -> Kokoro (24 kHz) -> 16 kHz, one level -> gaps -> + pink noise -> peak -> FLAC
```

The keyword is spoken three times, by three voices, between words that sound like it, spoken by four
others, in one continuous noise. No person was recorded, and the seven voices are those that the
training data keeps for validation.

    pip install kokoro-onnx soundfile soxr
    python examples/make_demo.py --model kokoro-v1.0.int8.onnx --voices voices-v1.0.bin

The model and the voices (Kokoro-82M, Apache-2.0) are the two files that the package kokoro-onnx
loads: https://github.com/thewh1teagle/kokoro-onnx/releases/tag/model-files-v1.0. The command prints
when everything is said as JSON, and writes the same to `--truth`.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

if TYPE_CHECKING:
    from kokoro_onnx import Kokoro

FloatArray = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
FRAME = SAMPLE_RATE // 100  # 10 ms
LEAD = SAMPLE_RATE * 3 // 2  # 1.5 s of noise alone before the first item and after the last
GAPS = (SAMPLE_RATE * 6 // 5, SAMPLE_RATE * 9 // 5)  # 1.2 to 1.8 s between items
PAUSE = SAMPLE_RATE // 4  # 0.25 s between the parts of an item
EDGE_DB = -35.0  # A word begins and ends where its frames fall this far below the loudest.
SNR_DB = 15.0  # speech while it is spoken against noise, over the whole recording
PEAK_DB = -6.0
NOISE_CORNER_HZ = 50.0  # Microphones roll off below, so the noise stops rising there.

KEYWORD = "Alexa"


@dataclass(frozen=True)
class Item:
    """What one voice says; parts are synthesised apart, so that each has times of its own."""

    voice: str
    language: str
    level_db: float
    parts: tuple[str, ...]


ITEMS = (
    Item("hm_omega", "en-us", -2.0, ("Alaska is cold in winter.",)),
    Item("bf_emma", "en-gb", 0.0, ("Alexa.",)),
    Item("am_eric", "en-us", -4.0, ("The election is next week.",)),
    Item("ff_siwis", "en-us", -1.0, ("She drives a Lexus.",)),
    Item("bm_lewis", "en-gb", -3.0, ("Alexa,", "turn on the kitchen light.")),
    Item("zf_xiaoyi", "en-us", -5.0, ("Melissa has an electric car.",)),
    Item("am_eric", "en-us", -2.0, ("A lesson in history.",)),
    Item("af_kore", "en-us", -6.0, ("Alexa,", "what time is it?")),
    Item("hm_omega", "en-us", -3.0, ("Electric.",)),
)


@dataclass(frozen=True)
class Utterance:
    """One part in the recording: its words, from where to where they sound, in seconds."""

    text: str
    start: float
    end: float
    keyword: bool


def edges(speech: FloatArray) -> tuple[int, int]:
    """Return the samples between which clean speech (N,) sounds, to 10 ms."""
    frames = speech[: len(speech) // FRAME * FRAME].reshape(-1, FRAME)
    energy = np.mean(frames**2, axis=1)
    loud = np.flatnonzero(energy > np.max(energy) * 10 ** (EDGE_DB / 10))
    return int(loud[0]) * FRAME, (int(loud[-1]) + 1) * FRAME


def speak(kokoro: "Kokoro", item: Item) -> Iterator[FloatArray]:
    """Yield each part (N,), cut to where it sounds, at the item's level against an RMS of 1."""
    for text in item.parts:
        audio, rate = kokoro.create(text, item.voice, lang=item.language)
        speech = soxr.resample(audio, rate, SAMPLE_RATE)
        start, end = edges(speech)
        speech = speech[start:end]
        yield speech * 10 ** (item.level_db / 20) / np.sqrt(np.mean(speech**2))


def arrange(
    spoken: list[list[FloatArray]], rng: np.random.Generator
) -> tuple[FloatArray, list[Utterance]]:
    """Lay the parts of all items out in time. Return speech (N,), silent between, and its times."""
    pieces, truth, position = [], [], LEAD
    for item, parts in zip(ITEMS, spoken, strict=True):
        for text, speech in zip(item.parts, parts, strict=True):
            end = position + len(speech)
            pieces.append((position, speech))
            truth.append(
                Utterance(
                    text=text,
                    start=round(position / SAMPLE_RATE, 2),
                    end=round(end / SAMPLE_RATE, 2),
                    keyword=text.rstrip(",.") == KEYWORD,
                )
            )
            position = end + PAUSE
        position = end + int(rng.integers(*GAPS))
    recording = np.zeros(end + LEAD, np.float32)
    for start, speech in pieces:
        recording[start : start + len(speech)] = speech
    return recording, truth


def pink_noise(samples: int, rng: np.random.Generator) -> FloatArray:
    """Return noise (samples,) of RMS 1 whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency_hz, NOISE_CORNER_HZ)), samples)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def mix(speech: FloatArray, noise: FloatArray) -> FloatArray:
    """Add noise of RMS 1 to speech (N,), silent between its parts, and scale to the peak."""
    speech_power = np.mean(speech[speech != 0] ** 2)
    recording = speech + noise * np.sqrt(speech_power) * 10 ** (-SNR_DB / 20)
    return recording * 10 ** (PEAK_DB / 20) / np.max(np.abs(recording))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="kokoro-v1.0.int8.onnx")
    parser.add_argument("--voices", type=Path, required=True, help="voices-v1.0.bin")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "kwspot" / "demo.flac"
    )
    parser.add_argument("--truth", type=Path, help="JSON file for when everything is said")
    parser.add_argument("--seed", type=int, default=0, help="of the noise and the gaps")
    args = parser.parse_args()

    from kokoro_onnx import Kokoro

    kokoro = Kokoro(str(args.model), str(args.voices))
    rng = np.random.default_rng(args.seed)
    speech, truth = arrange([list(speak(kokoro, item)) for item in ITEMS], rng)
    recording = mix(speech, pink_noise(len(speech), rng))
    soundfile.write(args.output, recording, SAMPLE_RATE, format="FLAC", subtype="PCM_16")

    report = json.dumps([asdict(utterance) for utterance in truth], indent=2) + "\n"
    print(report, end="")
    if args.truth:
        args.truth.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
