"""A golden test inside the model file: does this machine's runtime compute the model rightly?

```
features that every machine makes alike -> 24 steps, state fed back -> posteriors and states
                                                                   <-> those in the model file
```

Runtimes have had kernels that were wrong on some boards only: onnxruntime 1.27.0 computed
convolutions wrongly on arm64, and a model then is silently deaf. The states are compared as well,
for what is not the keyword leaves posteriors near 0 whatever a layer does.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from kwspot.errors import ModelError
from kwspot.features import FloatArray
from kwspot.model import Model
from kwspot.modelfile import ModelInfo, SelfTest

STEPS = 24  # 1.9 s: every layer's state is filled
LEAST = 0.1  # posteriors of eight bits are 0.004 apart


def record(model: Model, tolerance: float) -> SelfTest:
    """Run the test on a machine that is trusted, and return what a model file should hold."""
    posteriors, sizes = _answer(model)
    return SelfTest(_fingerprint(model.info), _rounded(posteriors), _rounded(sizes), tolerance)


@dataclass(frozen=True)
class Verdict:
    """How a test went: the largest difference, as a share, of a posterior or a state's size."""

    difference: float
    allowed: float

    @property
    def right(self) -> bool:
        """Tell whether the model is computed rightly."""
        return self.difference <= self.allowed  # not where the difference is no number


def judge(model: Model) -> Verdict:
    """Run the test that is in a model's file.

    Raises ModelError for a file without a self-test, or with one that this kwspot cannot run.
    """
    expected = model.info.self_test
    if expected is None:
        raise ModelError(f"{model.info.name} holds no self-test: export it with `kwspot export`")
    if expected.fingerprint != _fingerprint(model.info):
        raise ModelError(
            f"{model.info.name} holds the self-test of another kwspot: install the version that "
            "made it, or export it again"
        )
    posteriors, sizes = _answer(model)
    if (len(posteriors), len(sizes)) != (len(expected.posteriors), len(expected.states)):
        raise ModelError(f"the self-test of {model.info.name} does not fit its outputs")
    found = np.array(posteriors + sizes)
    wanted = np.array(expected.posteriors + expected.states)
    # What is small counts as if it were LEAST.
    differences = np.abs(found - wanted) / np.maximum(wanted, LEAST)
    return Verdict(float(np.max(differences)), expected.tolerance)


def require(model: Model) -> None:
    """Raise ModelError where the test fails, or as `judge` does where it cannot be run."""
    verdict = judge(model)
    if not verdict.right:
        raise ModelError(
            f"{model.runtime} computes {model.info.name} wrongly on this machine, its self-test "
            f"differs by {verdict.difference:.2g} (allowed {verdict.allowed:g}): "
            "install another version of it"
        )


def probe(frames: int, mels: int) -> FloatArray:
    """Make features (T, F): triangles in time, 0 to 16 as speech has, of a pace for each band.

    Whole numbers divided by 8, so that every machine makes the same bits.
    """
    time = np.arange(frames, dtype=np.int64)[:, None]
    band = np.arange(mels, dtype=np.int64)
    phase = (time * (5 + 2 * (band % 7)) + 37 * band) % 256
    features: FloatArray = (np.abs(phase - 128) / 8).astype(np.float32)
    return features


def _rounded(values: list[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def _probe(info: ModelInfo) -> FloatArray:
    return probe(STEPS * info.frames_per_step, info.front_end.mels)


def _fingerprint(info: ModelInfo) -> str:
    return hashlib.sha256(_probe(info).astype("<f4").tobytes()).hexdigest()[:16]


def _answer(model: Model) -> tuple[list[float], list[float]]:
    """Return the posteriors of the last step, and the mean size of what each state then stores."""
    state = model.fresh_state()
    for features in np.split(_probe(model.info), STEPS):
        posteriors, state = model.step(features, state)
    sizes = [float(np.abs(values.astype(np.float64)).mean()) for values in state]
    return posteriors.ravel().tolist(), sizes
