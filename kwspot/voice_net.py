"""The net that tells voices apart at the detections of models that cannot: one run a detection.

```
last 1.6 s of samples -> log-mel, its own -> VoiceNet -> speaker embedding (E,)
```

Nothing of it runs between detections, so that it costs nothing then, and may be larger than a model
that runs all the time.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from kwspot.ear import Ear
from kwspot.errors import ModelError, VoiceError
from kwspot.features import FloatArray, FrontEnd, LogMel
from kwspot.likeness import Likeness, unpack
from kwspot.loader import VOICE_NET, models_folder
from kwspot.model import onnxruntime_version
from kwspot.modelfile import Provenance, VoicePoint
from kwspot.net_file import open_net, require_shapes
from kwspot.selftest import Verdict, probe

VOICE_KEY = "kwspot-voice"  # of the metadata in its file


@dataclass(frozen=True)
class VoiceInfo:
    """All that the file of a voice net says of itself.

    It maps features (frames, F) to an embedding (embedding,); from a likeness of `voice.threshold`
    to a profile on it is that voice. `strangers` are voices to compare with, packed as
    `kwspot.likeness` says. `self_test` is its answer to `selftest.probe`, of length 1, to which
    what a machine computes must have a cosine of 1 - `tolerance`.
    """

    format: int
    name: str
    frames: int
    embedding: int
    voice: VoicePoint
    provenance: Provenance
    front_end: FrontEnd = field(default_factory=FrontEnd)
    strangers: str = ""
    self_test: tuple[float, ...] = ()
    tolerance: float = 0.01  # kernels round sums in the last of eight bits differently


class VoiceNet:
    """A file of a voice net, run by ONNX Runtime on one thread; many streams may share it.

    Raises ModelError for a file that is missing, damaged, or none.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.runtime = path, onnxruntime_version()
        self._session, self.info = open_net(path, VOICE_KEY, VoiceInfo, "tells voices apart")
        info = self.info
        require_shapes(
            path,
            self._session,
            [
                ("features", (info.frames, info.front_end.mels)),
                ("embedding", (info.embedding,)),
            ],
        )
        if not -1 < info.voice.threshold <= 1:
            raise ModelError(f"{path}: its metadata says threshold {info.voice.threshold:g}")
        self.likeness = Likeness(unpack(info.strangers, info.embedding, str(path)))

    def __call__(self, features: FloatArray) -> FloatArray:
        """Tell a voice: features (frames, F) -> embedding (E,)."""
        embedding: FloatArray = self._session.run(["embedding"], {"features": features})[0]
        return embedding

    def judge(self) -> Verdict:
        """Tell whether this machine computes the net rightly; see `kwspot.selftest`."""
        answer, expected = self.answer(), np.array(self.info.self_test)
        same = len(answer) == len(expected)
        return Verdict(abs(float(1 - answer @ expected)) if same else 1.0, self.info.tolerance)

    def answer(self) -> FloatArray:
        """Return the embedding (E,), of length 1, of the self-test's features."""
        embedding = self(probe(self.info.frames, self.info.front_end.mels))
        length: FloatArray = embedding / np.float32(np.linalg.norm(embedding))
        return length


@cache
def installed_voice_net() -> VoiceNet:
    """Load the voice net that is installed with kwspot, once; raise VoiceError without one."""
    path = models_folder() / VOICE_NET
    if not path.is_file():
        raise VoiceError(
            f"{path} is missing, without which no voices are told apart: install kwspot again"
        )
    return VoiceNet(path)


class VoiceEar(Ear):
    """Keeps the latest samples of a stream, and hears them again at a detection.

    `spare` is how many samples a detection may lie before the newest.
    """

    def __init__(self, net: VoiceNet, spare: int) -> None:
        self._net, front_end = net, net.info.front_end
        self._log_mel = LogMel(front_end)
        # The first frame looks back further than a hop.
        self._length = front_end.window - front_end.hop + net.info.frames * front_end.hop
        super().__init__(self._length + spare)

    def embedding(self, later: int) -> FloatArray:
        """Return the embedding (E,) of what ended `later` samples before the newest."""
        return self._net(self._log_mel(self.latest(self._length, later)))
