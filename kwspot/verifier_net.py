"""The encoder that hears candidates again: the first layers of a large speech encoder.

```
last 2 s of samples -> 25 ms frames every 10 ms -> |FFT|^2 -> VerifierNet -> hidden (T, D)
```

It says what was said, not which word: that is for the head of each word (`kwspot.verifier`).
Nothing of it runs between candidates, and it is loaded at the first.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from kwspot.features import FloatArray
from kwspot.loader import models_folder
from kwspot.model import onnxruntime_version
from kwspot.modelfile import Provenance
from kwspot.net_file import open_net, require_shapes
from kwspot.selftest import Verdict

NET_KEY = "kwspot-verifier"  # of the metadata in its file
WINDOW, HOP = 400, 160  # samples, as Whisper's front end has them


@dataclass(frozen=True)
class VerifierNetInfo:
    """All that the file of a verifier's net says of itself.

    It maps power spectra (frames, 201) to hidden states (outputs, width). `self_test` is what it
    answers to `probe_samples`: the mean of each output over the width of all its absolute values.
    What a machine computes may differ by the share `tolerance`.
    """

    format: int
    name: str
    frames: int
    outputs: int
    width: int
    provenance: Provenance
    self_test: tuple[float, ...] = ()
    tolerance: float = 0.01

    @property
    def samples(self) -> int:
        """How many samples it hears: those of all frames."""
        return WINDOW + (self.frames - 1) * HOP


class VerifierNet:
    """A file of a verifier's net, run by ONNX Runtime on one thread; many streams may share it.

    Raises ModelError for a file that is missing, damaged, or none.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.runtime = path, onnxruntime_version()
        self._session, self.info = open_net(path, NET_KEY, VerifierNetInfo, "verifies words")
        info = self.info
        require_shapes(
            path,
            self._session,
            [
                ("power", (info.frames, WINDOW // 2 + 1)),
                ("hidden", (info.outputs, info.width)),
            ],
        )
        phase = 2 * np.pi * np.arange(WINDOW) / WINDOW
        self._window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Hear `info.samples` samples, float32 in [-1, 1]; return hidden states (outputs, D)."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
        power = np.square(np.abs(np.fft.rfft(frames * self._window))).astype(np.float32)
        hidden: FloatArray = self._session.run(["hidden"], {"power": power})[0]
        return hidden

    def judge(self) -> Verdict:
        """Tell whether this machine computes the net rightly; see `kwspot.selftest`."""
        answer, expected = self.answer(), np.array(self.info.self_test)
        if len(answer) != len(expected):
            return Verdict(1.0, self.info.tolerance)
        return Verdict(float(np.abs(answer / expected - 1).max()), self.info.tolerance)

    def answer(self) -> FloatArray:
        """Return the mean absolute value of each output, (outputs,), for `probe_samples`."""
        sizes: FloatArray = np.abs(self(probe_samples(self.info.samples))).mean(axis=1)
        return sizes


def probe_samples(count: int) -> FloatArray:
    """Make samples that every machine makes alike: a tone that rises and falls, float32 (N,)."""
    time = np.arange(count) / 16_000
    return (0.1 * np.sin(2 * np.pi * (200 + 400 * time) * time) * np.sin(7 * time)).astype(
        np.float32
    )


@cache
def installed_net(name: str) -> VerifierNet:
    """Load a net that is installed with kwspot, once; raise ModelError without it."""
    return VerifierNet(models_folder() / name)
