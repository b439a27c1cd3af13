"""Make the net below all verifiers out of a Whisper encoder: its first layers, in eight bits."""

import argparse
from pathlib import Path

HELP = "make the net that hears candidates again, of a Whisper encoder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot verifier-net`."""
    parser.add_argument(
        "--teacher", required=True, metavar="DIR", help="a Whisper encoder: folder or hub name"
    )
    parser.add_argument("--layers", type=int, default=3, help="how many of its layers (default: 3)")
    parser.add_argument("--output", type=Path, required=True, help="the net's file (ONNX)")


def run(args: argparse.Namespace) -> int:
    """Write the net and its card."""
    from kwspot_export.publish_verifier_net import publish_verifier_net  # torch takes seconds

    info = publish_verifier_net(args.teacher, args.output, args.layers)
    print(f"{args.output}: hears {info.samples / 16_000:.2f} s, {info.width} values an output")
    return 0
