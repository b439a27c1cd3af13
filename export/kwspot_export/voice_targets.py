"""What a student of voices learns: the teacher's embeddings, turned to where people differ.

```
utterances -> teacher -> embeddings (N, E) -> linear discriminants of people -> targets (N, D)
```

Short words move an embedding nearly as far as another voice does. Linear discriminant analysis on
the people who are known finds directions in which that noise is least; embeddings are whitened
within people and cut to the directions in which people differ most. What is learnt is drawn towards
the mean of its person's clips, which knows the voice better than one short clip does.

Letters in shapes: N segments, E width of the teacher's embedding, D of the student's.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kwspot_export.voice_segments import VoiceSegments
from kwspot_export.voice_teacher import VoiceTeacher

CHUNK = 512  # utterances a file
SHRINKAGE = 0.1  # of the scatter within people towards a multiple of the identity

Embeddings = npt.NDArray[np.float32]


def teach(
    teacher: VoiceTeacher,
    segments: VoiceSegments,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """Return the teacher's embedding of each segment's utterance, (N, E), of length 1.

    They are kept below `cache`, in files that appear whole: an interruption loses one at most.
    """
    names = [segments.utterance_name(row) for row in range(len(segments))]
    first: dict[tuple[int, int, float], int] = {}
    for row, name in enumerate(names):
        first.setdefault(name, row)
    rows = list(first.values())
    key = json.dumps([teacher.fingerprint, segments.key, CHUNK])
    folder = cache / "voices" / hashlib.sha256(key.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, begin in enumerate(range(0, len(rows), CHUNK)):
        path = folder / f"{number:05d}.npy"
        if not path.exists():
            chunk = [teacher(segments.utterance(row)) for row in rows[begin : begin + CHUNK]]
            partial = folder / f"{number:05d}.partial.npy"
            np.save(partial, np.stack(chunk))
            partial.rename(path)
        parts.append(np.load(path))
        if progress is not None:
            progress(min(begin + CHUNK, len(rows)), len(rows))
    place = {name: number for number, name in enumerate(first)}
    return np.concatenate(parts)[[place[name] for name in names]]


def discriminants(
    embeddings: Embeddings, people: Sequence[str], size: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fit mean (E,) and projection (E, size) to embeddings (N, E) of people; "" is not known.

    Fisher's linear discriminants, with the scatter within people shrunk a little.
    """
    labels = np.array(people)
    known = [label for label in sorted(set(people) - {""}) if np.sum(labels == label) > 1]
    means = np.stack([embeddings[labels == label].mean(0) for label in known])
    mean = means.mean(0)
    scatter = np.zeros((embeddings.shape[1],) * 2)
    count = 0
    for label, centre in zip(known, means, strict=True):
        centred = embeddings[labels == label] - centre
        scatter += centred.T @ centred
        count += len(centred) - 1
    scatter /= count
    scatter += SHRINKAGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    values, vectors = np.linalg.eigh(scatter)
    whiten = vectors / np.sqrt(values)
    apart = (means - mean) @ whiten
    _, _, directions = np.linalg.svd(apart, full_matrices=False)
    return mean, whiten @ directions[:size].T


def targets(
    embeddings: Embeddings, people: Sequence[str], size: int, own_share: float
) -> Embeddings:
    """Turn embeddings (N, E) of people into what a student learns, (N, size), of length 1.

    `own_share` is how much each clip counts beside the mean of its person's, who is not known for
    "".
    """
    mean, projection = discriminants(embeddings, people, size)
    turned = _unit((embeddings - mean) @ projection)
    labels, drawn = np.array(people), turned.copy()
    for label in set(people) - {""}:
        rows = labels == label
        drawn[rows] = own_share * turned[rows] + (1 - own_share) * _unit(turned[rows].mean(0))
    return _unit(drawn).astype(np.float32)


def _unit(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
