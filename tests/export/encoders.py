"""Tiny encoders with random weights, one of each kind that can be pruned."""

import torch
from torch import Tensor, nn
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

WAVEFORM = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.5,  # must never be felt
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
KINDS = ("whisper", "wav2vec2", "wav2vec2-large", "hubert", "wavlm", "wavlm-large")
LAYERS = 2


def tiny_encoder(kind: str) -> nn.Module:
    """Build an encoder, in evaluation mode, whose layers change what they get by much."""
    torch.manual_seed(3)
    large = LARGE if kind.endswith("-large") else {}
    match kind.removesuffix("-large"):
        case "whisper":
            config = WhisperConfig(
                d_model=24,
                encoder_layers=LAYERS,
                encoder_attention_heads=4,
                encoder_ffn_dim=40,
                num_mel_bins=8,
                max_source_positions=30,
            )
            encoder = WhisperEncoder(config)
        case "wav2vec2":
            encoder = Wav2Vec2Model(Wav2Vec2Config(**WAVEFORM, **large))
        case "hubert":
            encoder = HubertModel(HubertConfig(**WAVEFORM, **large))
        case "wavlm":
            encoder = WavLMModel(WavLMConfig(**WAVEFORM, **large))
    for name, parameter in encoder.named_parameters():
        if "layers." in name and parameter.ndim > 1 and "conv" not in name:
            parameter.data *= 8  # from 0.02 a weight
        if name.endswith(("proj.bias", "dense.bias")) or "fc" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return encoder.eval()


def tiny_inputs(kind: str, batch: int = 2, seed: int = 1) -> Tensor:
    """Inputs for it: log-mel (B, 8, 40) for Whisper, samples (B, 1200) for the others."""
    shape = (batch, 8, 40) if kind == "whisper" else (batch, 1200)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
