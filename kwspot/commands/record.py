"""Record a phrase from the microphone, clip by clip, each checked as soon as it is spoken.

Say the phrase when you are asked to; what is clipped, too quiet, too noisy, too short or too long
is asked for again. DIR gets 16 kHz FLAC files and manifest.csv, which training takes. Ctrl-C ends;
the same command goes on counting. Vary what you will vary later: distance, mood, speed.
"""

import argparse
import sys
from pathlib import Path

from kwspot.clip_file import write_clip
from kwspot.commands.numbers import count
from kwspot.errors import AudioError, KwspotError
from kwspot.features import SAMPLE_RATE
from kwspot.manifest import Clip, add_clip, read_manifest, spoken
from kwspot.microphone import Microphone
from kwspot.recorder import Take, takes
from kwspot.sources import AudioFile, Source

HELP = "record clips of a phrase, with level checks"
MANIFEST = "manifest.csv"
SOURCE = "recorded"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot record`."""
    parser.add_argument("phrase", help="what will be said")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the clips")
    parser.add_argument("--count", type=count, default=10, help="clips (default: %(default)s)")
    parser.add_argument("--speaker", default="me", help="who says it (default: %(default)s)")
    parser.add_argument("--device", help="microphone: index or part of the name (`kwspot devices`)")
    parser.add_argument("--input", metavar="FILE", help="a recording instead of the microphone")


def run(args: argparse.Namespace) -> int:
    """Ask for clips until there are enough; return 1 where the source ends before."""
    if not spoken(args.phrase) or not _slug(args.speaker):
        raise KwspotError("an empty phrase or speaker cannot be recorded: name words")
    folder: Path = args.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(f"cannot make the folder {folder}: {error.strerror}") from error
    done = _recorded(folder, args.phrase, args.speaker)
    if done >= args.count:
        print(f"{folder} holds {done} clips of «{args.phrase}» by {args.speaker}: ask for more")
        return 0
    source: Source = AudioFile(args.input) if args.input else Microphone(args.device)

    def ready() -> None:
        print(f"{done + 1} of {args.count}: say «{args.phrase}»", file=sys.stderr, flush=True)

    for take in takes(source, ready):
        if take.fault is not None:
            print(f"   again, please: {take.fault}", flush=True)
            continue
        name = _keep(folder, take, args.phrase, args.speaker)
        done += 1
        print(
            f"   good: {name}, {take.seconds:.2f} s, {take.level_db:.0f} dBFS, "
            f"{take.snr_db:.0f} dB above the room",
            flush=True,
        )
        if done == args.count:
            return 0
    print(f"the sound ended after {done} of {args.count} clips", file=sys.stderr)
    return 1


def _recorded(folder: Path, phrase: str, speaker: str) -> int:
    manifest = folder / MANIFEST
    clips = read_manifest(manifest) if manifest.exists() else []
    return sum(clip.says(phrase) and clip.speaker == speaker for clip in clips)


def _keep(folder: Path, take: Take, phrase: str, speaker: str) -> str:
    """Write a clip under the next free number and add it to the manifest; return its name."""
    stem, number = f"{_slug(phrase)}-{_slug(speaker)}", 1
    while (folder / f"{stem}-{number:03d}.flac").exists():
        number += 1
    path = folder / f"{stem}-{number:03d}.flac"
    write_clip(path, take.samples)
    seconds = round(len(take.samples) / SAMPLE_RATE, 2)
    add_clip(folder / MANIFEST, Clip(path, path.name, seconds, phrase, speaker, "train", SOURCE))
    return path.name


def _slug(text: str) -> str:
    return spoken(text).replace(" ", "_").replace("'", "")
