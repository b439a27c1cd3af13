"""What one Wyoming client is served: keywords, a stream of PCM, and detections in it.

```
bytes of any format -> Format.samples -> Converter -> a KeywordDetector for each model -> hits
```
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from wyoming.event import Event
from wyoming.info import Attribution, Info, WakeModel, WakeProgram

from kwspot.convert import Converter
from kwspot.detector import Detection, KeywordDetector
from kwspot.errors import KwspotError
from kwspot.model import Model

WIDTHS = {1: "u1", 2: "<i2", 4: "<i4"}  # dtype by bytes a sample; 8 bits are unsigned as in WAV


@dataclass(frozen=True)
class Service:
    """What is served: models, the detector that each client gets of one, and limits."""

    models: tuple[Model, ...]
    make_detector: Callable[[Model], KeywordDetector]
    version: str
    languages: tuple[str, ...] = ("en",)
    max_clients: int = 16

    def __post_init__(self) -> None:
        names = [keyword.label for model in self.models for keyword in model.info.keywords]
        for name in names:
            if names.count(name) > 1:
                raise KwspotError(f"two of the models hear {name!r}: serve one of them")

    @property
    def names(self) -> tuple[str, ...]:
        """The keywords that clients may ask for: in Wyoming's words, the names of models."""
        return tuple(k.label for model in self.models for k in model.info.keywords)

    def info(self) -> Info:
        """Return the answer to `describe`."""
        models = [
            WakeModel(
                name=keyword.label,
                description=keyword.label,
                attribution=Attribution(f"{model.info.name}, {model.info.provenance.licence}", ""),
                installed=True,
                version=self.version,
                languages=list(self.languages),
                phrase=keyword.label,
            )
            for model in self.models
            for keyword in model.info.keywords
        ]
        program = WakeProgram(
            name="kwspot",
            description="Wake words on the device",
            attribution=Attribution("kwspot", ""),
            installed=True,
            version=self.version,
            models=models,
        )
        return Info(wake=[program])


class BadEvent(KwspotError):
    """An event that cannot be followed; the connection goes on."""


@dataclass(frozen=True)
class Format:
    """PCM as Wyoming describes it: Hz, bytes a sample, and channels."""

    rate: int
    width: int
    channels: int

    @classmethod
    def of(cls, event: Event) -> "Format":
        """Read the format that an audio event states."""
        rate, width, channels = (event.data.get(name) for name in ("rate", "width", "channels"))
        if not (type(rate) is type(width) is type(channels) is int):
            raise BadEvent(f"{event.type} must have rate, width and channels, whole numbers")
        pcm = cls(int(rate), int(width), int(channels))
        if pcm.width not in (*WIDTHS, 3):
            raise BadEvent(f"samples of {pcm.width} bytes are not known: send 1, 2, 3 or 4")
        return pcm

    def samples(self, payload: bytes) -> npt.NDArray[Any]:
        """Turn bytes into whole frames of samples, channels interleaved: (n * C,)."""
        if len(payload) % (self.width * self.channels):
            raise BadEvent(
                f"audio of {len(payload)} bytes is no whole number of samples "
                f"of {self.width} bytes and {self.channels} channels"
            )
        if self.width != 3:
            return np.frombuffer(payload, WIDTHS[self.width])
        padded = np.zeros((len(payload) // 3, 4), np.uint8)  # 24 bits are the upper ones of 32
        padded[:, 1:] = np.frombuffer(payload, np.uint8).reshape(-1, 3)
        return padded.view("<i4").ravel()


class Stream:
    """Audio from one audio-start to its audio-stop, heard by a detector a model."""

    def __init__(self, service: Service, names: Sequence[str], pcm: Format) -> None:
        self._names, self._format = names, pcm
        self._converter = Converter(pcm.rate, pcm.channels)
        self._detectors = [
            service.make_detector(model)
            for model in service.models
            if any(keyword.label in names for keyword in model.info.keywords)
        ]
        self.heard = False

    def hear(self, pcm: Format, payload: bytes) -> list[Detection]:
        """Hear a chunk and return what was detected in it."""
        if pcm != self._format:
            raise BadEvent("the format of the audio has changed: send audio-start first")
        return self._process(self._converter.convert(pcm.samples(payload)))

    def finish(self) -> list[Detection]:
        """Hear what the converter and the detectors still hold."""
        hits = self._process(self._converter.convert(np.zeros(0, np.float32), last=True))
        return hits + self._wanted([h for detector in self._detectors for h in detector.finish()])

    def _process(self, samples: npt.NDArray[np.float32]) -> list[Detection]:
        return self._wanted([h for d in self._detectors for h in d.process(samples)])

    def _wanted(self, hits: list[Detection]) -> list[Detection]:
        hits = sorted((hit for hit in hits if hit.keyword in self._names), key=lambda hit: hit.end)
        self.heard = self.heard or bool(hits)
        return hits
