"""Recordings of people saying the phrase: looked over before they are learned from.

```
any audio file -> 16 kHz -> silent? clipped? too long or short? another word? -> clip of the run
```

A person's words are told from others by a distilled encoder: the path of least distance in time
(dynamic time warping) to clips of the phrase by synthetic voices, against that to other speech.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from numpy.random import Generator

from kwspot.endpoints import speech_level, speech_span
from kwspot.errors import AudioError
from kwspot.features import SAMPLE_RATE, FloatArray, FrontEnd
from kwspot.manifest import COLUMNS, Clip, read_manifest, spoken
from kwspot.sources import AudioFile
from kwspot_export.encoder_file import load_encoder
from kwspot_export.loop import TrainingError
from kwspot_export.validation import features_of

SUFFIXES = ".wav", ".flac", ".ogg", ".opus", ".mp3"
SOURCE = "recordings"
FULL_SCALE = 0.99
CLIPPED_SHARE = 0.001  # of the samples, a few periods of a shout
QUIETEST_DB = -60.0  # of the speech; breath before a microphone is louder
SHORTEST, LONGEST = 0.5, 2.0  # times the shortest and the longest synthetic clip
TEMPLATES = 60  # clips of the phrase, and pieces of other speech, that a recording is held against
NEAREST = 3  # templates whose mean distance counts
MARGIN = 1.05  # 107 real recordings of two words all pass, and half of those of other wake words


@dataclass(frozen=True)
class Recording:
    """One file that was looked at: what it says, and why it is left out, if it is."""

    path: Path
    text: str
    reason: str = ""


def find_recordings(folder: Path, label: str) -> list[Recording]:
    """List a folder's audio files, all of the phrase, or what its manifest.csv says they are.

    Raises TrainingError for a folder without either.
    """
    if (folder / "manifest.csv").exists():
        clips = read_manifest(folder / "manifest.csv")
        found = [Recording(clip.path, spoken(clip.text)) for clip in clips]
    else:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        found = [Recording(path, label) for path in files]
    if not found:
        raise TrainingError(
            f"{folder} has no recordings: put {', '.join(SUFFIXES[:3])} files there, each with the "
            "phrase once, or a manifest.csv"
        )
    return found


class Judge:
    """Tells recordings of a phrase from others, by synthetic clips of it and by other speech."""

    def __init__(self, phrase: Sequence[FloatArray], others: Sequence[FloatArray], encoder: Path):
        """Take samples (N,) of some dozens of clips each."""
        spans = [_trimmed(clip) for clip in phrase]
        lengths = [len(span) / SAMPLE_RATE for span in spans]
        self.shortest, self.longest = SHORTEST * min(lengths), LONGEST * max(lengths)
        self._encoder = load_encoder(encoder, FrontEnd())[0].eval()  # type: ignore[attr-defined]
        self._phrase = [self._embed(span) for span in spans]
        size = int(np.median([len(span) for span in spans]))
        self._others = [self._embed(clip[:size]) for clip in others]

    def reason_against(self, samples: FloatArray) -> str:
        """Say why samples (N,) are no good recording of the phrase; nothing if they are."""
        speech = _trimmed(samples)
        level = 20 * np.log10(speech_level(samples))
        if level < QUIETEST_DB:
            return f"silent: the loudest part has {level:.0f} dBFS"
        share = float(np.mean(np.abs(samples) >= FULL_SCALE))
        if share > CLIPPED_SHARE:
            return f"clipped: {100 * share:.1f} % of it is at full scale; lower the gain"
        seconds = len(speech) / SAMPLE_RATE
        if not self.shortest <= seconds <= self.longest:
            kind = "short" if seconds < self.shortest else "long"
            return (
                f"too {kind}: {seconds:.2f} s of speech, where the phrase takes "
                f"{self.shortest:.2f} to {self.longest:.2f} s"
            )
        near, far = self.distances(speech)
        if near > MARGIN * far:
            return f"another word: nearer to other speech than to the phrase ({near / far:.2f})"
        return ""

    def distances(self, speech: FloatArray) -> tuple[float, float]:
        """Return the distance of speech (N,) to the phrase, and that to other speech."""
        heard = self._embed(speech)
        return tuple(  # type: ignore[return-value]
            float(np.mean(sorted(_warped(heard, one) for one in templates)[:NEAREST]))
            for templates in (self._phrase, self._others)
        )

    @torch.no_grad()
    def _embed(self, samples: FloatArray) -> npt.NDArray[np.float32]:
        """Return unit vectors (U, C), of which the loudness is gone."""
        samples = samples * np.float32(0.1 / speech_level(samples))
        hidden = self._encoder(features_of(samples, FrontEnd()).float()[None])[0].numpy()
        return hidden / (np.linalg.norm(hidden, axis=1, keepdims=True) + 1e-6)


def _trimmed(samples: FloatArray) -> FloatArray:
    start, end = speech_span(samples)
    return samples[start:end]


def _warped(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> float:
    """Return the mean cosine distance along the best path through time: (U, C), (V, C)."""
    cost = 1 - left @ right.T
    total = np.full((len(left) + 1, len(right) + 1), np.inf)
    total[0, 0] = 0
    for i in range(len(left)):
        for j in range(len(right)):
            before = min(total[i, j], total[i, j + 1], total[i + 1, j])
            total[i + 1, j + 1] = cost[i, j] + before
    return float(total[-1, -1] / (len(left) + len(right)))


def take(found: Sequence[Recording], label: str, judge: Judge, folder: Path) -> list[Recording]:
    """Copy good recordings to `folder` as 16 kHz clips with a manifest; return all, with reasons.

    Those of the phrase come into phrase/, those of anything else, said to be so, into other/.
    """
    judged, rows = [], []
    for number, one in enumerate(found):
        try:
            samples = np.concatenate(list(AudioFile(one.path)))
        except AudioError as error:
            reason = str(error).removeprefix(str(one.path)).lstrip(": ")
            judged.append(Recording(one.path, one.text, reason))
            continue
        reason = judge.reason_against(samples) if one.text == label else ""
        judged.append(Recording(one.path, one.text, reason))
        if reason:
            continue
        name = f"{'phrase' if one.text == label else 'other'}/{number:05}.flac"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")
        rows.append((name, f"{len(samples) / SAMPLE_RATE:.2f}", one.text, "", "train", SOURCE))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return judged


def draw_others(clips: Sequence[Clip], rng: Generator) -> list[FloatArray]:
    """Draw TEMPLATES clips of other speech, samples (N,) from a random place on."""
    drawn = rng.choice(len(clips), min(TEMPLATES, len(clips)), replace=False)
    pieces = []
    for index in drawn:
        samples = _trimmed(np.concatenate(list(AudioFile(clips[index].path))))
        spare = max(1, len(samples) - SAMPLE_RATE)
        pieces.append(samples[int(rng.integers(spare)) :])
    return pieces
