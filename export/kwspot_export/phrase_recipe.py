"""The recipe of a phrase, from what lies in a data folder: no file to write.

```
noise/...            noises
room_responses/...   rooms
everything else      other speech, a group for each top folder, the square root of its hours
voices:tts/...       the phrase by synthetic voices        recordings:phrase/...  by people
voices:near/...      what sounds like it                   recordings:other/...   taken for it
```

Clips of the data folder that hold the phrase are left out: a model comes from the phrase alone.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from kwspot.manifest import Clip, spoken
from kwspot_export.effort import Effort
from kwspot_export.encoder_file import load_encoder
from kwspot_export.licences import UNSTATED
from kwspot_export.loop import TrainingError
from kwspot_export.phrase import Phrase
from kwspot_export.recipe import Data, FrontEnd, Group, Recipe, Schedule, Student, Transformer

NOISES, ROOMS = "noise/", "room_responses/"
VOICES, NEAR = "voices:tts/", "voices:near/"
RECORDED, TAKEN_FOR = "recordings:phrase/", "recordings:other/"
RECORDED_SHARE = 0.35  # of the positives, if there are recordings
TAKEN_FOR_SHARE = 0.10  # of the negatives: what once was a false alarm
HELD_OUT_EVERY = 5  # speakers, where no clip of a kind has role validation
RATE = 1e-3  # from the distilled encoder; scratch likes twice as much
BATCH = 64  # half the windows in twice the steps: the same work, and learns far more
MINE_AT = 0.25, 0.5  # shares of the steps


def find_manifests(data: Path | None) -> tuple[str, ...]:
    """Return the names of manifest*.csv in a folder.

    Raises TrainingError for no folder, and for one without manifests.
    """
    wanted = (
        "give --data a folder with manifest*.csv (path, seconds, text, speaker, role, source) of "
        "other speech, noises (noise/) and, if there are, rooms (room_responses/)"
    )
    if data is None:
        raise TrainingError(f"a model must also learn what not to hear: {wanted}")
    if not data.is_dir():
        raise TrainingError(f"there is no folder {data}: {wanted}")
    names = tuple(sorted(path.name for path in data.glob("manifest*.csv")))
    if not names:
        raise TrainingError(f"{data} has no manifest*.csv: {wanted}")
    return names


def compose_recipe(
    phrase: Phrase,
    name: str,
    manifests: tuple[str, ...],
    clips: Sequence[Clip],
    own: Sequence[Clip],
    exclude: tuple[str, ...],
    licences: dict[str, str],
    size: Student | Transformer,
    effort: Effort,
) -> Recipe:
    """Give every clip of a data folder its part; `own` are the clips made or recorded for a phrase.

    `licences` are known ones by source. Raises TrainingError for data that lack a kind of clip.
    """
    heard = [clip for clip in clips if clip.role != "test"]
    begins = f" {phrase.label}"
    kept = [
        clip
        for clip in heard
        if not clip.mentions(phrase.label) and begins not in f" {spoken(clip.text)}"
    ]
    # What mentions the phrase has no part anyway; «computers» has none in «computer».
    ignored = {spoken(clip.text) for clip in heard} - {spoken(clip.text) for clip in kept}
    for clip in kept:
        if "/" not in clip.name:
            raise TrainingError(
                f"{clip.path} lies in no folder: put noises into noise/, other speech into speech/"
            )
    learnt = [clip for clip in kept if not clip.name.startswith(exclude)]
    noises = [clip for clip in learnt if clip.name.startswith(NOISES)]
    others = [clip for clip in learnt if not clip.name.startswith((NOISES, ROOMS))]
    for part, what in ((noises, "noises (clips under noise/)"), (others, "other speech")):
        if len(part) < 2:
            raise TrainingError(f"the data hold no {what}: a model must learn what not to hear")
    hours: Counter[str] = Counter()
    for clip in others:
        hours[_top(clip)] += clip.seconds / 3600
    folders = [Group(top, round(length**0.5, 4)) for top, length in sorted(hours.items())]
    taken_for = [clip for clip in own if clip.name.startswith(TAKEN_FOR)]
    if taken_for:
        whole = sum(group.weight for group in folders)
        folders.append(Group(TAKEN_FOR, round(whole * TAKEN_FOR_SHARE, 4)))
    recorded = any(clip.name.startswith(RECORDED) for clip in own)
    share = RECORDED_SHARE if recorded else 0.0
    speech = tuple(group.prefix for group in folders if group.prefix == "speech/")
    data = Data(
        manifests=manifests,
        positives=(Group(VOICES, 1 - share), *([Group(RECORDED, share)] if recorded else [])),
        negatives=tuple(folders),
        noises=(NOISES,),
        rooms=(ROOMS,),
        licences={c.source: UNSTATED for c in (*heard, *own)} | licences,
        confusables=(NEAR, *([TAKEN_FOR] if taken_for else [])),
        babble=speech or tuple(sorted(hours)),
        validation_negatives=tuple(sorted({_top(clip) for clip in kept} - {ROOMS})),
        hold_out_every=0,  # voices have roles, and few people record themselves
        held_out=(*_held_out(noises), *_held_out(others)),
        excluded=exclude,
        ignored_texts=tuple(sorted(ignored - {phrase.label})),
    )
    steps = effort.steps
    schedule = Schedule(
        steps=steps,
        batch=BATCH,
        learning_rate=RATE,
        warm_up=min(100, steps // 5),
        mine_at=MINE_AT[-effort.minings :],
        validate_every=max(1, steps // 5),
        validation_copies=effort.worsened,
        average_decay=1 - 2 / steps,
    )
    return Recipe(name, phrase.label, UNSTATED, 1, data, size, schedule)


def size_of(encoder: Path) -> Student | Transformer:
    """Return the size of the net in an encoder file."""
    return load_encoder(encoder, FrontEnd())[1]


def _top(clip: Clip) -> str:
    return clip.name.partition("/")[0] + "/"


def _held_out(clips: Iterable[Clip]) -> list[str]:
    """Keep speakers for validation where the data's maker did not."""
    clips = list(clips)
    if any(clip.role == "validation" for clip in clips):
        return []
    speakers = sorted({clip.speaker or clip.name for clip in clips})
    kept = set(speakers[1::HELD_OUT_EVERY])
    return [clip.name for clip in clips if (clip.speaker or clip.name) in kept]
