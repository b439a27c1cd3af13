"""What of a transformers encoder can be cut away, and the cutting.

```
site: producers --rows--> [units] --columns--> consumer
      conv, norm           channels             next conv
      q, k, v              heads                out_proj
      fc1                  FFN units            fc2
```

Units are cut as rows of the maps that produce them and as columns of the one map that reads them.
Whisper, wav2vec 2.0, HuBERT and WavLM encoders; the cut encoder is of the same class, is called the
same way, and gives hidden states of the same width and rate.

Left whole, beyond what the published code leaves: channels of the last stem convolution, and those
that a LayerNorm follows (stems of «large» models), whose statistics would change with the cut.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, HubertModel, Wav2Vec2Model, WavLMModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from kwspot.errors import KwspotError
from kwspot_export.teachers_whisper import whisper_layers

ENCODERS = {
    "whisper": WhisperEncoder,
    "wav2vec2": Wav2Vec2Model,
    "hubert": HubertModel,
    "wavlm": WavLMModel,
}
KEPT = "kwspot_pruned"  # key of config.json: site -> units of the original that are left

Kept = Mapping[str, list[int]]


class PruningError(KwspotError, ValueError):
    """An encoder that cannot be pruned, or a pruned one that cannot be read."""


@dataclass(frozen=True)
class Site:
    """Units of one kind in one place. Names are module paths inside the encoder."""

    name: str
    kind: str  # "channels", "heads" or "ffn"
    units: int
    width: int  # rows of a producer, and columns of the consumer, that make a unit
    producers: tuple[str, ...]
    consumer: str


def prunable_copy(encoder: nn.Module) -> nn.Module:
    """Copy an encoder for cutting; it computes what the original does, without dropout.

    Raises:
        PruningError: The encoder is none of the four kinds.

    """
    if not isinstance(encoder, tuple(ENCODERS.values())):
        known = ", ".join(cls.__name__ for cls in ENCODERS.values())
        raise PruningError(f"cannot prune a {type(encoder).__name__}: give one of {known}")
    encoder = copy.deepcopy(encoder).eval().requires_grad_(True)
    if isinstance(encoder, WhisperEncoder):
        encoder.embed_positions.requires_grad_(False)  # sinusoids, never trained
    if isinstance(encoder, WavLMModel):
        for layer in encoder.encoder.layers:
            layer.attention = HeadwiseAttention.of(layer.attention)
    return encoder


def sites(encoder: nn.Module) -> tuple[Site, ...]:
    """All that can be cut of an uncut encoder, in the order of the data."""
    if isinstance(encoder, WhisperEncoder):
        stem = [("conv1", ("conv1",), "conv2")]
        prefix, attention, feed_forward = "layers", "self_attn", ("fc1", "fc2")
        layers = encoder.layers
    else:
        path = "feature_extractor.conv_layers"
        convs = encoder.feature_extractor.conv_layers
        stem = []
        for i, conv in enumerate(convs[:-1]):
            norm = getattr(conv, "layer_norm", None)
            if isinstance(norm, nn.LayerNorm):
                continue
            producers = (f"{path}.{i}.conv", *([f"{path}.{i}.layer_norm"] if norm else []))
            stem.append((f"{path}.{i}", producers, f"{path}.{i + 1}.conv"))
        prefix, attention = "encoder.layers", "attention"
        feed_forward = ("feed_forward.intermediate_dense", "feed_forward.output_dense")
        layers = encoder.encoder.layers
    found = [
        Site(name, "channels", encoder.get_submodule(reads).in_channels, 1, producers, reads)
        for name, producers, reads in stem
    ]
    for i, layer in enumerate(layers):
        name = f"{prefix}.{i}.{attention}"
        heads = layer.get_submodule(attention)
        projections = tuple(f"{name}.{letter}_proj" for letter in "qkv")
        found.append(
            Site(name, "heads", heads.num_heads, heads.head_dim, projections, f"{name}.out_proj")
        )
        first, second = (f"{prefix}.{i}.{part}" for part in feed_forward)
        units = encoder.get_submodule(second).in_features
        found.append(Site(first, "ffn", units, 1, (first,), second))
    return tuple(found)


def fold(encoder: nn.Module, site: Site, factors: Tensor) -> None:
    """Multiply the columns that read the units of a site by their `factors` (units,), in place."""
    consumer = encoder.get_submodule(site.consumer)
    columns = factors.detach().repeat_interleave(site.width)
    with torch.no_grad():
        consumer.weight.mul_(columns[:, None] if consumer.weight.ndim == 3 else columns)


def remove(encoder: nn.Module, kept: Kept) -> nn.Module:
    """Cut a prunable copy, in place, down to the `kept` units of each site; return it.

    A layer without heads or FFN units adds what is left of them, a bias, to its residual.

    Raises:
        PruningError: `kept` does not name the sites of this encoder and units that they have.

    """
    places = sites(encoder)
    if {site.name for site in places} != set(kept):
        raise PruningError(f"the kept units are not those of a {type(encoder).__name__} like this")
    for site in places:
        units = kept[site.name]
        if list(units) != sorted(set(units) & set(range(site.units))):
            raise PruningError(
                f"the kept units of {site.name} must be ascending and below {site.units}"
            )
        _cut(encoder, site, list(units))
    setattr(encoder.config, KEPT, {name: list(units) for name, units in kept.items()})
    return encoder


def parameters(encoder: nn.Module) -> int:
    """Count all parameters of an encoder, fixed position tables included."""
    return sum(parameter.numel() for parameter in encoder.parameters())


def hidden_states(encoder: nn.Module, inputs: Tensor) -> tuple[Tensor, ...]:
    """Run an encoder: what layer 1 gets, then what layers 1 to L give, each (B, T, D).

    `inputs` are log-mel frames (B, 80, T) of any length for Whisper, samples (B, N) for the others.
    The last is the output of the encoder: Whisper's goes through its final norm.
    """
    if not isinstance(encoder, WhisperEncoder):
        return encoder(inputs, output_hidden_states=True).hidden_states
    return whisper_layers(encoder, inputs)  # its own forward insists on 30 seconds


def save_pruned(encoder: nn.Module, folder: Path) -> None:
    """Write an encoder that `remove` has cut: config.json (with the kept units), model.safetensors.

    Raises:
        PruningError: The encoder has not been cut.

    """
    config = encoder.config.to_dict()
    if KEPT not in config:
        raise PruningError(f"this {type(encoder).__name__} is not pruned: use save_pretrained")
    config["architectures"] = [type(encoder).__name__]
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    weights = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def load_pruned(folder: Path) -> nn.Module:
    """Read what `save_pruned` wrote: an encoder to be called as the original, in evaluation mode.

    Raises:
        PruningError: The folder holds no pruned encoder of a known kind, or its parts do not fit.

    """
    path = folder / "config.json"
    if not path.exists():
        raise PruningError(f"{folder} has no config.json: give a folder of save_pruned")
    config = json.loads(path.read_text(encoding="utf-8"))
    kept, kind = config.pop(KEPT, None), config.get("model_type")
    if kept is None or kind not in ENCODERS:
        raise PruningError(f"{path} is not of a pruned encoder: load it with from_pretrained")
    encoder = ENCODERS[kind](AutoConfig.for_model(**config))
    encoder = remove(prunable_copy(encoder), kept)
    try:
        encoder.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError) as error:
        raise PruningError(
            f"{folder}/model.safetensors does not fit its config.json: save the encoder again"
        ) from error
    return encoder


class HeadwiseAttention(WavLMAttention):
    """WavLM's attention with any subset of its heads.

    Every head keeps its relative position bias, which layer 1 computes for the heads of all layers,
    and its gate of that bias, which reads the head's own share of the layer's *input*. So the table
    of biases and the gate constants stay whole, and `heads` says which of them are used.
    """

    heads: Tensor  # (kept heads,), indices among the original ones

    @classmethod
    def of(cls, attention: WavLMAttention) -> "HeadwiseAttention":
        """Take over the weights of an uncut attention."""
        new = cls(
            attention.embed_dim,
            attention.num_heads,
            attention.dropout,
            attention.num_buckets,
            attention.max_distance,
            hasattr(attention, "rel_attn_embed"),
        )
        new.load_state_dict(attention.state_dict(), strict=True)
        new.register_buffer("heads", torch.arange(attention.num_heads), persistent=False)
        return new.to(attention.q_proj.weight.device).train(attention.training)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        index: int = 0,
        **_: object,
    ) -> tuple[Tensor, None, Tensor]:
        """Attend: (B, T, D), bias (original heads, T, T) -> (B, T, D), None, the bias."""
        batch, frames, width = hidden_states.shape
        if position_bias is None:
            position_bias = self.compute_bias(frames, frames)
        shares = hidden_states.view(batch, frames, width // self.head_dim, self.head_dim)
        shares = shares[:, :, self.heads].transpose(1, 2)  # (B, kept heads, T, head_dim)
        gates = self.gru_rel_pos_linear(shares).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        first, second = gates.split(1, dim=-1)
        gate = first * (second * self.gru_rel_pos_const[:, self.heads] - 1) + 2
        bias = gate * position_bias[self.heads]  # (B, kept heads, T, T)
        if attention_mask is not None:
            bias = bias.masked_fill(attention_mask.ne(1)[:, None, None], -torch.inf)
        query, key, value = (
            project(hidden_states).unflatten(-1, (len(self.heads), self.head_dim)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.dropout if self.training else 0.0
        context = functional.scaled_dot_product_attention(query, key, value, bias, dropout)
        return self.out_proj(context.transpose(1, 2).flatten(2)), None, position_bias


class HeadlessAttention(nn.Module):
    """What is left of Whisper's, wav2vec 2.0's or HuBERT's attention without heads: a bias."""

    def __init__(self, out_proj: nn.Linear) -> None:
        super().__init__()
        self.out_proj = out_proj

    def forward(self, hidden_states: Tensor, **_: object) -> tuple[Tensor, None]:
        """Give the bias to every frame: (B, T, D) -> (B, T, D), None."""
        return self.out_proj(hidden_states[..., :0]), None


