"""Teachers from transformers: wav2vec 2.0, HuBERT, WavLM and the encoder of Whisper.

The first three are self-supervised. Whisper is not: its encoder was trained on transcripts.

Weights come from a local folder as `save_pretrained` leaves it, or from the hub by name.
"""

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    HubertModel,
    PreTrainedModel,
    Wav2Vec2ForPreTraining,
    WavLMModel,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import logging

from kwspot.features import SAMPLE_RATE
from kwspot_export.prunable import KEPT, load_pruned
from kwspot_export.teachers import Hidden, TeacherError, fingerprint
from kwspot_export.teachers_whisper import WhisperTeacher

# What torch.load, safetensors and transformers raise for weights that do not fit or are damaged.
_DAMAGE = (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError)
# Of no use without masking, and left out by some checkpoints.
_SPARE = ("masked_spec_embed",)
_QUANTISER = ("quantizer.", "project_q.", "project_hid.")


def open_checkpoint(
    source: str, device: str | torch.device = "cpu"
) -> "WaveTeacher | WhisperTeacher":
    """Load a teacher from a folder or, where there is none, from the hub.

    Raises TeacherError where `source` is neither, or no checkpoint that can be used.
    """
    folder = _folder(source)
    name = Path(source).expanduser().resolve().name
    config = _read_json(folder / "config.json", source)
    if config is None:
        raise TeacherError(
            f"{source} has no config.json: a teacher is a folder that transformers saved"
        )
    kind = config.get("model_type")
    if kind not in _LOADERS:
        raise TeacherError(f"{source} is of model_type {kind!r}, known are {', '.join(_LOADERS)}")
    preprocessor = _read_json(folder / "preprocessor_config.json", source) or {}
    rate = preprocessor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise TeacherError(
            f"{source} was made for audio at {rate} Hz, only {SAMPLE_RATE} Hz will do"
        )
    mark = fingerprint(_identity(folder))
    if KEPT in config:
        encoder = load_pruned(folder).to(device)
        if kind == "whisper":
            return WhisperTeacher(encoder, name, mark)
        return WaveTeacher(encoder, name, mark, preprocessor.get("do_normalize", True))
    return _LOADERS[kind](_Checkpoint(source, folder, name, mark, config, preprocessor), device)


