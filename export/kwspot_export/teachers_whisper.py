"""The encoder of Whisper as a teacher, on segments as short as they are.

Radford et al. 2022, arXiv 2212.04356. Whisper is supervised: it was trained on transcribed speech.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperFeatureExtractor

from kwspot.features import SAMPLE_RATE
from kwspot_export.teachers import Hidden, TeacherError

FFT = 400  # 25 ms at 16 kHz
HOP = 160  # 10 ms; the second convolution halves the rate to 50 Hz


class WhisperTeacher:
    """The encoder of a Whisper model, whole or pruned, at 50 Hz; frozen.

    Whisper was trained on 30 s, padded with silence. Here it hears a segment and nothing else: the
    mel frames of the segment and as many position embeddings as these need, which costs 1/19 of it
    for 1.6 s. Hidden states differ from those of the padded segment.

    `layers[0]` is convolution features plus position embedding; the last entry has gone through the
    encoder's final layer norm, the others have not, as in the hidden states of transformers.
    """

    rate_hz = SAMPLE_RATE / (2 * HOP)

    def __init__(self, model: nn.Module, name: str, fingerprint: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.fingerprint = fingerprint
        self.log_mel = WhisperLogMel(model.conv1.in_channels).to(model.conv1.weight.device)
        self.widths = (model.layer_norm.weight.numel(),) * (len(model.layers) + 1)

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> Hidden:
        """Run over (B, N), at most 30 s; see `Teacher`."""
        positions = self.model.embed_positions.num_embeddings
        if audio.shape[1] > 2 * HOP * positions:
            raise TeacherError(
                f"{self.name} cannot hear {audio.shape[1] / SAMPLE_RATE:g} s at once: "
                f"it has positions for {positions / self.rate_hz:g} s"
            )
        return Hidden(whisper_layers(self.model, self.inputs(audio)), None)

    def inputs(self, audio: Tensor) -> Tensor:
        """Return what the model takes for audio (B, N): log-mel (B, F, N / 160)."""
        return self.log_mel(audio.to(self.model.conv1.weight.device))


class WhisperLogMel(nn.Module):
    """Waveforms (B, N) in [-1, 1] -> (B, F, N / 160), equal to `WhisperFeatureExtractor` unpadded.

    Each segment is clipped at 8 (80 dB) below its own maximum.
    """

    def __init__(self, mels: int = 80) -> None:
        super().__init__()
        filters = WhisperFeatureExtractor(feature_size=mels).mel_filters
        self.register_buffer("filters", torch.from_numpy(filters.T.copy()).float())
        self.register_buffer("window", torch.hann_window(FFT))

    def forward(self, audio: Tensor) -> Tensor:
        """Compute log10 mel energies, scaled to about -1 to 1."""
        audio = audio.to(self.window.device)
        spectrum = torch.stft(audio, FFT, HOP, window=self.window, return_complex=True)
        power = torch.view_as_real(spectrum[..., :-1]).square().sum(dim=-1)
        log_mel = torch.matmul(self.filters, power).clamp_min(1e-10).log10()
        loudest = log_mel.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(log_mel, loudest - 8.0) + 4.0) / 4.0


def whisper_layers(encoder: nn.Module, mel: Tensor) -> tuple[Tensor, ...]:
    """Run a Whisper encoder, whole or pruned, over (B, F, 2 T) for T up to its positions.

    Returns L + 1 tensors (B, T, D), as `WhisperTeacher` describes them; gradients flow. The encoder
    itself would refuse anything but 30 s.
    """
    x = functional.gelu(encoder.conv1(mel))
    x = functional.gelu(encoder.conv2(x)).transpose(1, 2)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    layers = [x]
    for layer in encoder.layers:
        x = layer(x, None)
        layers.append(x)
    return (*layers[:-1], encoder.layer_norm(x))
