"""The threshold for voices: what few words of other people pass, measured on validation speakers.

```
clips that several people say -> embeddings -> own words against profiles of four or five others
                                            -> the same words of other people against them
```

A voice is enrolled and recognised by one word, so that profile, own word and the words of others
are all of one text: other words would make strangers seem stranger than they are.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kwspot.modelfile import VoicePoint
from kwspot.voices import mean_voice

ENROLLED = 5  # clips that `kwspot enroll` asks for
LEAST_CLIPS = 4  # by one person, of one word: three to enroll and one to recognise
LEAST_SPEAKERS = 5  # with so many clips, below which a share of other people says little
ACCEPTED = 0.05  # of other people's words: one in twenty


def repeated(speakers: Sequence[str], texts: Sequence[str]) -> dict[tuple[str, str], list[int]]:
    """Return the numbers of the clips of each (speaker, text) that can be enrolled and tried."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, said in enumerate(zip(speakers, texts, strict=True)):
        groups[said].append(number)
    return {said: numbers for said, numbers in groups.items() if len(numbers) >= LEAST_CLIPS}


def fit_voices(
    embeddings: npt.NDArray[np.floating], speakers: Sequence[str], texts: Sequence[str]
) -> VoicePoint | None:
    """Choose the threshold that accepts 5 % of other people's words, from clips (N, E) and labels.

    Returns None where fewer than five people say a word four times.
    """
    owners = repeated(speakers, texts)
    known = {speaker for speaker, _ in owners}
    if len(known) < LEAST_SPEAKERS:
        return None
    by_text: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        by_text[text].append(number)
    targets, others = [], []
    for (speaker, text), own in owners.items():
        for held in own:
            shown = [i for i in own if i != held][:ENROLLED]
            targets.append(float(mean_voice(embeddings[shown]) @ embeddings[held]))
        profile = mean_voice(embeddings[own[:ENROLLED]])
        strangers = [i for i in by_text[text] if speakers[i] != speaker]
        others += (embeddings[strangers] @ profile).tolist()
    if not others:
        return None
    highest = sorted(others, reverse=True)[int(ACCEPTED * len(others))]
    # Rounded up, and so above that one.
    threshold = min(1.0, math.floor(highest * 1e4 + 1) / 1e4)
    return VoicePoint(
        threshold,
        round(float(np.mean(np.array(others) >= threshold)), 4),
        round(float(np.mean(np.array(targets) < threshold)), 4),
        len(known),
    )
