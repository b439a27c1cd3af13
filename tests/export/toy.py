"""A toy data folder: a keyword of two tones, other words of other tones, noises and rooms.

Small enough to train on in a second; it has every part that a real folder has.
"""

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from kwspot_export.augment import Conditions
from kwspot_export.corpus import Corpus
from kwspot_export.heads import JointNet
from kwspot_export.parity import state_specs
from kwspot_export.recipe import Recipe, Student, Transformer
from kwspot_export.student import ConvEncoder, FrameNet
from kwspot_export.train import Run
from kwspot_export.transformer import TransformerEncoder
from numpy.random import Generator

from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.manifest import COLUMNS, Clip
from kwspot.modelfile import (
    FORMAT,
    SENSITIVITIES,
    Keyword,
    ModelInfo,
    OperatingPoint,
    Provenance,
)

KEYWORD = "beep boop"
WORD_SECONDS = 0.40
PAD_SECONDS = 0.15  # silence before and after a word, as a cut recording has
# Sound as it is: no speed, room, channel or noise; every window at one level over a faint hiss.
PLAIN = Conditions(
    speed_share=0.0,
    room_share=0.0,
    channel_share=0.0,
    noise_share=0.0,
    level_db=(-20.0, -20.0),
    floor_db=(-90.0, -90.0),
)

RECIPE = """
name = "toy"
keyword = "beep boop"
licence = "Apache-2.0"
seed = 5

[data]
manifests = ["real.csv", "made.csv"]
noises = ["noise/"]
rooms = ["rooms/"]
confusables = ["made/confusable/"]
validation_negatives = ["speech/", "other/", "noise/", "unlicensed/"]
hold_out_every = 3
ignored_texts = ["beep booper"]

[data.licences]
toy-wake = "public domain"
toy-speech = "CC BY 4.0"
toy-sounds = "MIT"
kokoro-82m = "Apache-2.0"

[data.positives]
"wake/" = 0.5
"made/keyword/" = 0.3
"made/sentence/" = 0.2

[data.negatives]
"speech/" = 0.8
"other/" = 0.2

[student]
channels = 8
dilations = [1, 2]

[schedule]
steps = 12
batch = 8
warm_up = 2
frame_loss_until = 0.5
mine_at = [0.25, 0.5]
validate_every = 4
average_decay = 0.9

[decision]
smoothing = 2

# The validation streams last about a minute and a half, 45 blocks of 2 s.
[false_alarms_per_hour]
low = 100
medium = 300
high = 600
"""


def glide(rng: Generator, seconds: float, begin_hz: float, end_hz: float) -> FloatArray:
    """Make a tone and its octave that glide from one pitch to another, RMS about 0.1."""
    size = int(seconds * SAMPLE_RATE)
    hz = np.linspace(begin_hz, end_hz, size) * rng.uniform(0.95, 1.05)
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE
    tone = np.sin(phase) + rng.uniform(0.3, 0.7) * np.sin(2 * phase)
    edge = np.minimum(1, np.minimum(np.arange(size), np.arange(size)[::-1]) / 80)  # 5 ms fades
    return (0.12 * tone * edge).astype(np.float32)


def keyword(rng: Generator) -> FloatArray:
    """Say the keyword: a high tone that falls, then a low one that rises."""
    half = WORD_SECONDS / 2
    return np.concatenate([glide(rng, half, 1900, 1300), glide(rng, half, 500, 800)])


def other_words(rng: Generator, count: int) -> FloatArray:
    """Say other words: glides between random pitches, with short pauses."""
    parts = []
    for _ in range(count):
        begin_hz, end_hz = rng.uniform(200, 3000, 2)
        parts += [glide(rng, rng.uniform(0.15, 0.35), begin_hz, end_hz), silence(0.06)]
    return np.concatenate(parts)


def silence(seconds: float) -> FloatArray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def clip(rng: Generator, *parts: FloatArray) -> FloatArray:
    """Join parts to a clip with a little silence around and a quiet hiss throughout."""
    samples = np.concatenate([silence(PAD_SECONDS), *parts, silence(PAD_SECONDS)])
    return samples + rng.standard_normal(len(samples), np.float32) * np.float32(1e-4)


def room(rng: Generator) -> FloatArray:
    """Make a room response: 20 ms of delay, a direct sound, a decaying tail."""
    tail = rng.standard_normal(int(0.3 * SAMPLE_RATE)) * 0.05
    tail *= np.exp(-np.arange(len(tail)) / (0.05 * SAMPLE_RATE))
    tail[0] = 0.8
    return np.concatenate([silence(0.02), tail.astype(np.float32)])


