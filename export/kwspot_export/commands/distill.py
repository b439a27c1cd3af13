"""Distil an encoder from large teachers by a recipe; interrupted, it resumes.

Without fine-tuning, --output writes the encoder alone, which puts out an embedding and no keywords.
With `cache`, only run the teachers over the recordings and store what they say. Under torchrun the
batch is shared out over the processes.
"""

import argparse
from pathlib import Path

from kwspot.commands.numbers import whole

HELP = "distil an encoder from large speech encoders"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot distill`."""
    parser.add_argument(
        "stage", nargs="?", choices=["cache"], help="stop when the teachers' targets are cached"
    )
    parser.add_argument("--recipe", type=Path, required=True, help="recipe file (TOML)")
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument(
        "--teachers",
        type=Path,
        default=Path("teachers"),
        help="folder of teachers; a source that is not there is a hub name (default: teachers)",
    )
    # The command line keeps the function to call in `args.run`.
    parser.add_argument(
        "--run", dest="folder", type=Path, help="folder of the run (default: runs/NAME)"
    )
    parser.add_argument(
        "--output", type=Path, help="model file (default: models/NAME.onnx where it fine-tunes)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    parser.add_argument("--workers", type=whole, default=2, help="processes that make features")


def run(args: argparse.Namespace) -> int:
    """Cache, distil, and go on as the recipe says; return the exit status."""
    import torch

    from kwspot_export import processes
    from kwspot_export.commands.console import bars
    from kwspot_export.commands.finetune import finetune
    from kwspot_export.curves import draw_curves
    from kwspot_export.distill import Distillation
    from kwspot_export.distill_recipe import read_distill_recipe, read_finetune_recipe
    from kwspot_export.publish_encoder import publish_encoder

    torch.set_num_threads(1)  # of a net this small more threads make more heat, not more speed
    recipe = read_distill_recipe(args.recipe)
    then = read_finetune_recipe(args.recipe.parent / recipe.finetune) if recipe.finetune else None
    folder = args.folder or Path("runs") / recipe.name
    cache = folder.parent / "cache"
    with processes.process_group(args.device), bars() as shown:
        job = Distillation(
            recipe,
            args.data,
            folder,
            cache,
            args.teachers,
            args.device,
            args.workers,
            shown.prepared,
        )
        if args.stage == "cache":
            job.build_targets()
            return 0
        encoder = job.fit(lambda step: shown.training("distil", step))
        if processes.number() == 0:
            draw_curves(folder, recipe.name)
        if then is not None:
            output = args.output or Path("models") / f"{recipe.name}.onnx"
            finetune(then, recipe.name, args, folder / then.name, cache, encoder, output, shown)
        elif args.output is not None and processes.number() == 0:
            publish_encoder(job, encoder, args.output)
    return 0
