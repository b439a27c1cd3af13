"""Distil the net that tells voices apart at a detection; interrupted, it resumes.

The teacher is a speaker embedding net in an ONNX file, as WeSpeaker and 3D-Speaker publish them;
`scripts/voice_teacher.py` makes one. Under torchrun the batch is shared out over the processes.
"""

import argparse
from pathlib import Path

from kwspot.commands.numbers import whole

HELP = "distil a net that tells voices apart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot distill-voices`."""
    parser.add_argument("--recipe", type=Path, required=True, help="recipe file (TOML)")
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument("--teacher", type=Path, required=True, help="speaker embedding net (ONNX)")
    parser.add_argument(
        "--undistilled",
        action="store_true",
        help="write the teacher itself, in eight bits and with a threshold",
    )
    # The command line keeps the function to call in `args.run`.
    parser.add_argument(
        "--run", dest="folder", type=Path, help="folder of the run (default: runs/NAME)"
    )
    parser.add_argument("--output", type=Path, required=True, help="the net's file (ONNX)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    parser.add_argument("--workers", type=whole, default=2, help="processes that make features")


def run(args: argparse.Namespace) -> int:
    """Distil, fit the threshold and export; return the exit status."""
    import torch

    from kwspot_export import processes
    from kwspot_export.commands.console import bars
    from kwspot_export.curves import draw_curves
    from kwspot_export.distill_recipe import read_voice_recipe
    from kwspot_export.publish_voice_teacher import publish_voice_teacher
    from kwspot_export.publish_voices import publish_voices
    from kwspot_export.voice_distill import VoiceDistillation
    from kwspot_export.voice_teacher import VoiceTeacher

    torch.set_num_threads(1)
    recipe = read_voice_recipe(args.recipe)
    folder = args.folder or Path("runs") / recipe.name
    if args.undistilled:
        cache = folder.parent / "cache"
        with bars() as shown:
            publish_voice_teacher(
                recipe, args.data, args.teacher, cache, args.output, shown.prepared
            )
        return 0
    with processes.process_group(args.device), bars() as shown:
        job = VoiceDistillation(
            recipe,
            args.data,
            folder,
            folder.parent / "cache",
            VoiceTeacher(args.teacher),
            args.device,
            args.workers,
            shown.prepared,
        )
        job.fit(lambda step: shown.training("distil", step))
        if processes.number() == 0:
            draw_curves(folder, recipe.name)
            publish_voices(job, args.output)
    return 0
