import json
from pathlib import Path

import pytest
import torch
from encoders import KINDS, LAYERS, tiny_encoder, tiny_inputs
from kwspot_export.prunable import (
    KEPT,
    PruningError,
    fold,
    hidden_states,
    load_pruned,
    parameters,
    prunable_copy,
    remove,
    save_pruned,
    sites,
)
from torch import Tensor, nn
from toy import assert_one_sentence

# Sums of a few dozen float32 terms of size 1 in another order.
TOLERANCE = 1e-5

every_kind = pytest.mark.parametrize("kind", KINDS)


def assert_close(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> None:
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=TOLERANCE)


def some(encoder: nn.Module) -> dict[str, list[int]]:
    """Two units of three, others in every site."""
    return {
        site.name: [unit for unit in range(site.units) if (unit + i) % 3]
        for i, site in enumerate(sites(encoder))
    }


def none(encoder: nn.Module) -> dict[str, list[int]]:
    """No head and no FFN unit; a convolution needs a channel."""
    return {site.name: [0] if site.kind == "channels" else [] for site in sites(encoder)}


@every_kind
@torch.no_grad()
def test_a_copy_computes_what_the_original_does(kind: str) -> None:
    encoder, inputs = tiny_encoder(kind), tiny_inputs(kind)
    expected = hidden_states(encoder, inputs)
    assert len(expected) == LAYERS + 1
    assert_close(hidden_states(prunable_copy(encoder.train()), inputs), expected)


@torch.no_grad()
def test_hidden_states_of_whisper_are_those_of_its_own_forward() -> None:
    encoder, inputs = tiny_encoder("whisper"), torch.randn(2, 8, 60)  # as long as it insists on
    assert_close(
        hidden_states(encoder, inputs), encoder(inputs, output_hidden_states=True).hidden_states
    )


# The original hands its own masks of two types to torch, which warns.
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@torch.no_grad()
def test_wavlm_ignores_padding_as_the_original_does() -> None:
    encoder, inputs = tiny_encoder("wavlm"), tiny_inputs("wavlm")
    mask = torch.ones_like(inputs, dtype=torch.long)
    mask[1, 700:] = 0
    expected = encoder(inputs, attention_mask=mask).last_hidden_state
    copied = prunable_copy(encoder)(inputs, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(copied, expected, atol=TOLERANCE, rtol=TOLERANCE)
    assert (copied - encoder(inputs).last_hidden_state).abs().max() > 100 * TOLERANCE


@every_kind
@torch.no_grad()
def test_an_encoder_without_units_equals_one_whose_units_are_multiplied_by_zero(kind: str) -> None:
    encoder, inputs = tiny_encoder(kind), tiny_inputs(kind)
    kept, zeroed = some(encoder), prunable_copy(encoder)
    for site in sites(zeroed):
        factors = torch.zeros(site.units)
        factors[kept[site.name]] = 0.7
        fold(zeroed, site, factors)
    expected = hidden_states(zeroed, inputs)
    assert (expected[-1] - hidden_states(encoder, inputs)[-1]).abs().max() > 100 * TOLERANCE
    assert_close(hidden_states(remove(zeroed, kept), inputs), expected)


@every_kind
def test_matrices_really_are_smaller(kind: str) -> None:
    encoder = tiny_encoder(kind)
    kept = some(encoder)
    pruned = remove(prunable_copy(encoder), kept)
    for site in sites(encoder):
        left = len(kept[site.name]) * site.width
        assert left < site.units * site.width
        for name in site.producers:
            assert len(pruned.get_submodule(name).weight) == left
        assert pruned.get_submodule(site.consumer).weight.shape[1] == left
    assert parameters(pruned) < 0.8 * parameters(encoder)
    products: list[tuple[int, ...]] = []
    for module in pruned.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, x, y: products.append(tuple(y.shape)))
    hidden_states(pruned, tiny_inputs(kind))
    ffn = [len(kept[site.name]) for site in sites(encoder) if site.kind == "ffn"]
    assert [shape[-1] for shape in products if shape[-1] in ffn] == ffn


@every_kind
def test_an_encoder_without_any_heads_and_ffn_units_still_runs_and_learns(kind: str) -> None:
    encoder, inputs = tiny_encoder(kind), tiny_inputs(kind)
    pruned = remove(prunable_copy(encoder), none(encoder))
    states = hidden_states(pruned, inputs)
    assert [s.shape for s in states] == [s.shape for s in hidden_states(encoder, inputs)]
    assert parameters(pruned) < parameters(encoder) / 2
    states[-1].square().sum().backward()
    stem = "conv1" if kind == "whisper" else "feature_extractor.conv_layers.0.conv"
    assert pruned.get_submodule(stem).weight.grad.any()


