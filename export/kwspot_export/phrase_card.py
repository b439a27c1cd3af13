"""What a phrase's model says of itself: in its file, and on the card beside it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kwspot.modelfile import ModelInfo
from kwspot_export.card_tables import in_markdown, point_rows, source_rows
from kwspot_export.formats import Finished, Made
from kwspot_export.licences import UNSTATED
from kwspot_export.phrase_training import PhraseTraining, Trained
from kwspot_export.validation import BLOCK, Score
from kwspot_export.verifier_train import Verified

VERIFIED = """
These are the thresholds of the model alone. kwspot takes those of its verifier
(`{name}.verifier.md`), which hears every detection again.
"""


def signed(finished: Finished, job: PhraseTraining, name: str) -> Finished:
    """Name a finished net, and say what made it."""
    made = f"kwspot train {job.settings.phrase!r}, {job.settings.effort.training}"
    origin = f"{made}, encoder: {job.encoder.name}"
    info = finished.info
    return replace(
        finished,
        info=replace(
            info,
            name=name,
            provenance=replace(info.provenance, recipe=origin, licence=job.licences.weights),
        ),
    )


def trained_rows(job: PhraseTraining, trained: Trained) -> list[list[str]]:
    """Return the rows of what was trained on, with the licences known to the job."""
    licences = trained.run.recipe.data.licences | job.licences.sources
    return source_rows(trained.run.trained_sources(), licences)


def merit_text(trained: Trained) -> str:
    """Say how each seed did, and what was kept."""
    *seeds, kept = trained.merits
    each = ", ".join(f"{merit:.3f}" for merit in seeds)
    if len(seeds) == 1:
        return f"Merit on validation (recall at 0.3 to 2 false alarms an hour, averaged): {each}."
    what = "the mean of their weights" if trained.mean else "the best of them"
    return (
        f"Merit on validation (recall at 0.3 to 2 false alarms an hour, averaged) of each seed: "
        f"{each}; kept is {what}, {kept:.3f}."
    )


def write_card(
    path: Path,
    job: PhraseTraining,
    trained: Trained,
    info: ModelInfo,
    score: Score,
    made: Sequence[Made],
    verified: Verified | None,
) -> None:
    """Write the card."""
    settings, effort, recipe = job.settings, job.settings.effort, trained.run.recipe
    files = "\n".join(
        f"* `{one.path.name}`, {one.path.stat().st_size / 1000:.0f} kB; "
        f"differs from torch by at most {one.largest:.2g}"
        for one in made
    )
    taken = [one for one in job.screened if not one.reason]
    left_out = len(job.screened) - len(taken)
    people = f"{len(taken)} recordings, {left_out} left out" if job.screened else "none"
    near = len(job.lines) - 1
    said = "" if job.phrase.spelled and not settings.say else f", said as {job.phrase.said}"
    excluded = ", ".join(settings.exclude)
    begun = "a finished run of the phrase, which began with " if settings.begun_with else ""
    licence = job.licences.weights
    if licence == UNSTATED:
        licence += "; it is for who made them to choose, by the licences below"
    path.write_text(
        f"""# {info.name}

Hears «{job.phrase.label}»{said}. Licence of the weights: {licence}.

{files}

Made by `kwspot train "{settings.phrase}" --data DIR`: {effort.clips} clips by synthetic voices,
{near} words and parts that sound like it, recordings of people: {people};
{effort.training} of {recipe.schedule.batch} windows, from {begun}{trained.run.origin}.
{f"Left out of training: {excluded}." if excluded else ""}
{merit_text(trained)}

## Trained on

| source | licence | clips | hours |
|---|---|---|---|
{in_markdown(trained_rows(job, trained))}

No clip of role `test` was trained on, or used to choose weights or a threshold, and none of the
data folder that holds the phrase.

## Thresholds

| sensitivity | threshold | false alarms an hour | recall there, % |
|---|---|---|---|
{in_markdown(point_rows(info.keywords[0].operating_points, score))}

Chosen on {score.recorded * BLOCK / 3600:.1f} h of validation clips as they were recorded;
what is rarer than they can count, by worsened copies of them, too. Recall is that of
{len(score.hits)} trials of *synthetic* voices never trained on, mostly in babble at 10 and 5 dB:
people are harder. `kwspot eval` measures it on recordings of theirs.
{VERIFIED.format(name=info.name) if verified else ""}""",
        encoding="utf-8",
    )
