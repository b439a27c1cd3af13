"""What a model file says of itself: one JSON text in the file, from which the runtime takes all.

In ONNX it is the metadata property `kwspot`, in TFLite the metadata entry of that name. A file that
says nothing, or something that this runtime cannot do, is refused in one sentence.
"""

import dataclasses
import json
from dataclasses import dataclass, field

from kwspot.errors import ModelError
from kwspot.features import SAMPLE_RATE, FrontEnd
from kwspot.records import read_record

METADATA_KEY = "kwspot"
SAMPLES_KEY = "kwspot-samples"  # of files that begin with samples, for other languages
FORMAT = 1
SENSITIVITIES = ("low", "medium", "high")


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the false alarms an hour that were measured at it on validation streams."""

    threshold: float
    false_alarms_per_hour: float


@dataclass(frozen=True)
class Keyword:
    """One output of a model: its label, operating points by sensitivity, and typical length."""

    label: str
    operating_points: dict[str, OperatingPoint]
    seconds: float


@dataclass(frozen=True)
class State:
    """One state tensor: the graph input that takes it, the output that returns it, its shape."""

    input: str
    output: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Decision:
    """How posteriors become detections.

    `smoothing` counts outputs averaged; a keyword may fire again once its score has fallen below
    `release` times the threshold and `refractory` seconds have passed.
    """

    smoothing: int = 3
    release: float = 0.5
    refractory: float = 1.0


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from: licence, data, recipe, and the versions that made it."""

    licence: str
    data: str
    recipe: str
    versions: dict[str, str]


@dataclass(frozen=True)
class SelfTest:
    """What a model answers to features that every machine makes alike (`kwspot.selftest`).

    `fingerprint` tells those features, `posteriors` are the (U * K) of their last step, `states`
    the mean absolute value of what each state then stores. Each may be off by the share
    `tolerance`.
    """

    fingerprint: str
    posteriors: tuple[float, ...]
    states: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True)
class VoicePoint:
    """The likeness from which on a speaker embedding counts as an enrolled voice's.

    `false_accepts` and `false_rejects` are the shares of other people's words accepted, and of the
    own rejected, that were measured at it on `speakers` validation speakers.
    """

    threshold: float
    false_accepts: float
    false_rejects: float
    speakers: int


@dataclass(frozen=True)
class ModelInfo:
    """All that a model file says of itself. Letters: T frames, F mel bands, U outputs, K keywords.

    A step takes features (frames_per_step, F) and gives posteriors (outputs_per_step, K), and where
    `embedding` is not 0 a speaker embedding (outputs_per_step, embedding). With `voice` these tell
    enrolled voices apart (`kwspot enroll`); detection ignores them otherwise.
    An output depends on the `receptive_field` frames up to it and on none before.
    """

    format: int
    name: str
    keywords: tuple[Keyword, ...]
    frames_per_step: int
    outputs_per_step: int
    receptive_field: int
    states: tuple[State, ...]
    provenance: Provenance
    decision: Decision = field(default_factory=Decision)
    front_end: FrontEnd = field(default_factory=FrontEnd)
    embedding: int = 0
    voice: VoicePoint | None = None
    self_test: SelfTest | None = None

    @property
    def step_samples(self) -> int:
        """New samples that a step consumes."""
        return self.frames_per_step * self.front_end.hop

    @property
    def output_samples(self) -> int:
        """Samples between two outputs."""
        return self.step_samples // self.outputs_per_step


def dump_info(info: ModelInfo, indent: int | None = None) -> str:
    """Write model information as JSON, on one line without `indent`."""
    separators = (",", ":") if indent is None else None
    return json.dumps(
        dataclasses.asdict(info), indent=indent, separators=separators, sort_keys=True
    )


def parse_info(text: str, where: str) -> ModelInfo:
    """Read model information and check that it can be true; raise ModelError otherwise."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelError(f"{where}: its kwspot metadata is not JSON ({error})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise ModelError(
            f"{where} has metadata format {found!r}, this kwspot reads {FORMAT}: "
            "install the kwspot version that made it, or export it again"
        )
    info = read_record(ModelInfo, values, f"{where}, kwspot metadata", ModelError)
    _check(info, where)
    return info


def _check(info: ModelInfo, where: str) -> None:
    front_end = info.front_end
    if front_end.sample_rate != SAMPLE_RATE:
        raise ModelError(
            f"{where} expects {front_end.sample_rate} Hz, kwspot works at {SAMPLE_RATE} Hz"
        )
    if not 0 < front_end.hop <= front_end.window <= front_end.fft or front_end.mels < 1:
        raise ModelError(f"{where} describes an impossible front end: {front_end}")
    if not 0 <= front_end.low_hz < front_end.high_hz <= SAMPLE_RATE / 2:
        raise ModelError(f"{where} describes impossible mel bands: {front_end}")
    counts = (info.frames_per_step, info.outputs_per_step, info.receptive_field)
    if min(counts) < 1 or info.step_samples % info.outputs_per_step or info.decision.smoothing < 1:
        raise ModelError(f"{where} describes impossible steps: {counts}")
    if info.embedding < 0:
        raise ModelError(f"{where} describes an impossible embedding: {info.embedding}")
    if info.voice is not None and not (info.embedding and -1 < info.voice.threshold <= 1):
        raise ModelError(f"{where} describes impossible voices: {info.voice}")
    if not info.keywords:
        raise ModelError(
            f"{where} names no keyword: an encoder alone detects nothing, "
            "use a model that was trained for keywords"
        )
    for keyword in info.keywords:
        missing = [s for s in SENSITIVITIES if s not in keyword.operating_points]
        if missing:
            raise ModelError(f"{where} has no threshold for {keyword.label!r} at {missing[0]!r}")