def _cut(encoder: nn.Module, site: Site, units: list[int]) -> None:
    index = torch.tensor(units, dtype=torch.long)
    rows = (index[:, None] * site.width + torch.arange(site.width)).flatten()
    for name in site.producers:
        module = encoder.get_submodule(name)
        _take(module, "weight", 0, rows)
        _take(module, "bias", 0, rows)
        _count(module, "out", len(rows))
    consumer = encoder.get_submodule(site.consumer)
    _take(consumer, "weight", 1, rows)
    _count(consumer, "in", len(rows))
    if site.kind == "heads":
        attention = encoder.get_submodule(site.name)
        attention.num_heads = len(units)
        if isinstance(attention, HeadwiseAttention):
            attention.heads = attention.heads[index.to(attention.heads.device)]
        elif not units:
            parent, _, name = site.name.rpartition(".")
            setattr(encoder.get_submodule(parent), name, HeadlessAttention(consumer))


def _take(module: nn.Module, name: str, axis: int, index: Tensor) -> None:
    old = getattr(module, name)
    if old is not None:
        new = old.detach().index_select(axis, index.to(old.device)).clone()
        setattr(module, name, nn.Parameter(new, requires_grad=old.requires_grad))


def _count(module: nn.Module, end: str, count: int) -> None:
    """Make a module's own idea of its sizes agree with its weights."""
    if isinstance(module, nn.GroupNorm):  # a channel a group
        module.num_groups = module.num_channels = count
    elif isinstance(module, nn.Conv1d):
        setattr(module, f"{end}_channels", count)
    else:
        setattr(module, f"{end}_features", count)
