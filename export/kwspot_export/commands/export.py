"""Write a finished run as ONNX or TFLite, float or int8, each proven over 120 streamed steps.

What is written is NAME.onnx, NAME-int8.tflite and so on; NAME is the recipe's. --checkpoint is the
folder of a run of `kwspot train` or `kwspot finetune`, or a file of weights from one.
"""

import argparse
from pathlib import Path

HELP = "write a trained model as ONNX or TFLite, float or int8"
FORMATS = ("onnx", "tflite", "onnx-int8", "tflite-int8")  # without importing torch
WEIGHTS = ("best.pt", "model.pt")  # of `kwspot train`, and of `kwspot finetune`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot export`."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="folder of the run, or weights in it"
    )
    parser.add_argument("--recipe", type=Path, required=True, help="the run's recipe file (TOML)")
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument(
        "--to", nargs="+", choices=FORMATS, default=["onnx"], help="formats (default: onnx)"
    )
    parser.add_argument(
        "--with-frontend",
        action="store_true",
        help="also write NAME-samples.onnx, which takes samples: for programs in other languages",
    )
    parser.add_argument(
        "--encoder", type=Path, help="encoder.pt that the run began with, if it did"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("models"), help="folder (default: models)"
    )


def run(args: argparse.Namespace) -> int:
    """Score, export and prove each format; return the exit status."""
    import torch

    from kwspot_export.distill_recipe import read_finetune_recipe
    from kwspot_export.finetune import Finetuning
    from kwspot_export.formats import (
        check_formats,
        export_formats,
        finished_finetuning,
        finished_run,
    )
    from kwspot_export.loop import TrainingError
    from kwspot_export.recipe import read_recipe, read_table
    from kwspot_export.train import Run

    given = args.checkpoint
    weights = next((given / n for n in WEIGHTS if (given / n).is_file()), given)
    if not weights.is_file():
        raise TrainingError(
            f"there are no weights {given}: `kwspot train` and `kwspot finetune` write them"
        )
    check_formats(args.to)
    torch.set_num_threads(1)
    folder = weights.parent
    place = args.data, folder, folder.parent / "cache"
    if "keywords" in read_table(args.recipe):
        joint = read_finetune_recipe(args.recipe)
        tuning = Finetuning(joint, *place, args.encoder)
        finished = finished_finetuning(tuning, joint.name, weights)
    else:
        job = Run(read_recipe(args.recipe), *place, encoder=args.encoder)
        finished = finished_run(job, weights)
    for made in export_formats(finished, args.to, args.output_dir, args.with_frontend):
        size = made.path.stat().st_size / 1000
        print(f"{made.path}  {size:.1f} kB  differs from torch by at most {made.largest:.2g}")
    return 0
