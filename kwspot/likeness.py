"""How like a profile a voice is: their cosine, less what both have in common with strangers.

```
voice, profile (E,) -> cosine to each other - mean of their cosines to the nearest strangers
```

In the same room, at the same microphone, with the same word, strangers are more alike: their
cosines rise, those of one person with himself too, and no single threshold fits two places. What a
voice has in common with the strangers nearest to it rises as well. This is the symmetric
normalisation of scores with an adaptive cohort (Matejka et al. 2017), of means alone: to divide by
standard deviations, too, made no difference on validation speakers.
"""

import base64
import binascii
from typing import cast

import numpy as np

from kwspot.errors import ModelError
from kwspot.features import FloatArray

NEAREST = 20  # strangers that count; of 400, 20 to 200 did alike


class Likeness:
    """Compares voices, whose embeddings have length 1, against `strangers` (C, E), if there are."""

    def __init__(self, strangers: FloatArray | None = None) -> None:
        self._strangers = strangers

    def __call__(self, voice: FloatArray, profiles: FloatArray) -> list[float]:
        """Compare a voice (E,) to profiles (P, E): a likeness each, the more the likelier."""
        # Not by a matrix product: whose last bit may depend on where the numbers lie.
        cosines = (profiles * voice).sum(axis=1).tolist()
        common = self.common(voice)
        return [
            cosine - (common + self.common(profile)) / 2
            for cosine, profile in zip(cosines, profiles, strict=True)
        ]

    def common(self, voice: FloatArray) -> float:
        """Return what a voice (E,) has in common with strangers: 0 where none are known."""
        if self._strangers is None or not len(self._strangers):
            return 0.0
        cosines = np.sort((self._strangers * voice).sum(axis=1))
        return float(cosines[-NEAREST:].mean())


def pack(strangers: FloatArray) -> str:
    """Write strangers (C, E) as text for a net's file, a byte a number."""
    steps = np.abs(strangers).max(axis=1, keepdims=True) / 127
    return base64.b64encode(np.rint(strangers / steps).astype(np.int8).tobytes()).decode()


def unpack(text: str, size: int, where: str) -> FloatArray:
    """Read what `pack` wrote: (C, size), each of length 1; raise ModelError for anything else."""
    try:
        rows = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    except (binascii.Error, ValueError) as error:
        raise ModelError(f"{where}: its strangers are not base64 ({error})") from error
    if len(rows) % size:
        raise ModelError(f"{where}: its strangers are no embeddings of {size} numbers")
    strangers = rows.reshape(-1, size).astype(np.float32)
    lengths = np.linalg.norm(strangers, axis=1, keepdims=True)
    if not lengths.all():
        raise ModelError(f"{where}: one of its strangers is nobody")
    return cast(FloatArray, strangers / lengths)
