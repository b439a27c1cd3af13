"""Write clips of phrases, said by many synthetic voices, and their manifest.csv.

Clips of the phrases are in tts/, those of their neighbours in near/: names for a recipe of `kwspot
train`. Interrupted, the command resumes.
"""

import argparse
from pathlib import Path

from kwspot.commands.numbers import count, whole

HELP = "say phrases with many synthetic voices"
NEAR_CLIPS = 5  # of each neighbour: many words by a few voices teach more than few by many


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot synthesise`."""
    parser.add_argument("phrases", nargs="+", metavar="PHRASE", help="what to say")
    parser.add_argument(
        "--voices",
        action="append",
        metavar="ENGINE",
        help="folder with a Kokoro model or with Piper voices, or espeak-ng; several take turns "
        "(default: espeak-ng)",
    )
    parser.add_argument("--clips", type=count, default=100, help="of each phrase (default: 100)")
    parser.add_argument(
        "--neighbours",
        type=whole,
        default=0,
        metavar="N",
        help=f"also say the N phrases that sound most like each, {NEAR_CLIPS} clips each",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder")
    parser.add_argument("--seed", type=whole, default=1, help="of the voices drawn (default: 1)")
    parser.add_argument(
        "--workers", type=count, default=2, help="processes that speak (default: 2)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the clips; return the exit status."""
    from kwspot.manifest import spoken
    from kwspot_export.commands.console import bars
    from kwspot_export.engines import SpeechError
    from kwspot_export.neighbours import neighbours
    from kwspot_export.synthesis import Line, synthesise

    for phrase in args.phrases:
        if not spoken(phrase):
            raise SpeechError(f"{phrase!r} has no word in it")
    asked = {spoken(phrase): phrase for phrase in args.phrases}
    lines = [Line(phrase, args.clips, "tts") for phrase in asked.values()]
    if args.neighbours:
        near = [t for phrase in asked.values() for t in neighbours(phrase, args.neighbours)]
        lines += [Line(t, NEAR_CLIPS, "near") for t in dict.fromkeys(near) if t not in asked]
    with bars() as shown:
        manifest = synthesise(
            lines,
            args.voices or ["espeak-ng"],
            args.output,
            args.seed,
            args.workers,
            lambda done, total: shown.prepared("clips", done, total),
        )
    print(manifest)
    return 0