@torch.no_grad()
def test_a_wavlm_without_heads_in_layer_one_still_biases_the_others_by_position() -> None:
    encoder, inputs = tiny_encoder("wavlm"), tiny_inputs("wavlm")
    kept = {site.name: list(range(site.units)) for site in sites(encoder)}
    kept["encoder.layers.0.attention"] = []
    kept["encoder.layers.1.attention"] = [1, 3]
    pruned = remove(prunable_copy(encoder), kept)
    before = hidden_states(pruned, inputs)[-1]
    table = pruned.encoder.layers[0].attention.rel_attn_embed.weight
    table[:, [0, 2]] += torch.randn(len(table), 2)
    assert torch.equal(hidden_states(pruned, inputs)[-1], before)  # heads that are gone
    table[:, [1, 3]] += torch.randn(len(table), 2)
    assert (hidden_states(pruned, inputs)[-1] - before).abs().max() > 100 * TOLERANCE


@every_kind
@pytest.mark.parametrize("choose", [some, none])
@torch.no_grad()
def test_a_pruned_encoder_comes_back_from_its_folder(kind: str, choose, tmp_path: Path) -> None:
    encoder, inputs = tiny_encoder(kind), tiny_inputs(kind)
    kept = choose(encoder)
    pruned = remove(prunable_copy(encoder), kept)
    save_pruned(pruned, tmp_path)
    loaded = load_pruned(tmp_path)
    assert type(loaded) is type(encoder) and not loaded.training
    assert all(map(torch.equal, hidden_states(loaded, inputs), hidden_states(pruned, inputs)))
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config[KEPT] == kept
    save_pruned(loaded, tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_original_is_left_as_it_was() -> None:
    encoder = tiny_encoder("wavlm").requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    remove(prunable_copy(encoder), some(encoder))
    after = encoder.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert not hasattr(encoder.config, KEPT)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_channels_under_a_layer_norm_stay() -> None:
    assert not [s for s in sites(tiny_encoder("wav2vec2-large")) if s.kind == "channels"]
    channels = [s for s in sites(tiny_encoder("wav2vec2")) if s.kind == "channels"]
    assert [len(site.producers) for site in channels] == [2, 1]  # the first with its group norm


def test_an_encoder_of_another_kind_is_refused() -> None:
    with pytest.raises(PruningError, match="cannot prune a Linear") as caught:
        prunable_copy(nn.Linear(2, 2))
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("units", [[3, 1], [1, 1], [4]])
def test_units_that_are_not_there_are_refused(units: list[int]) -> None:
    encoder = tiny_encoder("whisper")
    kept = some(encoder) | {"layers.1.self_attn": units}
    with pytest.raises(PruningError, match="ascending and below 4") as caught:
        remove(prunable_copy(encoder), kept)
    assert_one_sentence(caught.value)


def test_sites_of_another_encoder_are_refused() -> None:
    with pytest.raises(PruningError, match="not those of a HubertModel") as caught:
        remove(tiny_encoder("hubert"), some(tiny_encoder("whisper")))
    assert_one_sentence(caught.value)


def test_folders_without_a_pruned_encoder_are_refused(tmp_path: Path) -> None:
    encoder = tiny_encoder("hubert")
    with pytest.raises(PruningError, match="save_pretrained") as caught:
        save_pruned(encoder, tmp_path)
    assert_one_sentence(caught.value)
    with pytest.raises(PruningError, match="has no config") as caught:
        load_pruned(tmp_path)
    assert_one_sentence(caught.value)
    (tmp_path / "config.json").write_text(json.dumps(encoder.config.to_dict()), encoding="utf-8")
    with pytest.raises(PruningError, match="from_pretrained") as caught:
        load_pruned(tmp_path)
    assert_one_sentence(caught.value)


def test_weights_that_do_not_fit_the_kept_units_are_refused(tmp_path: Path) -> None:
    encoder = tiny_encoder("hubert")
    for choose, folder in ((some, tmp_path / "some"), (none, tmp_path / "none")):
        save_pruned(remove(prunable_copy(encoder), choose(encoder)), folder)
    (tmp_path / "none/model.safetensors").replace(tmp_path / "some/model.safetensors")
    with pytest.raises(PruningError, match="does not fit its config") as caught:
        load_pruned(tmp_path / "some")
    assert_one_sentence(caught.value)
