"""Teachers: nets that turn 16 kHz audio into hidden states for a student to imitate.

```
audio (B, N) -> Teacher -> layers: L + 1 tensors (B, T, D), codes: (B, T, Q) or None
```

| source | what it is | rate |
|---|---|---|
| folder or hub name, `model_type` wav2vec2, hubert, wavlm | self-supervised transformers | 50 Hz |
| folder or hub name, `model_type` whisper | the encoder of a *supervised* recogniser | 50 Hz |
| folder with `melspectrogram.onnx`, `embedding_model.onnx` | Google's speech_embedding | 12.5 Hz |
| any other `.onnx` file | one net, waveform -> (B, T, D), such as WakeHuBERT | measured |

Several teachers at once are a sequence of teachers, each with a target cache of its own.

Letters in shapes: B segments, N samples, T frames, D width of a layer, Q width of the codes,
L layers.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from kwspot.errors import KwspotError


class TeacherError(KwspotError, ValueError):
    """A teacher that cannot be loaded, or that cannot do what is asked of it."""


@dataclass(frozen=True)
class Hidden:
    """What a teacher makes of a batch of audio.

    `layers`: each (B, T, D) float32; 0 is what enters the first layer, then the output of each.
    A net of which only the end can be seen has one entry.
    `codes`: (B, T, Q), quantised vectors at the same rate, where the teacher has a quantiser.
    """

    layers: tuple[Tensor, ...]
    codes: Tensor | None


class Teacher(Protocol):
    """A frozen net. `widths` has one entry for each of `Hidden.layers`."""

    name: str  # last part of the folder or of the hub name, such as "whisper-tiny"
    fingerprint: str  # 16 hex digits of sha256 over weights and config
    rate_hz: float  # frames a second of the layers
    widths: tuple[int, ...]

    def __call__(self, audio: Tensor) -> Hidden:
        """Run over equally long waveforms (B, N), float32 in [-1, 1] at 16 kHz; no gradients."""


def open_teacher(
    source: str | Path, device: str | torch.device = "cpu", sha256: str | None = None
) -> Teacher:
    """Load the teacher that `source` names; see the table above.

    `sha256` is the fingerprint that is expected. Raises TeacherError for a teacher that is missing,
    unknown, damaged, made for another sample rate or of another fingerprint.
    """
    path = Path(source).expanduser()
    if path.suffix == ".onnx" or (path / "embedding_model.onnx").exists():
        from kwspot_export.teachers_onnx import open_onnx

        teacher: Teacher = open_onnx(path, device)
    else:
        try:
            from kwspot_export.teachers_hf import open_checkpoint
        except ImportError as error:
            raise TeacherError(
                f"{source} needs a package that is missing ({error.name}): pip install transformers"
            ) from error
        teacher = open_checkpoint(str(source), device)
    if sha256 is not None and teacher.fingerprint != sha256:
        raise TeacherError(
            f"{source} has the fingerprint {teacher.fingerprint}, expected was {sha256}: "
            "it is another version of that teacher"
        )
    return teacher


def fingerprint(files: Iterable[Path]) -> str:
    """Return 16 hex digits of sha256 over the names and contents of files."""
    total = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name} {content}\n".encode())
    return total.hexdigest()[:16]
