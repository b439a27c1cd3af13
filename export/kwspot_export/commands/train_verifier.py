"""Train a verifier for a model, from its recipe; it is written beside the model.

Every format of the model uses it from then on: what scores high enough is heard again by a large
net before it counts. `kwspot train PHRASE` makes one by itself.
"""

import argparse
from pathlib import Path

from kwspot.commands.numbers import whole

HELP = "train what hears a model's detections again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot train-verifier`."""
    parser.add_argument("--model", type=Path, required=True, help="model file of one word")
    parser.add_argument("--recipe", type=Path, required=True, help="recipe file (TOML) of the word")
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    # The command line keeps the function to call in `args.run`.
    parser.add_argument(
        "--run", dest="folder", type=Path, help="folder of the run (default: runs/NAME-verifier)"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="keep the verifier that the model has; fit only its thresholds again",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    parser.add_argument("--workers", type=whole, default=2, help="threads that run the net")


def run(args: argparse.Namespace) -> int:
    """Train, calibrate and write; return the exit status."""
    import torch

    from kwspot.loader import VERIFIER_NET, load_model
    from kwspot.modelfile import Provenance
    from kwspot.verifier_net import installed_net
    from kwspot_export.commands.console import bars
    from kwspot_export.effort import Verifying
    from kwspot_export.publish import versions
    from kwspot_export.recipe import read_recipe
    from kwspot_export.train import Run
    from kwspot_export.verifier_train import calibrate_verifier, train_verifier

    torch.set_num_threads(1)
    recipe = read_recipe(args.recipe)
    model = load_model(args.model)
    folder = args.folder or Path("runs") / f"{recipe.name}-verifier"
    with bars() as shown:
        job = Run(
            recipe,
            args.data,
            folder,
            folder.parent / "cache",
            args.device,
            args.workers,
            lambda *done: shown.prepared("decode", *done),
        )
        if args.calibrate:
            trained = calibrate_verifier(job, model, shown.prepared)
        else:
            provenance = Provenance(
                recipe.licence,
                ", ".join(sorted(job.trained_sources())),
                f"kwspot train-verifier --recipe {args.recipe.name}, seed {recipe.seed}",
                versions(),
            )
            trained = train_verifier(
                job,
                model,
                installed_net(VERIFIER_NET),
                Verifying(),
                provenance,
                recipe.data.licences,
                shown.prepared,
            )
    print(
        f"merit {trained.verified.merit:.3f} verified, {trained.alone.merit:.3f} the model alone; "
        f"candidates from {trained.info.candidate:g} on"
    )
    return 0
