"""What `kwspot train PHRASE` does and shows, step by step."""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kwspot.errors import KwspotError

if TYPE_CHECKING:
    from kwspot.modelfile import Provenance
    from kwspot_export.phrase_settings import Settings
    from kwspot_export.phrase_training import PhraseTraining, Trained
    from kwspot_export.verifier_train import Verified

FULL = 10_000_000  # bytes; with fewer left, a disk is taken to be full
CONTINUED_SHARE = 3  # a run that goes on takes this part of the steps of its beginning


def train_phrase(args: argparse.Namespace) -> int:
    """Train, calibrate and export a phrase; return the exit status."""
    from kwspot.verifier import verifier_path
    from kwspot_export.commands.console import bars
    from kwspot_export.effort import peak_memory
    from kwspot_export.formats import check_formats, export_formats, finished_run
    from kwspot_export.licences import read_licences
    from kwspot_export.phrase import doubts
    from kwspot_export.phrase_card import signed, write_card
    from kwspot_export.phrase_report import write_report
    from kwspot_export.phrase_training import PhraseTraining

    begun = time.monotonic()
    formats = args.to or ["onnx", "onnx-int8"]
    check_formats(formats)
    licences = read_licences(args.licences) if args.licences else None
    settings, folder = _settings(args)
    cache = folder.parent / "cache"
    with _writing(folder, "the run's settings"):
        job = PhraseTraining(settings, folder, cache, args.device, args.workers, licences)
    output = args.output or Path("models") / f"{job.phrase.name}.onnx"
    if output.suffix != ".onnx":
        raise KwspotError(
            f"--output {output} should end in .onnx; --to says what is made beside it"
        )
    for doubt in doubts(job.phrase):
        _say(f"warning: {doubt}")
    _tell_plan(job)
    with bars() as shown:
        with _writing(folder, "clips of the phrase"):
            job.speak(lambda done, total: shown.prepared("clips", done, total))
        with _writing(folder, "recordings"):
            screened = job.screen()
        bad = [one for one in screened if one.reason]
        if screened:
            shown.note(f"recordings: {len(screened) - len(bad)} good, {len(bad)} left out")
        for one in bad:
            shown.note(f"  {one.path}: {one.reason}")
        with _writing(folder, "the training"):
            trained = job.learn(
                lambda done, total: shown.prepared("decode", done, total),
                lambda seed, step: shown.training(f"seed {seed}", step),
            )
    with _writing(output.parent, "the model"):
        output.parent.mkdir(parents=True, exist_ok=True)
        finished = signed(finished_run(trained.run, trained.weights), job, output.stem)
        verifier_path(output).unlink(missing_ok=True)  # it was of other weights
        made = export_formats(finished, formats, output.parent)
        score = trained.run.score(finished.net)
        verified = _verify(job, trained, finished.info.provenance, made[0].path)
        write_card(output.with_suffix(".md"), job, trained, finished.info, score, made, verified)
        page = write_report(output.with_suffix(".html"), job, trained, finished, score, verified)
    more = ([verifier_path(output)] if verified else []) + ([page] if page else [])
    for path in (*(one.path for one in made), output.with_suffix(".md"), *more):
        print(path)
    minutes = (time.monotonic() - begun) / 60
    _say(f"took {minutes:.1f} min and at most {peak_memory(args.workers):.1f} GB of memory")
    return 0


def _verify(
    job: "PhraseTraining", trained: "Trained", provenance: "Provenance", path: Path
) -> "Verified | None":
    """Train the verifier of a model that was just written; say so where it cannot be."""
    from kwspot.loader import VERIFIER_NET, load_model
    from kwspot.verifier_net import installed_net
    from kwspot_export.commands.console import bars
    from kwspot_export.loop import TrainingError
    from kwspot_export.verifier_train import train_verifier

    with bars() as shown:
        try:
            return train_verifier(
                trained.run,
                load_model(path),
                installed_net(VERIFIER_NET),
                job.settings.effort.verifying,
                provenance,
                trained.run.recipe.data.licences | job.licences.sources,
                shown.prepared,
            )
        except TrainingError as error:
            shown.note(f"the model has no verifier: {error}")
            return None


