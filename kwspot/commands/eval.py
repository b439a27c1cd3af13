"""Measure a model on the recordings of manifests: recall, false alarms an hour, latency."""

import argparse
import hashlib
import sys
from pathlib import Path

from kwspot.bench import machine
from kwspot.bench_plot import require_matplotlib
from kwspot.commands.listen import add_detector_arguments
from kwspot.commands.numbers import whole
from kwspot.commands.outputs import check_outputs
from kwspot.conditions import every_condition, parse_condition
from kwspot.errors import KwspotError
from kwspot.evaluation import judge
from kwspot.evaluation_page import evaluation_page
from kwspot.hearing import Options, choose_keyword, hear, save_scores
from kwspot.loader import find_model, load_model
from kwspot.manifest import ROLES, Clip, read_manifests
from kwspot.material import choose_material
from kwspot.modelfile import ModelInfo
from kwspot.report import Origin, json_report, markdown_report, text_report

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
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--condition",
        action="append",
        metavar="CONDITION",
        help="how the keywords are heard: clean, babble:SNR, noise:SNR, music:SNR (dB), room, "
        "speed:FACTOR, level:DBFS (of the peak), or several joined with +; can be repeated "
        f"(default: {', '.join(CONDITIONS)})",
    )
    chosen.add_argument(
        "--conditions", choices=("all",), help="every kind that the recordings allow"
    )
    parser.add_argument("--seed", type=whole, default=0, help="of all chance (default: 0)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write all results")
    parser.add_argument("--markdown", type=Path, metavar="FILE.md", help="write the tables")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE.html",
        help="write a page with plots and sound (needs kwspot[plot])",
    )
    parser.add_argument(
        "--scores", type=Path, metavar="FILE.npz", help="write the score of every step"
    )
    add_detector_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, and write the files that were asked for."""
    check_outputs(args.output, args.markdown, args.html, args.scores)
    if args.html is not None:
        require_matplotlib()
    path = find_model(args.model)
    model = load_model(path)
    # Hashed now: hours later, the file may be another one.
    origin = Origin(model.info.name, hashlib.sha256(path.read_bytes()).hexdigest(), machine())
    clips = read_manifests(args.manifest)
    options = _options(args, model.info, clips)
    with _Counter() as counter:
        hearing = hear(model, clips, options, counter.show)
    result = judge(hearing, options)
    print(text_report(result, options, origin))
    if args.scores is not None:
        save_scores(hearing, args.scores)
    if args.output is not None:
        names = [Path(manifest).name for manifest in args.manifest]
        _write(args.output, json_report(result, options, origin, names))
    if args.markdown is not None:
        _write(args.markdown, markdown_report(result, options, origin))
    if args.html is not None:
        evaluation_page(result, hearing, clips, options, origin).write(args.html)
    return 0


def _options(args: argparse.Namespace, info: ModelInfo, clips: list[Clip]) -> Options:
    if args.conditions == "all":
        keyword = choose_keyword(info, args.keyword)
        conditions = every_condition(choose_material(clips, keyword, args.role))
    else:
        conditions = tuple(parse_condition(text) for text in args.condition or CONDITIONS)
    return Options(
        role=args.role,
        keyword=args.keyword,
        conditions=conditions,
        threshold=args.threshold,
        sensitivity=args.sensitivity,
        vad=args.vad,
        refractory=args.refractory,
        seed=args.seed,
        verify=args.verify,
    )


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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KwspotError(f"cannot write {path}: {error.strerror}") from error
