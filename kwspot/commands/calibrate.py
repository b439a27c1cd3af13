"""Fit a model's thresholds to a place, from minutes or hours of what it sounds like.

The background should hold all that is usual there (speech, television, kitchen), and not the
keyword. The model file stays as it is: what is written is a small file beside it, for
`kwspot listen --thresholds FILE` and `KeywordDetector(model, thresholds=FILE)`.
"""

import argparse
from pathlib import Path

import numpy as np

from kwspot.calibration import Refit
from kwspot.commands.listen import add_verify_argument
from kwspot.commands.outputs import check_outputs
from kwspot.errors import AudioError
from kwspot.hearing import choose_keyword
from kwspot.loader import load_model
from kwspot.model import Model
from kwspot.place import write_place
from kwspot.place_fit import Fit, fit_place, highest_scores, place_of
from kwspot.sources import AudioFile

HELP = "fit thresholds to the sound of a place"
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")
LISTED = 10  # suspects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot calibrate`."""
    parser.add_argument("--model", required=True, help="model file, or name of an installed model")
    parser.add_argument(
        "--background",
        nargs="+",
        required=True,
        type=Path,
        metavar="FILE|DIR",
        help="recordings of the place, or folders of them",
    )
    parser.add_argument(
        "--positives",
        type=Path,
        metavar="DIR",
        help="recordings of the keyword: says how many are heard at the new thresholds",
    )
    parser.add_argument(
        "--keyword", metavar="LABEL", help="of the positives (default: the model's first)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the thresholds")
    add_verify_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Hear the background, print what it says, and write the file that was asked for."""
    check_outputs(args.output)
    model = load_model(args.model)
    keyword = choose_keyword(model.info, args.keyword)
    backgrounds = [(str(path), AudioFile(path)) for path in recordings(args.background)]
    positives = [AudioFile(path) for path in recordings([args.positives] if args.positives else [])]
    fit = fit_place(model, backgrounds, args.verify)
    scores = highest_scores(model, keyword, positives, args.verify) if positives else None
    print("\n".join(_lines(fit, model, keyword, scores)))
    if args.output is not None:
        write_place(place_of(model, fit, args.verify), args.output)
        print(f"wrote {args.output}: kwspot listen --model {args.model} --thresholds {args.output}")
    return 0


def recordings(places: list[Path]) -> list[Path]:
    """Return files as they are, and the recordings below folders."""
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
            found.append(place)
            continue
        inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not inside:
            raise AudioError(f"{place} holds no recordings: they end in {', '.join(SUFFIXES)}")
        found += inside
    return found


def _lines(fit: Fit, model: Model, positives_of: str, scores: np.ndarray | None) -> list[str]:
    """Say what was found, a table a keyword and then all that deserves a warning."""
    name = model.info.name
    lines = [f"{fit.hours:.2f} h of background, heard by {name} without a gate"]
    for label, refits in fit.refits.items():
        lines += ["", f"{label:<12} false alarms/h  threshold  the model's own  the place's say"]
        for sensitivity, found in refits.items():
            line = (
                f"  {sensitivity:<10} {found.own.false_alarms_per_hour:14g}  "
                f"{found.threshold:9.4f}  {found.own.threshold:15.4f}  {found.share:14.0%}"
            )
            if scores is not None and label == positives_of:
                heard = int(np.sum(scores >= found.threshold))
                before = int(np.sum(scores >= found.own.threshold))
                line += f"   hears {heard} of {len(scores)} positives, {before} before"
            lines.append(line)
        lines += _warnings(label, refits, fit.hours)
    if fit.suspects:
        lines += ["", "here the model would fire even at low sensitivity:"]
        for suspect in fit.suspects[:LISTED]:
            lines.append(
                f"  {suspect.name} at {suspect.time:.0f} s: {suspect.keyword}, "
                f"score {suspect.score:.3f}"
            )
        if len(fit.suspects) > LISTED:
            lines.append(f"  and {len(fit.suspects) - LISTED} more")
        lines.append(
            "if that is the keyword, cut it out and calibrate again: it was counted as false alarms"
        )
    return lines


def _warnings(label: str, refits: dict[str, Refit], hours: float) -> list[str]:
    lines = []
    short = [found for found in refits.values() if found.share < 1]
    if short and not short[0].share:
        lines.append(f"  hardly anything here is like {label}: the model's own thresholds stay")
    elif short:
        rates = ", ".join(f"{found.own.false_alarms_per_hour:g}" for found in short)
        longest = 1 / min(found.own.false_alarms_per_hour for found in short)
        lines.append(
            f"  too short to tell {rates} an hour by itself: the rest is the model's own threshold "
            f"(the place decides alone from {longest:g} h on)"
        )
    raised = [name for name, found in refits.items() if found.refuted]
    if raised:
        lines.append(
            f"  raised above what was heard here: {', '.join(raised)}; {label} may be missed more"
        )
    return lines
