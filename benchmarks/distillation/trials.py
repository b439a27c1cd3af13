"""The list of speaker verification trials: two clips each, of one person or of two.

```
python benchmarks/distillation/trials.py --data DIR     writes speaker_trials.csv again
```

Speech Commands and the Arabic commands have a third and two thirds of their trials by one and two
people. The words of a trial differ, so that the word tells nothing about the person; speakers take
turns, so that those with many clips do not dominate.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inputs import SEED, StudyError, clips_under
from numpy.random import Generator, default_rng

from kwspot.errors import KwspotError
from kwspot.manifest import Clip, read_manifest

TRIALS = Path(__file__).parent / "speaker_trials.csv"
COMMANDS, ARABIC = "speech_commands/test/", "speakers/arabic_speech_commands/"
UNSPOKEN = tuple(f"{COMMANDS}{folder}/" for folder in ("_silence_", "_unknown_"))
TARGETS, OTHERS = 1500, 3000  # trials of one person, and of two, in each list
COLUMNS = ("target", "a", "b")


@dataclass(frozen=True)
class Trial:
    """Two clips by their names in the manifest, and whether one person speaks in both."""

    target: bool
    a: str
    b: str


def draw_trials(clips: Sequence[Clip], seed: int = SEED) -> list[Trial]:
    """Draw the trials of both lists from the clips of role test.

    Raises StudyError where there are too few pairs of clips.
    """
    rng = default_rng(seed)
    trials: list[Trial] = []
    for folder in (COMMANDS, ARABIC):
        chosen = clips_under(clips, "test", folder)
        by_speaker: dict[str, list[Clip]] = {}
        for clip in chosen:
            if not clip.name.startswith(UNSPOKEN):
                by_speaker.setdefault(clip.speaker, []).append(clip)
        voices = [voice for voice in by_speaker.values() if len({c.text for c in voice}) > 1]
        pairs = _take(TARGETS, [_same_voice(voice, rng) for voice in voices], folder)
        trials += [Trial(True, a.name, b.name) for a, b in pairs]
        sources = [_other_voice(voice, voices, rng) for voice in voices]
        trials += [Trial(False, a.name, b.name) for a, b in _take(OTHERS, sources, folder)]
    return trials


def read_trials(path: Path = TRIALS) -> list[Trial]:
    """Read a list of trials; raise StudyError for a file that is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise StudyError(f"cannot read the trials {path.name}: {error.strerror}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise StudyError(f"{path.name} is no list of trials: its columns must be {COLUMNS}")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(COLUMNS) or row[0] not in ("0", "1"):
            raise StudyError(f"{path.name}, line {line}: a trial is 0 or 1 and two clips")
    return [Trial(target == "1", a, b) for target, a, b in rows[1:]]


def write_trials(trials: Sequence[Trial], path: Path = TRIALS) -> None:
    """Write a list of trials."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((int(trial.target), trial.a, trial.b) for trial in trials)


Pair = tuple[Clip, Clip]


def _same_voice(voice: Sequence[Clip], rng: Generator) -> Iterator[Pair]:
    pairs = [(a, b) for i, a in enumerate(voice) for b in voice[:i] if a.text != b.text]
    for index in rng.permutation(len(pairs)):
        yield pairs[index]


def _other_voice(
    voice: Sequence[Clip], voices: Sequence[Sequence[Clip]], rng: Generator
) -> Iterator[Pair]:
    others = [other for other in voices if other is not voice]
    while True:
        a = voice[rng.integers(len(voice))]
        other = others[rng.integers(len(others))]
        b = other[rng.integers(len(other))]
        if a.text != b.text:
            yield a, b


def _take(count: int, sources: list[Iterator[Pair]], folder: str) -> list[Pair]:
    """Take pairs from each source in turn, none twice, until there are `count`."""
    taken: dict[frozenset[str], Pair] = {}
    while sources:
        for source in list(sources):
            pair = next(source, None)
            if pair is None:
                sources.remove(source)
                continue
            taken.setdefault(frozenset(clip.name for clip in pair), pair)
            if len(taken) == count:
                return list(taken.values())
    raise StudyError(f"{folder} has clips for {len(taken)} of {count} trials")


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of manifest_real.csv")
    args = parser.parse_args()
    try:
        write_trials(draw_trials(read_manifest(args.data / "manifest_real.csv")))
    except (KwspotError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")


if __name__ == "__main__":
    main()
