"""Enroll a voice, so that detections say who spoke; or list and delete those enrolled.

Five recordings of the keyword by one person are enough; without --recordings the microphone takes
them. What is kept is one small file without audio that its owner alone can read, and that holds for
all models whose voices the same net tells apart. A convenience, no security: a recording of the
voice passes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from kwspot.commands.calibrate import recordings
from kwspot.enrolment import Enrolment, Utterance
from kwspot.errors import VoiceError
from kwspot.hearing import choose_keyword
from kwspot.loader import load_model
from kwspot.microphone import Microphone
from kwspot.recorder import takes
from kwspot.sources import AudioFile, Source
from kwspot.voices import (
    check_name,
    delete_profile,
    profile_names,
    read_profile,
    voices_folder,
    write_profile,
)

HELP = "teach a voice, to know who spoke"
CLIPS = 5  # asked for at the microphone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot enroll`."""
    parser.add_argument("name", nargs="?", help="whose voice it is")
    parser.add_argument("--model", help="model file, or name of an installed model")
    parser.add_argument(
        "--recordings",
        type=Path,
        metavar="DIR",
        help="of the keyword by this person, three or more",
    )
    parser.add_argument(
        "--keyword", metavar="LABEL", help="that is said (default: the model's first)"
    )
    parser.add_argument("--device", help="microphone: index or part of the name (`kwspot devices`)")
    parser.add_argument("--input", metavar="FILE", help="a recording instead of the microphone")
    parser.add_argument(
        "--profiles",
        type=Path,
        metavar="DIR",
        help="of profiles (default: $XDG_DATA_HOME/kwspot/voices)",
    )
    parser.add_argument("--list", action="store_true", help="list the voices that are enrolled")
    parser.add_argument("--delete", action="store_true", help="delete the profile of NAME")


def run(args: argparse.Namespace) -> int:
    """Enroll, list or delete; return 1 where the sound ends before there are enough clips."""
    folder = args.profiles or voices_folder()
    if args.list:
        for name in profile_names(folder):
            profile = read_profile(name, folder)
            print(f"{name:<12} {profile.model}, {profile.clips} clips, {profile.version}")
        return 0
    if args.name is None:
        raise VoiceError("name the voice: kwspot enroll NAME --model M, or --list")
    if args.delete:
        print(f"deleted {delete_profile(args.name, folder)}")
        return 0
    if args.model is None:
        raise VoiceError("name the model that is to know the voice: --model M")
    name = check_name(args.name)
    model = load_model(args.model)
    keyword = choose_keyword(model.info, args.keyword)
    enrolment = Enrolment(model, keyword)
    if args.recordings is not None:
        utterances = [
            enrolment.hear(path.name, np.concatenate(list(AudioFile(path))))
            for path in recordings([args.recordings])
        ]
    else:
        source: Source = AudioFile(args.input) if args.input else Microphone(args.device)
        utterances = _spoken(enrolment, source, keyword)
        if len(utterances) < CLIPS:
            print(f"the sound ended after {len(utterances)} of {CLIPS} clips", file=sys.stderr)
            return 1
    profile, judged = enrolment.profile(utterances)
    for utterance in judged:
        if utterance.fault is not None:
            print(f"left out {utterance.name}: {utterance.fault}")
    path = write_profile(profile, name, folder)
    print(f"{name}: {profile.clips} of {len(judged)} clips agree; wrote {path}")
    place = f" --profiles {folder}" if args.profiles else ""
    print(f"kwspot listen --model {args.model}{place} --only {name!r}")
    return 0


def _spoken(enrolment: Enrolment, source: Source, keyword: str) -> list[Utterance]:
    """Ask for clips until there are enough, or the source ends."""
    good: list[Utterance] = []

    def ready() -> None:
        print(f"{len(good) + 1} of {CLIPS}: say «{keyword}»", file=sys.stderr, flush=True)

    for take in takes(source, ready):
        fault = take.fault
        if fault is None:
            utterance = enrolment.hear(f"clip {len(good) + 1}", take.samples)
            fault = utterance.fault
        if fault is not None:
            print(f"   again, please: {fault}", flush=True)
            continue
        print(f"   good: {take.seconds:.2f} s, {take.level_db:.0f} dBFS", flush=True)
        good.append(utterance)
        if len(good) == CLIPS:
            break
    return good
