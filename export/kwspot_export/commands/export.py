"""`kwspot export`: from a finished run to model files of every format."""

import argparse
from pathlib import Path

HELP = "write a trained model as ONNX or TFLite, float or int8"
FORMATS = ("onnx", "onnx-int8", "tflite", "tflite-int8")  # without importing torch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot export`."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="folder of the run, or weights in it"
    )
    parser.add_argument("--recipe", type=Path, required=True, help="recipe file (TOML)")
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument(
        "--to", nargs="+", choices=FORMATS, default=["onnx"], help="formats (default: onnx)"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("models"), help="folder (default: models)"
    )


def run(args: argparse.Namespace) -> int:
    """Score, export and prove each format; return the exit status."""
    import torch

    from kwspot_export.formats import check_formats, export_formats
    from kwspot_export.recipe import read_recipe
    from kwspot_export.train import Run, TrainingError

    weights = args.checkpoint / "best.pt" if args.checkpoint.is_dir() else args.checkpoint
    if not weights.is_file():
        raise TrainingError(f"there are no weights {weights}: `kwspot train` writes them")
    check_formats(args.to)
    torch.set_num_threads(1)
    folder = weights.parent
    job = Run(read_recipe(args.recipe), args.data, folder, folder.parent / "cache")
    for made in export_formats(job, weights, args.to, args.output_dir):
        size = made.path.stat().st_size / 1000
        print(f"{made.path}  {size:.0f} kB  differs from torch by at most {made.largest:.2g}")
    return 0
