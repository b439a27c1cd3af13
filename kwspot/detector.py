"""The detector: the whole path from samples to detections, on one page.

```
samples -> Framer -> Gate -> LogMel -> Model.step -> Smoother -> Verification -> Contest
 any n     80 ms   speech?   8 x 40  2 x posterior   average    candidates    threshold
                                     of each model             heard again   one word wins
                                                                              -> Detection
```

Models with a verifier beside them have their candidates heard again, the last 2 s at once; others
are taken at their word. Where voices are asked for, each detection says who spoke: by the speaker
embedding that a model's step also gives, or by that of a voice net, which hears the last 1.6 s.

Steps that arrive while the gate is closed wait in the framer: when it opens, those that are still
there are run first, so that the model has heard what came before the word.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from kwspot.convert import to_float
from kwspot.decision import Contest, Scores, Smoother, Trigger
from kwspot.errors import CalibrationError
from kwspot.features import SAMPLE_RATE, FloatArray, LogMel
from kwspot.framer import Framer
from kwspot.gate import Gate
from kwspot.loader import load_model
from kwspot.model import Model
from kwspot.modelfile import SENSITIVITIES, Keyword
from kwspot.verifier import Verification, open_verification
from kwspot.words import heard_together, word_by_word

if TYPE_CHECKING:
    from kwspot.sources import Source
    from kwspot.voice_net import VoiceEar

PRE_ROLL = (
    0.96  # seconds heard in full before the gate opened; voice detectors were late by up to 0.6
)
TAIL = 0.48  # seconds of silence that end a recording: a model may answer that long after the word


@dataclass(frozen=True)
class Detection:
    """A keyword that was heard. Times are seconds of the stream.

    `end` is when the score reached the threshold; `start` is earlier by the keyword's typical
    length, an estimate. Where voices are asked for, `speaker` is the enrolled voice that it is, or
    None, and `speaker_score` the likeness to it, or to the nearest (`kwspot.likeness`).
    """

    keyword: str
    score: float
    start: float
    end: float
    speaker: str | None = None
    speaker_score: float | None = None


class Watcher(Protocol):
    """Sees all that a detector does, as it does it. May not take long: audio is waiting."""

    def hear(self, samples: FloatArray) -> None:
        """Take the next samples of the stream, (N,), a step at most; scores of them follow."""

    def judge(self, time: int, scores: list[float], hits: list[Detection]) -> None:
        """Take the scores (K,) at sample `time` of the stream, and what was detected there."""

    def end(self) -> None:
        """Take that the stream has ended; time begins anew."""


class Recogniser(Protocol):
    """Tells whose voice a detection is."""

    def __call__(self, model: int, embedding: FloatArray) -> tuple[str | None, float | None]:
        """Take the speaker embedding (E,) at a detection of a model, by its number.

        Returns the name of the voice and its score.
        """


class KeywordDetector:
    """Hears keywords in one stream of audio.

    `model` is a path, the name of an installed model, or a loaded model, which several detectors
    may share; or several of them, which must have the same front end and step. `threshold` (0 to 1)
    or `sensitivity` ("low", "medium", "high") replace the model's own choice, "medium", for all
    words, or for some: `threshold={"alexa": 0.8}`; `thresholds` is a file from `kwspot calibrate`,
    with those of a place for one model. `refractory` is in seconds: how long after a detection no
    word is detected. `vad` is "webrtc", "energy" or "off".

    `profiles` is a folder of voices from `kwspot enroll`: detections then say who spoke. With
    `only`, one or more of their names, no other voice is detected; `profiles` then may be left out
    for the folder that `kwspot enroll` uses. A convenience, no security.

    Where a model has a verifier beside its file, scores and thresholds are verified ones
    (`kwspot.verifier`); `verify=False` takes all models at their word, at their own thresholds.

    `info` is what the model says of itself; of several the first, with the keywords of all.

    Raises ModelError for models that cannot be used, alone or together, and for a word that none
    of them hears; CalibrationError for thresholds, and VoiceError for voices, that are not this
    model's; ValueError for options out of range.
    """

    def __init__(
        self,
        model: str | Path | Model | Sequence[str | Path | Model],
        *,
        threshold: float | Mapping[str, float] | None = None,
        sensitivity: str | Mapping[str, str] = "medium",
        thresholds: str | Path | None = None,
        vad: str = "webrtc",
        refractory: float | None = None,
        profiles: str | Path | None = None,
        only: str | Sequence[str] | None = None,
        verify: bool = True,
    ) -> None:
        if threshold is not None and thresholds is not None:
            raise ValueError("threshold and thresholds are given: choose one")
        if refractory is not None and not 0 <= refractory <= 60:
            raise ValueError(f"refractory is {refractory}: it must be 0 to 60 seconds")
        models = model if isinstance(model, Sequence) and not isinstance(model, str) else [model]
        if not models:
            raise ValueError("model is an empty list: a detector needs one at least")
        self._models = [load_model(m) if isinstance(m, str | Path) else m for m in models]
        infos = [one.info for one in self._models]
        self._verification: Verification | None = None
        if verify:
            infos, self._verification = open_verification(self._models)
        info = self.info = heard_together(infos)
        self._step_samples, self._output_samples = info.step_samples, info.output_samples
        front_end = info.front_end
        self._log_mel = LogMel(front_end)
        self._gate = Gate(vad, info.step_samples)
        self._warm_up = -(-info.receptive_field // info.frames_per_step)  # steps to fill the state
        self._backlog = self._warm_up + round(PRE_ROLL * SAMPLE_RATE / info.step_samples)
        lead = front_end.window - front_end.hop
        self._framer = Framer(lead, info.step_samples, self._backlog)
        labels = [keyword.label for keyword in info.keywords]
        levels = word_by_word(sensitivity, labels, "medium", "sensitivity")
        own = word_by_word(threshold, labels, None, "threshold")
        if thresholds is not None:
            own = self._of_place(thresholds, levels, verify)
        self._watcher: Watcher | None = None
        self._smoothers, self._triggers = [], []
        for one in infos:
            decision = one.decision
            self._smoothers.append(Smoother(decision.smoothing, len(one.keywords)))
            wait = decision.refractory if refractory is None else refractory
            for keyword in one.keywords:
                score = _threshold(keyword, own[keyword.label], levels[keyword.label])
                self._triggers.append(Trigger(score, decision.release, round(wait * SAMPLE_RATE)))
        self._contest = Contest(self._triggers)
        self._owners = [n for n, one in enumerate(self._models) for _ in one.info.keywords]
        self._only = [only] if isinstance(only, str) else only
        asked = profiles is not None or self._only is not None
        self.recognise(self._of_voices(profiles) if asked else None)
        self.reset()

    def reset(self) -> None:
        """Start a new stream, as a new detector would."""
        if self._watcher is not None:
            self._watcher.end()
        self._framer.clear()
        self._gate.reset()
        self._contest.reset()
        self._begin()
        self._unheard = 0  # steps that the model needs before its outputs count
        self._time = 0  # samples that have left the framer

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

    def watch(self, watcher: Watcher | None) -> None:
        """Let `watcher` see what comes from now on; None ends that."""
        self._watcher = watcher

    def recognise(self, recogniser: Recogniser | None) -> None:
        """Let `recogniser` say who spoke each detection from now on; None ends that.

        Raises VoiceError where a model does not tell voices apart and no voice net is installed.
        """
        self._recogniser = recogniser
        self._ear: VoiceEar | None = None
        if recogniser is not None and any(m.info.voice is None for m in self._models):
            from kwspot.voices import open_ear  # few detectors need one

            self._ear = open_ear(self._step_samples)

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
            count = framer.write(samples)
            if self._watcher is not None:
                self._watcher.hear(samples[:count])
            samples = samples[count:]
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
        """Run one block through the models: all smoothed scores, none until the states are full."""
        features = self._log_mel(block)
        for ear in (self._ear, self._verification):
            if ear is not None:
                ear.hear(block[-self._step_samples :])
        outputs = []
        for number, model in enumerate(self._models):
            state = self._states[number]
            if self._recogniser is not None and model.info.voice is not None:
                posteriors, embedding, state = model.step_and_embed(features, state)
                self._embeddings[number] = embedding
            else:
                posteriors, state = model.step(features, state)
            self._states[number] = state
            outputs.append(posteriors)
        if self._unheard:
            self._unheard -= 1
            return []
        scores = self._smoothers[0](outputs[0])
        for smoother, posteriors in zip(self._smoothers[1:], outputs[1:], strict=True):
            for row, more in zip(scores, smoother(posteriors), strict=True):
                row += more
        if self._verification is not None:
            self._verification(scores)
        self._scores = scores[-1]
        return scores

    def _forget(self) -> None:
        """Start from fresh states: the old ones have missed a step."""
        if self._unheard < self._warm_up:
            self._unheard = self._warm_up
            self._begin()

    def _begin(self) -> None:
        """Give every model the state of a stream that has heard nothing."""
        self._states = [model.fresh_state() for model in self._models]
        for smoother in self._smoothers:
            smoother.reset()
        self._scores = [0.0] * len(self._triggers)
        self._embeddings: dict[int, FloatArray] = {}  # (U, E) of the latest step, by model
        for ear in (self._ear, self._verification):
            if ear is not None:
                ear.clear()

    def _of_place(
        self, path: str | Path, sensitivities: Mapping[str, str], verify: bool
    ) -> dict[str, float | None]:
        """Read the thresholds of a place, by word."""
        from kwspot.place import read_place  # few detectors need to read JSON

        if len(self._models) > 1:
            raise CalibrationError(
                "thresholds are those of one model: give threshold by word instead"
            )
        place = read_place(path, self._models[0], verify).thresholds
        return {word: place[word][level] for word, level in sensitivities.items()}

    def _of_voices(self, folder: str | Path | None) -> Recogniser:
        """Read the voices of a folder."""
        from kwspot.voices import open_voices  # few detectors need to read JSON

        if self._only is not None and not self._only:
            raise ValueError("only is empty: name the voices that may be heard")
        return open_voices(folder, self._models, self._only)

    def _decide(self, begun: int, scores: Scores) -> list[Detection]:
        """Turn the scores of the step that began at sample `begun` into detections."""
        hits: list[Detection] = []
        time = begun
        for row, output in enumerate(scores):
            time += self._output_samples
            number, heard = self._contest(output, time), []
            if number is not None:
                keyword, end = self.info.keywords[number], time / SAMPLE_RATE
                start = max(0.0, end - keyword.seconds)
                who = self._speaker(self._owners[number], row)
                if self._only is None or who[0] in self._only:
                    heard = [Detection(keyword.label, output[number], start, end, *who)]
            if self._watcher is not None:
                self._watcher.judge(time, output, heard)
            hits += heard
        return hits

    def _speaker(self, model: int, row: int) -> tuple[str | None, float | None]:
        """Tell who spoke what a model has detected at output `row` of the latest step."""
        if self._recogniser is None:
            return None, None
        if model in self._embeddings:
            return self._recogniser(model, self._embeddings[model][row])
        assert self._ear is not None
        later = (self.info.outputs_per_step - 1 - row) * self._output_samples
        return self._recogniser(model, self._ear.embedding(later))


def _threshold(keyword: Keyword, own: float | None, sensitivity: str) -> float:
    """Return a word's own threshold, or the model's for a sensitivity."""
    if sensitivity not in SENSITIVITIES:
        raise ValueError(f"sensitivity is {sensitivity!r}: choose one of {SENSITIVITIES}")
    if own is None:
        return keyword.operating_points[sensitivity].threshold
    if not 0 < own <= 1:
        raise ValueError(f"threshold is {own}: it must be above 0 and at most 1")
    return own