def _settings(args: argparse.Namespace) -> tuple["Settings", Path]:
    """Return what is asked for and the folder of the run."""
    import kwspot.models

    from kwspot_export.effort import DEFAULT, QUICK
    from kwspot_export.phrase import read_phrase
    from kwspot_export.phrase_recipe import find_manifests
    from kwspot_export.phrase_settings import Settings, read_settings

    given = [*(args.recordings or []), *([args.reviewed] if args.reviewed else [])]
    recordings = tuple(str(path.resolve()) for path in given)
    if args.continued is not None:
        return _continued(args, read_settings(args.continued), recordings)
    name = read_phrase(args.phrase, args.say).name
    find_manifests(args.data)
    folder = args.folder or Path("runs") / (f"{name}-quick" if args.quick else name)
    # An engine is a folder or a program's name.
    voices = [str(Path(v).resolve()) if Path(v).is_dir() else v for v in args.voices or ()]
    encoder = args.encoder or Path(kwspot.models.__path__[0]) / "encoder.pt"
    effort = QUICK if args.quick else DEFAULT
    settings = Settings(
        phrase=args.phrase,
        say=args.say,
        voices=tuple(voices) or ("espeak-ng",),
        data=str(args.data.resolve()),
        exclude=tuple(args.exclude or ()),
        recordings=recordings,
        effort=replace(effort, seeds=args.seeds or effort.seeds),
        encoder=str(encoder.resolve()),
        spoken=str((folder / "voices").resolve()),
    )
    return settings, folder


def _continued(
    args: argparse.Namespace, begun: "Settings", more: tuple[str, ...]
) -> tuple["Settings", Path]:
    weights = args.continued / "best.pt"
    if not weights.exists():
        raise KwspotError(f"{args.continued} is not finished: run its own command to the end first")
    if not more:
        raise KwspotError(
            "--continue needs new clips to learn from: give --reviewed or --recordings"
        )
    effort = replace(begun.effort, steps=max(1, begun.effort.steps // CONTINUED_SHARE))
    effort = replace(effort, seeds=args.seeds or effort.seeds)
    settings = replace(
        begun,
        recordings=(*begun.recordings, *more),
        effort=effort,
        begun_with=str(weights.resolve()),
    )
    folder = args.folder or args.continued.with_name(f"{args.continued.name}-continued")
    return settings, folder


def _tell_plan(job: "PhraseTraining") -> None:
    """Say before it starts what will be done and what it will take."""
    from kwspot_export.effort import estimate
    from kwspot_export.pronunciation import missing_package

    effort = job.settings.effort
    clips = sum(line.clips for line in job.lines)
    whole = sum(clip.seconds for clip in job.clips) / 3600
    held_out = sum(clip.seconds for clip in job.clips if clip.role == "validation") / 3600
    seconds = job.try_voices()
    minutes = estimate(effort, job.unsaid(), seconds, whole - held_out, held_out, job.workers)
    _say(
        f"«{job.phrase.label}»: {effort.clips} clips by {' and '.join(job.engines())}, "
        f"{clips - effort.clips} of {len(job.lines) - 1} phrases that sound like it or are part of "
        f"it, {len(job.found)} recordings, {whole:.1f} h of other sound; "
        f"{effort.training}"
    )
    if package := missing_package():
        _say(
            f"note: what sounds like it is left out, as {package} is not installed: "
            "pip install 'kwspot-export[voices]'"
        )
    elif not job.words:
        _say(
            "note: what sounds like it is left out, as it is looked for by words: "
            "give them as PHRASE, and the IPA with --say"
        )
    free = shutil.disk_usage(job.folder).free
    needed = job.bytes_needed()
    if free < needed:
        raise KwspotError(
            f"the disk of {job.folder} has {free / 1e9:.1f} GB free, and about {needed / 1e9:.1f} "
            "are needed: make room or choose another --run folder"
        )
    _say(
        f"this takes about {minutes:.0f} min and {needed / 1e9:.1f} GB of disk in {job.folder}; "
        "interrupted, the same command goes on"
    )


@contextmanager
def _writing(folder: Path, what: str) -> Iterator[None]:
    """Turn errors of a disk that is full or taken away into one sentence."""
    try:
        yield
    except KwspotError:
        raise
    except (OSError, RuntimeError) as error:
        # torch and libsndfile raise RuntimeError and do not say why.
        full = folder.exists() and shutil.disk_usage(folder).free < FULL
        if not isinstance(error, OSError) and not full:
            raise
        reason = "the disk is full" if full else getattr(error, "strerror", None) or str(error)
        raise KwspotError(
            f"cannot write {what} to {folder}: {reason}; afterwards the same command goes on"
        ) from error


def _say(text: str) -> None:
    print(text, file=sys.stderr)