class WaveTeacher:
    """wav2vec 2.0, HuBERT or WavLM: waveform -> convolutions -> transformer layers, at 50 Hz.

    `layers[0]` is what enters the first transformer layer: projected convolution features with
    their position embedding. No norm follows the last entry: where layers are pre-norm (the large
    models), it is the sum before the final one, as transformers has it. The convolutions do not
    pad, so the last frame or two of what `rate_hz` promises are missing: 79 for 1.6 s.

    `codes` are a pretrained wav2vec 2.0's codevectors, its groups joined, before `project_q`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        name: str,
        fingerprint: str,
        normalise: bool = True,
        quantiser: nn.Module | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.fingerprint = fingerprint
        self.normalise = normalise
        self.quantiser = None if quantiser is None else quantiser.eval().requires_grad_(False)
        config = model.config
        hop = 1
        for stride in config.conv_stride:
            hop *= stride
        self.rate_hz = SAMPLE_RATE / hop
        self.widths = (config.hidden_size,) * (config.num_hidden_layers + 1)

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> Hidden:
        """Run over (B, N); see `Teacher`."""
        output = self.model(self.inputs(audio), output_hidden_states=True)
        codes = None
        if self.quantiser is not None:
            codes, _ = self.quantiser(output.extract_features)
        return Hidden(tuple(output.hidden_states), codes)

    def inputs(self, audio: Tensor) -> Tensor:
        """Return what the model takes for audio (B, N): of unit variance, where it is asked for."""
        audio = audio.to(self.model.device)
        return unit_variance(audio) if self.normalise else audio


def unit_variance(audio: Tensor) -> Tensor:
    """Bring each waveform (B, N) to mean 0 and variance 1, as `Wav2Vec2FeatureExtractor` does."""
    centred = audio - audio.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-7).sqrt()


@dataclass(frozen=True)
class _Checkpoint:
    """A folder with weights, and what its files say."""

    source: str
    folder: Path
    name: str
    fingerprint: str
    config: dict[str, Any]
    preprocessor: dict[str, Any]

    def load(self, kind: type[PreTrainedModel]) -> tuple[PreTrainedModel, set[str]]:
        """Load weights as float32; also return the names of those that the folder lacks."""
        try:
            with _quiet():
                model, report = kind.from_pretrained(
                    self.folder, dtype=torch.float32, output_loading_info=True
                )
        except _DAMAGE as error:
            reason = " ".join(str(error).split())
            raise TeacherError(f"the weights of {self.source} cannot be used: {reason}") from error
        missing = {name for name in report["missing_keys"] if not name.endswith(_SPARE)}
        return model, missing

    def refuse_missing(self, missing: set[str]) -> None:
        """Raise TeacherError if weights are missing; transformers would make random ones up."""
        if missing:
            raise TeacherError(
                f"{self.source} lacks {len(missing)} weights of a {self.config['model_type']} "
                f"model, such as {min(missing)}"
            )


def _open_wav2vec2(checkpoint: _Checkpoint, device: str | torch.device) -> WaveTeacher:
    whole, missing = checkpoint.load(Wav2Vec2ForPreTraining)
    # Checkpoints fine-tuned for recognition have lost the quantiser.
    lost = {name for name in missing if name.startswith(_QUANTISER)}
    checkpoint.refuse_missing(missing - lost)
    whole.to(device)
    return _wave_teacher(checkpoint, whole.wav2vec2, None if lost else whole.quantizer)


def _open_hubert(checkpoint: _Checkpoint, device: str | torch.device) -> WaveTeacher:
    model, missing = checkpoint.load(HubertModel)
    checkpoint.refuse_missing(missing)
    return _wave_teacher(checkpoint, model.to(device))


def _open_wavlm(checkpoint: _Checkpoint, device: str | torch.device) -> WaveTeacher:
    model, missing = checkpoint.load(WavLMModel)
    checkpoint.refuse_missing(missing)
    return _wave_teacher(checkpoint, model.to(device))


def _wave_teacher(
    checkpoint: _Checkpoint, model: PreTrainedModel, quantiser: nn.Module | None = None
) -> WaveTeacher:
    normalise = checkpoint.preprocessor.get("do_normalize", True)
    return WaveTeacher(model, checkpoint.name, checkpoint.fingerprint, normalise, quantiser)


def _open_whisper(checkpoint: _Checkpoint, device: str | torch.device) -> WhisperTeacher:
    alone = "WhisperEncoder" in (checkpoint.config.get("architectures") or ())
    model, missing = checkpoint.load(WhisperEncoder if alone else WhisperModel)
    checkpoint.refuse_missing(missing)
    encoder = model if alone else model.encoder
    return WhisperTeacher(encoder.to(device), checkpoint.name, checkpoint.fingerprint)


_LOADERS: dict[str, Callable[[_Checkpoint, str | torch.device], WaveTeacher | WhisperTeacher]] = {
    "wav2vec2": _open_wav2vec2,
    "hubert": _open_hubert,
    "wavlm": _open_wavlm,
    "whisper": _open_whisper,
}


def _folder(source: str) -> Path:
    """Return a local folder, or download the files of a hub name."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    try:
        found = Path(snapshot_download(source, allow_patterns=["*config.json", "*.safetensors*"]))
        if not _weights(found):
            snapshot_download(source, allow_patterns=["pytorch_model*"])
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise TeacherError(
            f"{source} is neither a folder here nor a model that the hub would give"
        ) from error
    return found


def _weights(folder: Path) -> list[Path]:
    return list(folder.glob("*.safetensors")) or list(folder.glob("pytorch_model*.bin"))


def _identity(folder: Path) -> list[Path]:
    """List the files that decide what a teacher computes."""
    configs = [folder / name for name in ("config.json", "preprocessor_config.json")]
    return [path for path in configs if path.exists()] + _weights(folder)


def _read_json(path: Path, source: str) -> dict[str, Any] | None:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TeacherError(f"{path.name} of {source} is not JSON: {error}") from error
    if not isinstance(table, dict):
        raise TeacherError(f"{path.name} of {source} is not a table of settings")
    return table


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the progress bar and the list of weights that a teacher has no use for."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
