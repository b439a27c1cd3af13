"""Label the clips that `kwspot listen --keep DIR` kept: the keyword, or not.

Each clip is played, where the machine can, or named. What is labelled moves to DIR/reviewed and is
written to DIR/manifest.csv: `text` is the keyword, or empty for anything else. Skipped clips wait.
"""

import argparse
from pathlib import Path

from kwspot.errors import AudioError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.keeper import Kept, read_kept
from kwspot.review import MANIFEST, clip_samples, label

HELP = "label the clips that listening kept"
QUESTION = "   y it is «{keyword}», n it is not, s skip, r play again, q quit: "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot review`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="of `kwspot listen --keep`")
    parser.add_argument("--speaker", default="", help="who says the keywords (default: not known)")
    parser.add_argument("--silent", action="store_true", help="name clips, do not play them")


def run(args: argparse.Namespace) -> int:
    """Ask for a label of every clip that has none."""
    waiting = read_kept(args.folder)
    player = None if args.silent else _Player()
    labelled = 0
    for number, kept in enumerate(waiting, start=1):
        print(f"{number} of {len(waiting)}: {_line(args.folder, kept)}", flush=True)
        try:
            samples = clip_samples(args.folder, kept)
        except AudioError as error:  # deleted meanwhile, above the limit of what is kept
            print(f"   skipped: {error}")
            continue
        answer = "r"
        while answer == "r":
            if player is not None:
                player.play(samples)
            answer = _ask(kept)
        if answer == "q":
            break
        if answer != "s":
            label(args.folder, kept, answer == "y", args.speaker)
            labelled += 1
    left = len(read_kept(args.folder))
    print(f"{labelled} labelled in {args.folder / MANIFEST}, {left} wait")
    return 0


def _line(folder: Path, kept: Kept) -> str:
    return (
        f"{kept.kind} of {kept.keyword}, score {kept.score:.2f} of {kept.threshold:.2f}, "
        f"{kept.time}, {folder / kept.path}"
    )


def _ask(kept: Kept) -> str:
    """Ask until the answer is one of those that are offered; the end of input quits."""
    while True:
        try:
            answer = input(QUESTION.format(keyword=kept.keyword)).strip().lower()
        except EOFError:
            return "q"
        if answer in ("y", "n", "s", "r", "q"):
            return answer


class _Player:
    """Plays clips, until it turns out that this machine cannot."""

    def __init__(self) -> None:
        self._broken = False

    def play(self, samples: FloatArray) -> None:
        if self._broken:
            return
        try:
            import sounddevice

            sounddevice.play(samples, SAMPLE_RATE)
            sounddevice.wait()
        except Exception as error:  # PortAudioError, or OSError where PortAudio is missing
            print(f"   cannot play ({error}): listen to the files by other means")
            self._broken = True
