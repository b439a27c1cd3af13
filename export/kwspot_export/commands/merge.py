"""Write one model file of several that share an encoder, so that the encoder runs once.

Words keep their thresholds. Encoders are shared by files whose heads were trained on one that did
not change, bit by bit; others are refused, and `kwspot listen` takes several files as well.
"""

import argparse
from pathlib import Path

HELP = "join model files that share an encoder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot merge`."""
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.onnx", help="two or more")
    parser.add_argument("-o", "--output", type=Path, required=True, help="model file to write")


def run(args: argparse.Namespace) -> int:
    """Merge and prove; return the exit status."""
    from kwspot_export.merge import merge

    info, difference = merge(args.models, args.output)
    words = ", ".join(keyword.label for keyword in info.keywords)
    size = args.output.stat().st_size / 1000
    print(f"{args.output}  {size:.1f} kB  {words}  differs by at most {difference:.2g}")
    return 0
