"""A model file for programs in other languages: samples in, posteriors out, one graph.

```
samples (1280,) + the 240 before -> frames (8, 400) -> DFT -> mel -> log -> streaming net
```

What a program still has to do is average `decision.smoothing` posteriors and compare with a
threshold; both are in the metadata `kwspot-samples`, which is otherwise as kwspot's own.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from kwspot.features import INT16_SCALE, FloatArray, FrontEnd, LogMel, mel_filters, povey_window
from kwspot.modelfile import SAMPLES_KEY, ModelInfo, dump_info
from kwspot_export.onnx_export import run_onnx, trace
from kwspot_export.parity import (
    PARITY_STEPS,
    Exportable,
    draft,
    largest_difference,
    require_equal,
    state_specs,
)
from kwspot_export.student import FRAMES_PER_STEP, Streaming, stream

# The runtime's front end finds spectra in another way, and logarithms near silence show it.
TOLERANCE = 1e-4


def export_from_samples(net: Exportable, info: ModelInfo, path: Path) -> float:
    """Export `net` with the front end before it; return the largest difference found.

    The graph takes `samples` (step_samples,) in [-1, 1] and states, zeros at first, and gives what
    other files give. Raises ParityError, and writes nothing, where an output is off by more than
    1e-4 from the runtime's front end and torch's streamed net in 120 steps.
    """
    net = net.cpu().eval()
    streaming = net.streaming()
    whole = StreamingFromSamples(streaming, info.front_end).eval()
    info = replace(info, states=state_specs(whole))
    samples = _wandering_noise(PARITY_STEPS * info.step_samples)
    model = trace(whole, info, "samples", torch.zeros(info.step_samples))
    onnx.helper.set_model_props(model, {SAMPLES_KEY: dump_info(info)})
    with draft(path) as file:
        onnx.save(model, file)
        with torch.no_grad():
            expected = [y.numpy() for y in stream(streaming, _features(samples, info))]
        found = run_onnx(file, info, samples, "samples")
        difference = largest_difference(found, expected)
        require_equal(difference, TOLERANCE, path, "its posteriors and the runtime's")
    return difference


def _features(samples: FloatArray, info: ModelInfo) -> Tensor:
    """Run the runtime's front end over whole steps of a stream, as the detector does."""
    lead, step = info.front_end.window - info.front_end.hop, info.step_samples
    led = np.concatenate([np.zeros(lead, np.float32), samples])
    log_mel = LogMel(info.front_end)
    blocks = (led[start : start + lead + step] for start in range(0, len(samples), step))
    return torch.from_numpy(np.concatenate([log_mel(block).copy() for block in blocks]))


def _wandering_noise(length: int) -> FloatArray:
    """Make noise between silence and full level, (length,), so that features cover their range."""
    rng = np.random.default_rng(0)
    turns = np.arange(0, length, 4000)
    level = 10 ** np.interp(np.arange(length), turns, rng.uniform(-5, -1, len(turns)))
    return (level * rng.standard_normal(length)).clip(-1, 1).astype(np.float32)


class StreamingFromSamples(nn.Module):
    """A streaming net led by the runtime's log-mel front end (`kwspot.features.LogMel`).

    `forward(samples (8 hops,), tail (window - hop,), *states) -> (*outputs, next tail, *next)`;
    samples are in [-1, 1]. A fresh tail is zeros, as the detector leads its first block.
    """

    def __init__(self, streaming: Streaming, front_end: FrontEnd) -> None:
        super().__init__()
        self.streaming, self.front_end = streaming, front_end
        window = povey_window(front_end.window) * np.float32(INT16_SCALE)
        filters = mel_filters(front_end) * np.float32(np.exp(-front_end.floor))
        self.register_buffer("window", torch.from_numpy(window))
        self.register_buffer("filters", torch.from_numpy(filters))

    def fresh_states(self) -> list[Tensor]:
        """Return the states of a stream that has heard nothing."""
        tail = torch.zeros(self.front_end.window - self.front_end.hop)
        return [tail, *self.streaming.fresh_states()]

    def forward(self, samples: Tensor, tail: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Run one step."""
        heard = torch.cat([tail, samples])
        results = self.streaming(self._log_mel(heard), *states)
        outputs, following = results[: -len(states)], results[-len(states) :]
        return (*outputs, heard[len(samples) :], *following)

    def _log_mel(self, heard: Tensor) -> Tensor:
        frames = self._frames(heard)
        frames = frames - frames.mean(dim=1, keepdim=True)
        previous = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
        frames = (frames - self.front_end.preemphasis * previous) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, self.front_end.fft))
        power = spectrum.square().sum(dim=2)
        return torch.matmul(power, self.filters).clamp_min(1.0).log()

    def _frames(self, heard: Tensor) -> Tensor:
        """Cut overlapping frames out of slices: a table of indices would double the file."""
        hop, window = self.front_end.hop, self.front_end.window
        heard = functional.pad(heard, (0, -window % hop))
        span = FRAMES_PER_STEP * hop
        parts = [heard[i : i + span].reshape(-1, hop) for i in range(0, window, hop)]
        return torch.cat(parts, dim=1)[:, :window]