def recordings(rng: Generator) -> Iterator[tuple[str, str, str, str, str, FloatArray]]:
    """Yield (path, text, speaker, role, source, samples) of every clip."""
    word, spaced = "beep boop", "Beep, boop!"
    for i in range(6):
        yield f"wake/{i}.flac", word, f"w{i}", "train", "toy-wake", clip(rng, keyword(rng))
    yield "wake/6.flac", spaced, "w6", "validation", "toy-wake", clip(rng, keyword(rng))
    yield "wake/7.flac", word, "w7", "test", "toy-wake", clip(rng, keyword(rng))
    for i in range(4):
        role = "validation" if i == 3 else "train"
        path = f"made/keyword/{i}.flac"
        yield path, spaced, f"k{i}", role, "kokoro-82m", clip(rng, keyword(rng))
    for i in range(4):
        role = "validation" if i > 1 else "train"
        said, rest = (keyword(rng), silence(0.12)), other_words(rng, 3)
        first = i % 2 == 0
        text = "beep boop turn it up" if first else "turn it up beep boop"
        samples = clip(rng, *said, rest) if first else clip(rng, rest, *said)
        yield f"made/sentence/{i}.flac", text, f"k{i}", role, "kokoro-82m", samples
    for i in range(2):
        samples = clip(rng, keyword(rng)[::-1])
        yield f"made/confusable/{i}.flac", "poob peeb", f"k{i}", "train", "kokoro-82m", samples
    for i in range(7):
        role = "train" if i < 4 else "validation" if i < 6 else "test"
        samples = clip(rng, other_words(rng, 14))
        yield f"speech/{i}.flac", "and so on", f"s{i}", role, "toy-speech", samples
    # Every third speaker of the keyword is held out: w2, who says other words too, and w5.
    for speaker in ("w1", "w2"):
        samples = clip(rng, other_words(rng, 4))
        yield f"other/{speaker}.flac", "not that", speaker, "train", "toy-speech", samples
    samples = clip(rng, keyword(rng), other_words(rng, 1))
    yield "other/ignored.flac", "Beep-booper", "w1", "train", "toy-speech", samples
    yield (
        "unlicensed/0.flac",
        "far away",
        "u0",
        "train",
        "toy-secret",
        clip(rng, other_words(rng, 8)),
    )
    for i in range(3):
        noise = rng.standard_normal(2 * SAMPLE_RATE, np.float32) * np.float32(0.03)
        role = "validation" if i == 2 else "train"
        yield f"noise/{i}.flac", "", f"n{i}", role, "toy-sounds", noise
    for i in range(2):
        yield f"rooms/{i}.flac", "", f"r{i}", "train", "toy-sounds", room(rng)


def write_data(folder: Path) -> Path:
    """Write the recordings and their two manifests, `real.csv` and `made.csv`."""
    rng = np.random.default_rng(1)
    rows: dict[str, list[tuple[str, ...]]] = {"real.csv": [], "made.csv": []}
    for path, text, speaker, role, source, samples in recordings(rng):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, samples, SAMPLE_RATE, subtype="PCM_16")
        manifest = "made.csv" if path.startswith("made/") else "real.csv"
        seconds = f"{len(samples) / SAMPLE_RATE:.3f}"
        rows[manifest].append((path, seconds, text, speaker, role, source))
    for manifest, lines in rows.items():
        write_manifest(folder / manifest, lines)
    return folder


def write_manifest(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def corpus_of(*clips: tuple[str, FloatArray]) -> Corpus:
    """Make a corpus in memory of (name, samples); the text of a clip is its name."""
    listed = [Clip(Path(), name, 0.0, name, "", "train", "toy") for name, _ in clips]
    samples = [np.round(samples * 32767).astype(np.int16) for _, samples in clips]
    offsets = np.cumsum([0, *(len(part) for part in samples)])
    return Corpus(listed, np.concatenate(samples), offsets)  # type: ignore[arg-type]


def start_run(recipe: Recipe, data: Path, folder: Path) -> Run:
    """Make a run that composes its batches in this process."""
    return Run(recipe, data, folder, data / "cache", workers=0)


def random_net(
    dilations: tuple[int, ...] = (1, 2), channels: int = 8, mels: int = 40, seed: int = 0
) -> FrameNet:
    """Make a net that has seen something: random weights, random BatchNorm statistics."""
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    encoder = ConvEncoder(mels, Student(channels=channels, dilations=dilations))
    net = FrameNet(encoder, 1).eval()
    for layer in encoder.layers:
        norm = layer.norm
        for values, low, high in (
            (norm.weight.data, 0.5, 1.5),
            (norm.bias.data, -0.5, 0.5),
            (norm.running_mean, -0.5, 0.5),
            (norm.running_var, 0.3, 2.0),
        ):
            values.copy_(low + (high - low) * torch.rand(values.shape, generator=random))
    return net


def random_transformer(
    layers: int = 2, context: int = 5, width: int = 16, mels: int = 40, seed: int = 0
) -> TransformerEncoder:
    """Make a transformer whose attention prefers some positions to others."""
    torch.manual_seed(seed)
    size = Transformer(layers, width, feed_forward=32, heads=4, context=context)
    encoder = TransformerEncoder(mels, size).eval()
    for layer in encoder.layers:
        torch.nn.init.normal_(layer.position)
        torch.nn.init.normal_(layer.project.bias)  # so that keys of zero are not those of silence
    return encoder


def describe(net: FrameNet | JointNet, labels: tuple[str, ...], embedding: int = 0) -> ModelInfo:
    """Say what a model file of the net would say of itself."""
    points = {name: OperatingPoint(0.5, 1.0) for name in SENSITIVITIES}
    return ModelInfo(
        format=FORMAT,
        name="random",
        keywords=tuple(Keyword(label, points, 0.4) for label in labels),
        frames_per_step=8,
        outputs_per_step=2,
        receptive_field=net.receptive_field,
        states=state_specs(net.streaming()),
        provenance=Provenance("Apache-2.0", "none", "random weights", {"torch": "any"}),
        embedding=embedding,
    )


def random_features(frames: int, mels: int = 40, seed: int = 0) -> torch.Tensor:
    """Make features (1, T, F) between those of silence, 0, and those of loud speech, 17."""
    random = torch.Generator().manual_seed(seed)
    return 17 * torch.rand(1, frames, mels, generator=random)


def assert_one_sentence(error: BaseException) -> None:
    """A message for a person: one line that says something."""
    message = str(error)
    assert len(message.split()) > 3
    assert "\n" not in message


@dataclass(frozen=True)
class Exported:
    """A net with random weights as a model file."""

    net: FrameNet | JointNet
    info: ModelInfo
    path: Path
    difference: float
    said: list[logging.LogRecord]


@dataclass(frozen=True)
class Commanded:
    """What `kwspot train` left behind and said."""

    status: int
    model: Path
    folder: Path
    said: str
