"""Measure a model on the recordings of manifests: recall, false alarms an hour, latency."""

import argparse
import hashlib
import sys
from pathlib import Path

from kwspot.bench import machine
from kwspot.commands.listen import add_detector_arguments
from kwspot.errors import KwspotError
from kwspot.evaluation import Options, evaluate
from kwspot.loader import find_model, load_model
from kwspot.manifest import ROLES, read_manifests
from kwspot.report import Origin, json_report, markdown_report, text_report
from kwspot.streams import parse_condition

HELP = "measure recall and false alarms on recordings"
CONDITIONS = ("clean", "babble:10", "babble:5")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot eval`."""
    parser.add_argument("--model", required=True, help="model file, or name of an installed model")
    parser.add_argument(
        "--manifest", nargs="+", required=True, metavar="CSV", help="lists of recordings"
    )
    parser.add_argument("--role", choices=ROLES, default="test", help="(default: %(default)s)")
    parser.add_argument("--keyword", metavar="LABEL", help="(default: the model's first)")
    parser.add_argument(
        "--condition",
        action="append",
        metavar="clean|babble:SNR|noise:SNR",
        help="what is added to the keywords, SNR in dB; can be repeated "
        f"(default: {', '.join(CONDITIONS)})",
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of all chance (default: 0)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write all results")
    parser.add_argument("--markdown", type=Path, metavar="FILE.md", help="write the tables")
    add_detector_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, and write the files that were asked for."""
    options = Options(
        role=args.role,
        keyword=args.keyword,
        conditions=tuple(parse_condition(text) for text in args.condition or CONDITIONS),
        threshold=args.threshold,
        sensitivity=args.sensitivity,
        vad=args.vad,
        refractory=args.refractory,
        seed=args.seed,
    )
    for file in (args.output, args.markdown):
        if file is not None and not file.parent.is_dir():
            raise KwspotError(f"cannot write {file}: there is no folder {file.parent}")
    path = find_model(args.model)
    model = load_model(path)
    # Hashed now: hours later, the file may be another one.
    origin = Origin(model.info.name, hashlib.sha256(path.read_bytes()).hexdigest(), machine())
    clips = read_manifests(args.manifest)
    with _Counter() as counter:
        result = evaluate(model, clips, options, counter.show)
    print(text_report(result, options, origin))
    if args.output is not None:
        _write(
            args.output, json_report(result, options, origin, [Path(m).name for m in args.manifest])
        )
    if args.markdown is not None:
        _write(args.markdown, markdown_report(result, options, origin))
    return 0


class _Counter:
    """Shows on a terminal how far the streams have come, and clears that line in the end."""

    STEP = 10  # clips

    def __enter__(self) -> "_Counter":
        self._visible = sys.stderr.isatty()
        return self

    def __exit__(self, *error: object) -> None:
        self._print("")

    def show(self, stream: str, heard: int, clips: int) -> None:
        if heard % self.STEP == 0:
            self._print(f"{stream}: {heard} of {clips} clips")

    def _print(self, text: str) -> None:
        if self._visible:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KwspotError(f"cannot write {path}: {error.strerror}") from error
