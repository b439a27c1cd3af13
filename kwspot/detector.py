"""The detector: the whole path from samples to detections, on one page.

```
samples -> Framer -> Gate -> LogMel -> Model.step -> Smoother -> Trigger -> Detection
 any n     80 ms   speech?   8 x 40  2 x posterior   average    threshold
```

Steps that arrive while the gate is closed wait in the framer: when it opens, those that are still
there are run first, so that the model has heard what came before the word.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kwspot.convert import to_float
from kwspot.decision import Scores, Smoother, Trigger
from kwspot.features import SAMPLE_RATE, FloatArray, LogMel
from kwspot.framer import Framer
from kwspot.gate import Gate
from kwspot.loader import load_model
from kwspot.model import Model
from kwspot.modelfile import SENSITIVITIES

if TYPE_CHECKING:
    from kwspot.sources import Source

PRE_ROLL = (
    0.96  # seconds heard in full before the gate opened; voice detectors were late by up to 0.6
)
TAIL = 0.48  # seconds of silence that end a recording: a model may answer that long after the word


@dataclass(frozen=True)
class Detection:
    """A keyword that was heard. Times are seconds of the stream.

    `end` is when the score reached the threshold; `start` is earlier by the keyword's typical
    length, an estimate.
    """

    keyword: str
    score: float
    start: float
    end: float


class KeywordDetector:
    """Hears keywords in one stream of audio.

    `model` is a path, the name of an installed model, or a loaded model, which several detectors
    may share. `threshold` (0 to 1) or `sensitivity` ("low", "medium", "high") replace the model's
    own choice, "medium"; `refractory` is in seconds; `vad` is "webrtc", "energy" or "off".

    Raises ModelError for a model that cannot be used and ValueError for options out of range.
    """

    def __init__(
        self,
        model: str | Path | Model,
        *,
        threshold: float | None = None,
        sensitivity: str = "medium",
        vad: str = "webrtc",
        refractory: float | None = None,
    ) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}: it must be above 0 and at most 1")
        if sensitivity not in SENSITIVITIES:
            raise ValueError(f"sensitivity is {sensitivity!r}: choose one of {SENSITIVITIES}")
        if refractory is not None and not 0 <= refractory <= 60:
            raise ValueError(f"refractory is {refractory}: it must be 0 to 60 seconds")
        self._model = load_model(model) if isinstance(model, str | Path) else model
        info = self.info = self._model.info
        self._step_samples, self._output_samples = info.step_samples, info.output_samples
        front_end = info.front_end
        self._log_mel = LogMel(front_end)
        self._gate = Gate(vad, info.step_samples)
        self._warm_up = -(-info.receptive_field // info.frames_per_step)  # steps to fill the state
        self._backlog = self._warm_up + round(PRE_ROLL * SAMPLE_RATE / info.step_samples)
        lead = front_end.window - front_end.hop
        self._framer = Framer(lead, info.step_samples, self._backlog)
        self._smoother = Smoother(info.decision.smoothing, len(info.keywords))
        wait = info.decision.refractory if refractory is None else refractory
        self._triggers = [
            Trigger(
                threshold or keyword.operating_points[sensitivity].threshold,
                info.decision.release,
                round(wait * SAMPLE_RATE),
            )
            for keyword in info.keywords
        ]
        self.reset()

    def reset(self) -> None:
        """Start a new stream, as a new detector would."""
        self._framer.clear()
        self._gate.reset()
        self._smoother.reset()
        for trigger in self._triggers:
            trigger.reset()
        self._state = self._model.fresh_state()
        self._unheard = 0  # steps that the model needs before its outputs count
        self._time = 0  # samples that have left the framer
        self._scores = [0.0] * len(self._triggers)

    @property
    def scores(self) -> dict[str, float]:
        """The latest smoothed score of each keyword, 0 to 1."""
        labels = (keyword.label for keyword in self.info.keywords)
        return dict(zip(labels, self._scores, strict=True))

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of each keyword."""
        labels = (keyword.label for keyword in self.info.keywords)
        return dict(zip(labels, (t.threshold for t in self._triggers), strict=True))

    def process(self, samples: npt.NDArray[Any]) -> list[Detection]:
        """Hear the next samples of the stream and return what was detected in them.

        `samples`: (N,) of any length at 16 kHz, int16, or floating point in [-1, 1]. The same
        samples give the same detections, to the bit, however they are cut into chunks. Raises
        AudioError for anything else; the stream then is as if the call had not been made.
        """
        hits: list[Detection] = []
        for begun, scores in self._hear(to_float(samples)):
            hits += self._decide(begun, scores)
        return hits

    def finish(self) -> list[Detection]:
        """End the stream: hear half a second of silence, so that a word at the very end counts."""
        hits = self.process(np.zeros(round(TAIL * SAMPLE_RATE), np.float32))
        self.reset()
        return hits

    def listen(
        self, source: "Source | str | Path | FloatArray | Iterable[FloatArray]"
    ) -> Iterator[Detection]:
        """Start a new stream and yield what is detected in a source, until it ends.

        A source is a Microphone, an AudioFile, a PcmStream, a path, an array at 16 kHz or an
        iterable of arrays. Raises AudioError where the source fails.
        """
        from kwspot.sources import as_source  # a detector that is fed arrays starts without

        self.reset()
        for samples in as_source(source):
            yield from self.process(samples)
        yield from self.finish()

    def alisten(
        self,
        source: "Source | str | Path | FloatArray | Iterable[FloatArray] "
        "| AsyncIterable[FloatArray]",
    ) -> AsyncGenerator[Detection, None]:
        """Like `listen`, for `async for`: audio is heard in a thread, the event loop stays free.

        An asynchronous iterable of arrays at 16 kHz, as from a websocket, is a source as well.
        """
        from kwspot.async_listen import detections

        return detections(self, source)

    def score(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Like `process`, but return every smoothed score (U, K) and decide nothing.

        Outputs are `info.output_samples` apart; what the gate kept from the model is missing.
        """
        outputs = [output for _, scores in self._hear(to_float(samples)) for output in scores]
        return np.array(outputs, np.float64).reshape(len(outputs), len(self._triggers))

    def _hear(self, samples: FloatArray) -> Iterator[tuple[int, Scores]]:
        """Run the steps that `samples` complete; yield where each began, and its scores."""
        framer = self._framer
        while len(samples):
            samples = samples[framer.write(samples) :]
            if not framer.complete:
                return
            if self._gate.hear(framer.newest()):
                while framer.blocks:
                    begun, scores = self._time, self._step(framer.read())
                    self._time += self._step_samples
                    if scores:
                        yield begun, scores
            elif framer.blocks > self._backlog:
                framer.skip()
                self._time += self._step_samples
                self._forget()

    def _step(self, block: FloatArray) -> Scores:
        """Run one block through the model: its smoothed scores, none until the state is full."""
        features = self._log_mel(block)
        posteriors, self._state = self._model.step(features, self._state)
        if self._unheard:
            self._unheard -= 1
            return []
        scores = self._smoother(posteriors)
        self._scores = scores[-1]
        return scores

    def _forget(self) -> None:
        """Start from a fresh state: the old one has missed a step."""
        if self._unheard < self._warm_up:
            self._unheard = self._warm_up
            self._state = self._model.fresh_state()
            self._smoother.reset()
            self._scores = [0.0] * len(self._triggers)

    def _decide(self, begun: int, scores: Scores) -> list[Detection]:
        """Turn the scores of the step that began at sample `begun` into detections."""
        hits, time = [], begun
        for output in scores:
            time += self._output_samples
            for number, score in enumerate(output):
                if self._triggers[number](score, time):
                    keyword, end = self.info.keywords[number], time / SAMPLE_RATE
                    start = max(0.0, end - keyword.seconds)
                    hits.append(Detection(keyword.label, score, start, end))
        return hits
