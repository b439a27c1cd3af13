"""Fine-tune an encoder for keywords, speakers or both by a recipe, and export it.

Without --encoder the student starts from scratch. Under torchrun the batch is shared out over the
processes.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kwspot.commands.numbers import whole

if TYPE_CHECKING:
    from kwspot_export.commands.console import Bars
    from kwspot_export.distill_recipe import FinetuneRecipe

HELP = "fine-tune an encoder for keywords and speakers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot finetune`."""
    parser.add_argument("--recipe", type=Path, required=True, help="recipe file (TOML)")
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument("--encoder", type=Path, help="encoder.pt that `kwspot distill` made")
    # The command line keeps the function to call in `args.run`.
    parser.add_argument(
        "--run", dest="folder", type=Path, help="folder of the run (default: runs/NAME)"
    )
    parser.add_argument("--output", type=Path, help="model file (default: models/NAME.onnx)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    parser.add_argument("--workers", type=whole, default=2, help="processes that make features")


def run(args: argparse.Namespace) -> int:
    """Fine-tune, calibrate and export; return the exit status."""
    import torch

    from kwspot_export import processes
    from kwspot_export.commands.console import bars
    from kwspot_export.distill_recipe import read_finetune_recipe

    torch.set_num_threads(1)
    recipe = read_finetune_recipe(args.recipe)
    folder = args.folder or Path("runs") / recipe.name
    output = args.output or Path("models") / f"{recipe.name}.onnx"
    with processes.process_group(args.device), bars() as shown:
        cache = folder.parent / "cache"
        finetune(recipe, recipe.name, args, folder, cache, args.encoder, output, shown)
    return 0


def finetune(
    recipe: "FinetuneRecipe",
    name: str,
    args: argparse.Namespace,
    folder: Path,
    cache: Path,
    encoder: Path | None,
    output: Path,
    shown: "Bars",
) -> None:
    """Fine-tune in `folder` and export to `output` as a model called `name`."""
    from kwspot_export import processes
    from kwspot_export.curves import draw_curves
    from kwspot_export.finetune import Finetuning
    from kwspot_export.publish_joint import publish_joint
    from kwspot_export.recipe import RecipeError

    if not recipe.keywords.turns:
        raise RecipeError(f"{recipe.name} learns no keywords, so there is no model to export")
    job = Finetuning(
        recipe, args.data, folder, cache, encoder, args.device, args.workers, shown.prepared
    )
    job.fit(lambda step: shown.training("fine-tune", step))
    if processes.number() == 0:
        draw_curves(folder, recipe.name)
        publish_joint(job, name, output)
