"""Train a keyword model, from a phrase alone or from a recipe; interrupted, it resumes.

PHRASE is said by synthetic voices, with what sounds like it; DIR holds other speech and noises.
With --recipe, the recordings in DIR are all there is, and the recipe says which part each plays.
"""

import argparse
from pathlib import Path

from kwspot.commands.numbers import count, whole

HELP = "train a keyword model from a phrase or a recipe"
OF_A_PHRASE = (
    *("quick", "seeds", "say", "voices", "recordings"),
    *("exclude", "licences", "to", "reviewed"),
)
FORMATS = ("onnx", "onnx-int8", "tflite", "tflite-int8")  # without importing torch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot train`."""
    parser.add_argument("phrase", nargs="?", metavar="PHRASE", help='what to hear: "hey jarvis"')
    parser.add_argument("--recipe", type=Path, help="recipe file (TOML), instead of a phrase")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the manifests")
    parser.add_argument(
        "--encoder",
        type=Path,
        help="encoder.pt to begin with (default: for a phrase the one that comes with kwspot, for "
        "a recipe none)",
    )
    parser.add_argument("--output", type=Path, help="model file (default: models/NAME.onnx)")
    # The command line keeps the function to call in `args.run`.
    parser.add_argument(
        "--run", dest="folder", type=Path, help="folder of the run (default: runs/NAME)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    parser.add_argument("--workers", type=whole, default=2, help="processes that make batches")
    own = parser.add_argument_group("for a phrase")
    own.add_argument(
        "--quick", action="store_true", help="about a third of the time, and a worse model"
    )
    own.add_argument(
        "--seeds",
        type=count,
        metavar="N",
        help="train N times, by other random numbers, and keep the mean of the weights if it does "
        "as well as the best (default: 1)",
    )
    own.add_argument(
        "--say", metavar="TEXT", help="how it sounds, in letters or as IPA: /ˈdʒɑːɹvɪs/"
    )
    own.add_argument(
        "--voices",
        action="append",
        metavar="ENGINE",
        help="folder with a Kokoro model or with Piper voices, or espeak-ng; several take turns "
        "(default: espeak-ng)",
    )
    own.add_argument(
        "--recordings",
        type=Path,
        action="append",
        metavar="DIR",
        help="recordings of people saying the phrase; even five help",
    )
    own.add_argument(
        "--exclude",
        action="append",
        metavar="PREFIX",
        help="what in the data not to train on, say for its licence: speech/far_field/",
    )
    own.add_argument(
        "--licences",
        type=Path,
        metavar="FILE",
        help="what file and card say of licences (TOML): `weights`, and `[sources]` by name",
    )
    own.add_argument("--to", nargs="+", choices=FORMATS, help="formats (default: onnx onnx-int8)")
    own.add_argument(
        "--continue",
        dest="continued",
        type=Path,
        metavar="RUN",
        help="go on from a finished run of a phrase, with --reviewed or --recordings",
    )
    own.add_argument(
        "--reviewed",
        type=Path,
        metavar="DIR",
        help="clips with a manifest.csv that says which hold the phrase, as a person judged them",
    )


def run(args: argparse.Namespace) -> int:
    """Train, calibrate and export; return the exit status."""
    import torch

    from kwspot_export.loop import TrainingError

    ways = [name for name in ("phrase", "recipe", "continued") if getattr(args, name) is not None]
    if len(ways) != 1:
        raise TrainingError(
            'give one of a phrase (kwspot train "hey jarvis"), --recipe, and --continue'
        )
    if ways == ["recipe"]:
        given = next((name for name in OF_A_PHRASE if getattr(args, name)), None)
        if given:
            raise TrainingError(f"--{given} is for a phrase; a recipe says all by itself")
        if args.data is None:
            raise TrainingError("give --data, the folder with the recipe's manifests")
    torch.set_num_threads(1)  # the processes that make batches use the other cores
    if ways == ["recipe"]:
        return _train_recipe(args)
    from kwspot_export.commands.train_phrase import train_phrase

    return train_phrase(args)


def _train_recipe(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from kwspot.verifier import verifier_path
    from kwspot_export.commands.console import logged_to
    from kwspot_export.publish import publish
    from kwspot_export.recipe import read_recipe
    from kwspot_export.train import Progress as Step
    from kwspot_export.train import Run

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
    if (verifier := verifier_path(output)).exists():
        verifier.unlink()
        console.print(f"removed {verifier}, which was of other weights: kwspot train-verifier")
    return 0
