"""The net that hears candidates again, out of a Whisper encoder: its first layers, in one file.

```
power (T, 201) -> mel -> log, less its loudest -> convolutions -> L layers -> mean of two -> norm
```

Radford et al. 2022, arXiv 2212.04356. Weights have eight bits, activations 32. Of two, three and
four layers of Whisper tiny three told «alexa» apart best (`benchmarks/results/training.md`).
"""

import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxslim
import torch
from torch import Tensor, nn
from torch.nn import functional

from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.modelfile import Provenance
from kwspot.net_file import FORMAT, dump_net
from kwspot.verifier_net import (
    HOP,
    NET_KEY,
    WINDOW,
    VerifierNet,
    VerifierNetInfo,
    probe_samples,
)
from kwspot_export.parity import ParityError, draft
from kwspot_export.publish import versions
from kwspot_export.quantise import quiet, shorten_names
from kwspot_export.rounding import round_weights
from kwspot_export.teachers import TeacherError, open_teacher
from kwspot_export.teachers_whisper import FFT, WhisperTeacher, whisper_layers
from kwspot_export.teachers_whisper import HOP as TAUGHT_HOP

LAYERS = 3
FRAMES = 200  # 2 s
POOLED = 2  # hidden states a mean is taken of: 25 a second are left
LEAST_COSINE = 0.98  # of hidden states with rounded weights to those without


class FirstLayers(nn.Module):
    """Power spectra (T, 201) -> hidden states (T / 4, D), each of mean 0 and variance 1."""

    def __init__(self, teacher: WhisperTeacher, layers: int) -> None:
        super().__init__()
        self.encoder = teacher.model
        self.encoder.layers = self.encoder.layers[:layers]
        self.encoder.layer_norm = nn.Identity()  # Whisper's comes after its last layer alone
        self.register_buffer("filters", teacher.log_mel.filters)

    def forward(self, power: Tensor) -> Tensor:
        """Run over one window."""
        log_mel = torch.matmul(self.filters, power.T).clamp_min(1e-10).log10()
        log_mel = (torch.maximum(log_mel, log_mel.amax(dim=(0, 1)) - 8.0) + 4.0) / 4.0
        hidden = whisper_layers(self.encoder, log_mel[None])[-1][0]
        width = hidden.shape[1]
        pooled = hidden.reshape(-1, POOLED, width).mean(dim=1)
        return functional.layer_norm(pooled, (width,))


def publish_verifier_net(source: str, path: Path, layers: int = LAYERS) -> VerifierNetInfo:
    """Write the first layers of a Whisper teacher to `path`, and their card beside it (.md).

    Raises TeacherError for a teacher that is no Whisper or too small, and ParityError, leaving
    nothing, where the file does not say what the teacher does.
    """
    teacher = open_teacher(source)
    if not isinstance(teacher, WhisperTeacher) or (FFT, TAUGHT_HOP) != (WINDOW, HOP):
        raise TeacherError(f"{source} is no Whisper encoder")
    if not 1 <= layers <= len(teacher.model.layers):
        raise TeacherError(f"{source} has {len(teacher.model.layers)} layers, not {layers}")
    net = FirstLayers(teacher, layers).eval()
    power = torch.zeros(FRAMES, WINDOW // 2 + 1)
    with torch.no_grad():
        outputs, width = net(power).shape
    info = VerifierNetInfo(
        format=FORMAT,
        name=path.stem,
        frames=FRAMES,
        outputs=outputs,
        width=width,
        provenance=Provenance("MIT", teacher.name, f"{layers} layers, weights int8", versions()),
    )
    model = _graph(net, power)
    with draft(path) as file:
        _describe(model, info, file)
        exact = VerifierNet(file)
        windows = _proofs(info.samples)
        expected = [exact(window) for window in windows]
        with torch.no_grad():
            taught = [net(_power(window)).numpy() for window in windows]
        difference = max(float(np.abs(a - b).max()) for a, b in zip(expected, taught, strict=True))
        round_weights(model)
        shorten_names(model.graph)
        _describe(model, info, file)
        rounded = VerifierNet(file)
        least = min(
            float((rounded(window) * e).mean(axis=1).min())
            for window, e in zip(windows, expected, strict=True)
        )
        if difference > 1e-2 or least < LEAST_COSINE:
            raise ParityError(
                f"{path} was not written: hidden states differ from torch's by {difference:.2g}, "
                f"and with rounded weights have cosines down to {least:.4f}"
            )
        answer = tuple(float(f"{value:.6g}") for value in rounded.answer())
        info = replace(info, self_test=answer)
        _describe(model, info, file)
    size = sum(p.numel() for p in net.parameters())
    path.with_suffix(".md").write_text(_card(info, layers, size, least), encoding="utf-8")
    return info


def _graph(net: nn.Module, power: Tensor) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (power,),
            buffer,
            input_names=["power"],
            output_names=["hidden"],
            opset_version=17,
            dynamo=False,
        )
    slim: onnx.ModelProto = onnxslim.slim(onnx.load_from_string(buffer.getvalue()))
    return slim


def _power(samples: FloatArray) -> Tensor:
    frames = torch.from_numpy(samples).unfold(0, WINDOW, HOP)
    spectrum = torch.fft.rfft(frames * torch.hann_window(WINDOW))
    return spectrum.abs().square()


def _proofs(count: int) -> list[FloatArray]:
    """Make windows to compare on: the self-test's, and noises of falling loudness."""
    rng = np.random.default_rng(0)
    probe = probe_samples(count)
    noises = [rng.standard_normal(count, np.float32) * np.float32(10**-n) for n in range(1, 5)]
    return [probe, *noises, *(probe + noise for noise in noises)]


def _describe(model: onnx.ModelProto, info: VerifierNetInfo, file: Path) -> None:
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {NET_KEY: dump_net(info)})
    onnx.save(model, file)


def _card(info: VerifierNetInfo, layers: int, size: int, least: float) -> str:
    return f"""# {info.name}

Hears the last {info.samples / SAMPLE_RATE:.1f} s again where a model may have heard its keyword, \
and tells the heads of
[verifiers](../docs/verifiers.md) what was said. Licence of the weights: {info.provenance.licence}.

The first {layers} layers of the encoder of Whisper {info.provenance.data} by OpenAI (MIT), \
{size:,} parameters, as they
are but for their eight bits: hidden states have cosines of {least:.3f} or more to those before \
rounding.
Made by `kwspot verifier-net --teacher DIR`.

Whisper learnt from 680,000 hours of transcribed speech (Radford et al. 2022, arXiv 2212.04356);
its English models from the English part. Nothing was trained for this file.
"""
