"""Train a keyword model from a recipe and a folder of recordings; interrupted, it resumes."""

import argparse
from pathlib import Path

HELP = "train a keyword model from a recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot train`."""
    parser.add_argument("--recipe", type=Path, required=True, help="recipe file (TOML)")
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument("--encoder", type=Path, help="encoder.pt to begin with (default: scratch)")
    parser.add_argument("--output", type=Path, help="model file (default: models/NAME.onnx)")
    # The command line keeps the function to call in `args.run`.
    parser.add_argument(
        "--run", dest="folder", type=Path, help="folder of the run (default: runs/NAME)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    parser.add_argument("--workers", type=int, default=2, help="processes that make batches")


def run(args: argparse.Namespace) -> int:
    """Train, calibrate and export; return the exit status."""
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from kwspot_export.commands.console import logged_to
    from kwspot_export.publish import publish
    from kwspot_export.recipe import read_recipe
    from kwspot_export.train import Progress as Step
    from kwspot_export.train import Run

    torch.set_num_threads(1)  # the processes that make batches use the other cores
    recipe = read_recipe(args.recipe)
    folder = args.folder or Path("runs") / recipe.name
    output = args.output or Path("models") / f"{recipe.name}.onnx"
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}")
    console = Console(stderr=True)
    with Progress(*columns, console=console) as bar, logged_to(console):
        decoding = bar.add_task("decode", note="", total=None)
        training = bar.add_task("train", note="", total=recipe.schedule.steps)

        def decoded(done: int, total: int) -> None:
            bar.update(decoding, completed=done, total=total, note=f"{done}/{total} clips")

        def stepped(step: Step) -> None:
            note = f"step {step.step}/{step.steps}  loss {step.loss:.3f}  "
            note += f"merit {step.merit:.3f}  " if step.merit >= 0 else ""
            minutes = step.seconds_left / 60
            bar.update(training, completed=step.step, note=note + f"{minutes:.0f} min left")

        job = Run(
            recipe,
            args.data,
            folder,
            folder.parent / "cache",
            args.device,
            args.workers,
            decoded,
            args.encoder,
        )
        bar.update(decoding, completed=1, total=1, note="done")
        job.fit(stepped)
    publish(job, output)
    return 0
