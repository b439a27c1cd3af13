"""From recordings of a keyword to the profile of a voice, by the path that listening takes.

```
clip -> level, clipping -> KeywordDetector -> embedding at the detection -> like the others? -> mean
```
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kwspot.detector import KeywordDetector
from kwspot.endpoints import speech_span
from kwspot.errors import VoiceError
from kwspot.features import FloatArray
from kwspot.likeness import Likeness
from kwspot.model import Model
from kwspot.recorder import CLIPPED_LEVEL, CLIPPED_SAMPLES, QUIETEST_DB
from kwspot.voices import Profile, likeness_of, make_profile, mean_voice, unit, voice_point

LEAST_CLIPS = 3  # of fewer, nobody can tell which one is odd
# Below the threshold, a clip's likeness to the others from which on it is left out: without the
# unusual ones among one's own clips a profile is too narrow. On 26 voices that say wake words in
# roles train and validation, 3.8 % of the own clips were rejected so, and 7.7 without.
SPARED = 0.1


@dataclass(frozen=True)
class Utterance:
    """A clip of the keyword: its embedding (E,), or why it cannot be used and what to do."""

    name: str
    embedding: FloatArray | None
    fault: str | None = None


class Enrolment:
    """Hears clips of one person who says a keyword of a model.

    Raises VoiceError for a model that tells no voices apart.
    """

    def __init__(self, model: Model, keyword: str) -> None:
        self._model, self._keyword = model, keyword
        self._least = voice_point(model).threshold - SPARED
        self._likeness = likeness_of(model)
        self._detector = KeywordDetector(model, vad="off")
        self._detector.recognise(self._note)
        self._noted: list[FloatArray] = []
        # Nothing is detected before the model has heard its receptive field.
        info = model.info
        self._before = np.zeros(info.receptive_field * info.front_end.hop, np.float32)

    def hear(self, name: str, samples: FloatArray) -> Utterance:
        """Hear a clip, float32 (N,) at 16 kHz, and take the embedding of its first detection."""
        start, end = speech_span(samples)
        speech = samples[start:end].astype(np.float64)
        level_db = 10 * np.log10(np.mean(np.square(speech)) + 1e-12)
        if level_db < QUIETEST_DB:
            return Utterance(name, None, f"silent or too quiet ({level_db:.0f} dBFS)")
        if np.sum(np.abs(speech) >= CLIPPED_LEVEL) >= CLIPPED_SAMPLES:
            return Utterance(name, None, "too loud, it is clipped")
        self._noted.clear()
        hits = list(self._detector.listen([self._before, samples]))
        heard = zip(hits, self._noted, strict=True)
        found = [vector for hit, vector in heard if hit.keyword == self._keyword]
        if not found:
            return Utterance(name, None, f"{self._keyword!r} was not heard in it")
        return Utterance(name, found[0])

    def profile(self, utterances: Sequence[Utterance]) -> tuple[Profile, list[Utterance]]:
        """Return the profile of what agrees, and the utterances again, with faults where not.

        The one that is least like the others is left out while it is not nearly what a profile of
        these would accept. Raises VoiceError where fewer than three are left.
        """
        judged = list(utterances)
        while True:
            used = [i for i, utterance in enumerate(judged) if utterance.embedding is not None]
            vectors = [vector for u in judged if (vector := u.embedding) is not None]
            if len(used) < LEAST_CLIPS:
                raise VoiceError(_too_few(judged, len(used)))
            alike = likenesses(vectors, self._likeness)
            worst = int(np.argmin(alike))
            if alike[worst] >= self._least:
                return make_profile(self._model, vectors), judged
            fault = f"not like the others: {alike[worst]:.2f} is less than {self._least:.2f}"
            judged[used[worst]] = replace(judged[used[worst]], embedding=None, fault=fault)

    def _note(self, model: int, embedding: FloatArray) -> tuple[None, None]:
        self._noted.append(embedding)
        return None, None


def likenesses(embeddings: Sequence[FloatArray], likeness: Likeness) -> list[float]:
    """Return the likeness of each embedding (E,) to the profile that the others would make."""
    alike: list[float] = []
    for number, own in enumerate(embeddings):
        others = mean_voice([*embeddings[:number], *embeddings[number + 1 :]])
        alike += likeness(unit(own), others[None])
    return alike


def _too_few(judged: Sequence[Utterance], left: int) -> str:
    faults = "; ".join(f"{u.name}: {u.fault}" for u in judged if u.fault)
    return (
        f"{left} of {len(judged)} clips can be used, {LEAST_CLIPS} are needed"
        f"{f' ({faults})' if faults else ''}: record it again, as you will say it"
    )
