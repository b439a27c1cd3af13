import json
import sys
from collections.abc import Callable
from pathlib import Path

import kwspot_export.teachers_hf
import numpy as np
import onnx
import pytest
import torch
import transformers
from kwspot_export.teachers import TeacherError, open_teacher
from kwspot_export.teachers_onnx import EMBEDDING_HOP, SpeechEmbeddingTeacher
from kwspot_export.teachers_whisper import WhisperLogMel, whisper_layers
from onnx import TensorProto, helper
from safetensors.torch import load_file
from torch import Tensor
from toy import assert_one_sentence
from transformers import PreTrainedModel, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from kwspot.features import SAMPLE_RATE

SEGMENT = int(1.6 * SAMPLE_RATE)
POSITIONS = 80  # what 1.6 s need, so that transformers' own encoder takes the segment whole
# float32 through two tiny layers, in another order of sums.
TOLERANCE = {"atol": 1e-5, "rtol": 1e-4}

WAVE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_kernel": (25, 16),
    "conv_stride": (20, 16),  # 320 samples together, as in the real ones
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_codevectors_per_group": 5,
    "codevector_dim": 6,
    "proj_codevector_dim": 8,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "vocab_size": 11,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "max_source_positions": POSITIONS,
    "max_target_positions": 8,
}


def audio(rows: int = 3, samples: int = SEGMENT) -> Tensor:
    """Noise of several loudnesses, not centred."""
    loudness = 0.1 ** torch.arange(rows)[:, None]
    noise = torch.randn(rows, samples, generator=torch.Generator().manual_seed(1))
    return loudness * (0.1 * noise + 0.02)


def saved(folder: Path, kind: str, **settings: object) -> PreTrainedModel:
    """Save a tiny random model of one of transformers' classes, and return it."""
    torch.manual_seed(2)
    model_class = getattr(transformers, kind, WhisperEncoder)
    config = model_class.config_class(**settings)
    model = model_class(config).eval()
    if isinstance(model, transformers.Wav2Vec2ForPreTraining):
        torch.nn.init.normal_(model.quantizer.weight_proj.weight)  # zeros choose one code only
    model.save_pretrained(folder)
    return model


def onnx_file(
    path: Path, nodes: list[onnx.NodeProto], arrays: dict[str, np.ndarray], shapes: list[list]
) -> Path:
    """Write a net with the input `x` and the output `y` of the two `shapes`."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip("xy", shapes, strict=True)
    )
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def waveform_net(path: Path, hop: int = 320, width: int = 3) -> Path:
    """A net that gives the sums of each hop's samples, times 1, 2, 3."""
    weights = np.arange(1, width + 1, dtype=np.float32)[:, None, None].repeat(hop, axis=2)
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["one"]),
        helper.make_node("Conv", ["one", "w"], ["sums"], strides=[hop]),
        helper.make_node("Transpose", ["sums"], ["y"], perm=[0, 2, 1]),
    ]
    arrays = {"w": weights, "axis": np.array([1])}
    return onnx_file(path, nodes, arrays, [["b", "n"], ["b", "t", width]])


def speech_embedding(folder: Path) -> Path:
    """Two nets of the shapes of Google's: 32 equal «bands», and 96 sums over a window of them."""
    folder.mkdir()
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["one"]),
        helper.make_node("Conv", ["one", "w"], ["sums"], strides=[160]),
        helper.make_node("Transpose", ["sums"], ["flipped"], perm=[0, 2, 1]),
        helper.make_node("Unsqueeze", ["flipped", "axis"], ["y"]),
    ]
    arrays = {"w": np.full((32, 1, 512), 1 / 512, np.float32), "axis": np.array([1])}
    onnx_file(folder / "melspectrogram.onnx", nodes, arrays, [["b", "n"], ["b", 1, "t", 32]])
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["total"]),
        helper.make_node("Mul", ["total", "ones"], ["y"]),
    ]
    arrays = {"axes": np.array([1, 2]), "ones": np.ones((1, 1, 1, 96), np.float32)}
    shapes = [["b", 76, 32, 1], ["b", 1, 1, 96]]
    onnx_file(folder / "embedding_model.onnx", nodes, arrays, shapes)
    return folder


@pytest.mark.parametrize("kind", ["HubertModel", "WavLMModel", "Wav2Vec2Model"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_hidden_states_are_those_of_transformers(kind: str, pre_norm: bool, tmp_path: Path) -> None:
    norm = "layer" if pre_norm else "group"
    model = saved(tmp_path, kind, **WAVE, do_stable_layer_norm=pre_norm, feat_extract_norm=norm)
    teacher = open_teacher(tmp_path)
    hidden = teacher(audio())
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    heard = extractor(list(audio().numpy()), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    with torch.no_grad():
        expected = model(heard.input_values, output_hidden_states=True)
    assert teacher.name == tmp_path.name
    assert teacher.rate_hz == 50
    assert teacher.widths == (16, 16, 16) == tuple(x.shape[2] for x in hidden.layers)
    for ours, theirs in zip(hidden.layers, expected.hidden_states, strict=True):
        # The extractor normalises in float64.
        torch.testing.assert_close(ours, theirs, **TOLERANCE)
    assert hidden.codes is None
    assert not hidden.layers[0].requires_grad


def test_audio_is_left_as_it_is_where_the_preprocessor_says_so(tmp_path: Path) -> None:
    model = saved(tmp_path, "HubertModel", **WAVE)
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    with torch.no_grad():
        expected = model(audio(), output_hidden_states=True).hidden_states
    hidden = open_teacher(tmp_path)(audio())
    torch.testing.assert_close(hidden.layers[-1], expected[-1], **TOLERANCE)


def test_a_pretrained_wav2vec2_gives_its_quantised_vectors(tmp_path: Path) -> None:
    model = saved(tmp_path, "Wav2Vec2ForPreTraining", **WAVE)
    hidden = open_teacher(tmp_path)(audio(2))
    assert hidden.codes is not None
    assert hidden.codes.shape == (*hidden.layers[0].shape[:2], WAVE["codevector_dim"])
    # Each group's part of a code is one of the five vectors of that group's book.
    books = model.quantizer.codevectors.detach().reshape(2, 5, 3)
    for group in range(2):
        part = hidden.codes[..., 3 * group : 3 * group + 3].reshape(-1, 3)
        distance = torch.cdist(part, books[group]).amin(dim=1)
        assert distance.max() < 1e-3  # cdist takes differences of squares
    assert len(hidden.codes.reshape(-1, 6).unique(dim=0)) > 3


@pytest.mark.parametrize("kind", ["WhisperEncoder", "WhisperForConditionalGeneration"])
def test_whisper_layers_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    model = saved(tmp_path, kind, **WHISPER)
    encoder = model if kind == "WhisperEncoder" else model.model.encoder
    teacher = open_teacher(tmp_path)
    heard = WhisperFeatureExtractor()(
        list(audio().numpy()), sampling_rate=SAMPLE_RATE, padding="longest", return_tensors="pt"
    )
    with torch.no_grad():
        expected = encoder(heard.input_features, output_hidden_states=True).hidden_states
    hidden = teacher(audio())
    assert teacher.rate_hz == 50
    assert teacher.widths == (16, 16, 16)
    for ours, theirs in zip(hidden.layers, expected, strict=True):
        assert ours.shape == (3, POSITIONS, 16)
        torch.testing.assert_close(ours, theirs, **TOLERANCE)


def test_whisper_hears_segments_shorter_than_its_positions(tmp_path: Path) -> None:
    saved(tmp_path, "WhisperEncoder", **WHISPER)
    teacher = open_teacher(tmp_path)
    assert teacher(audio(2, SEGMENT // 2)).layers[-1].shape == (2, POSITIONS // 2, 16)
    with pytest.raises(TeacherError, match=r"cannot hear 1\.7 s at once") as refusal:
        teacher(audio(1, int(1.7 * SAMPLE_RATE)))
    assert_one_sentence(refusal.value)


def test_log_mel_of_silence_and_of_speech_is_that_of_whisper() -> None:
    loud_and_silent = torch.cat([audio(1), torch.zeros(1, SEGMENT)])
    expected = WhisperFeatureExtractor()(
        list(loud_and_silent.numpy()), sampling_rate=SAMPLE_RATE, padding="longest"
    )
    ours = WhisperLogMel()(loud_and_silent).numpy()
    np.testing.assert_allclose(ours, np.stack(expected.input_features), atol=1e-4)


def test_gradients_flow_through_an_encoder_that_is_pruned(tmp_path: Path) -> None:
    encoder = saved(tmp_path, "WhisperEncoder", **WHISPER).requires_grad_(True)
    whisper_layers(encoder, WhisperLogMel()(audio(1)))[-1].square().mean().backward()
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None, name


def test_checkpoints_as_the_hub_has_had_them_for_years_load(tmp_path: Path) -> None:
    """A pickle of tensors, with weight norm under its former names, as of HuBERT Base."""
    saved(tmp_path / "new", "HubertModel", **WAVE)
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_bytes((tmp_path / "new" / "config.json").read_bytes())
    weights = load_file(tmp_path / "new" / "model.safetensors")
    norm = "parametrizations.weight.original"
    former = {
        name.replace(f"{norm}0", "weight_g").replace(f"{norm}1", "weight_v"): value
        for name, value in weights.items()
    }
    assert former.keys() != weights.keys()
    torch.save(former, old / "pytorch_model.bin")
    ours, theirs = (open_teacher(tmp_path / name)(audio()).layers[-1] for name in ("old", "new"))
    assert torch.equal(ours, theirs)


def test_a_net_from_waveform_to_frames_teaches(tmp_path: Path) -> None:
    teacher = open_teacher(waveform_net(tmp_path / "sums.onnx", hop=320))
    hidden = teacher(audio())
    assert (teacher.name, teacher.rate_hz, teacher.widths) == ("sums", 50, (3,))
    assert len(hidden.layers) == 1
    sums = audio().reshape(3, 80, 320).sum(dim=2)
    for k in range(3):
        torch.testing.assert_close(hidden.layers[0][..., k], (k + 1) * sums, **TOLERANCE)


def test_speech_embedding_looks_back_from_the_end_of_each_frame(tmp_path: Path) -> None:
    folder = speech_embedding(tmp_path / "speech")
    teacher = open_teacher(folder)
    assert isinstance(teacher, SpeechEmbeddingTeacher)
    assert isinstance(open_teacher(folder / "embedding_model.onnx"), SpeechEmbeddingTeacher)
    assert (teacher.name, teacher.rate_hz, teacher.widths) == ("speech", 12.5, (96,))
    silence = teacher(torch.zeros(1, SEGMENT)).layers[0]
    assert silence.shape == (1, 20, 96)
    # 76 frames of 32 bands, each 0 / 10 + 2.
    torch.testing.assert_close(silence, torch.full((1, 20, 96), 76 * 32 * 2.0))
    # Counting from a frame's own end, 12512 samples are 9 hops and most of a tenth.
    for frame, sample, listeners in ((0, 0, 9), (0, 1279, 10), (7, 0, 9), (7, 1279, 10)):
        click = torch.zeros(1, SEGMENT)
        click[0, frame * EMBEDDING_HOP + sample] = 0.5
        changed = (teacher(click).layers[0] - silence)[0].abs().amax(dim=1) > 1e-3
        assert changed.nonzero().flatten().tolist() == list(range(frame, frame + listeners))


def test_a_fingerprint_follows_weights_and_config(tmp_path: Path) -> None:
    saved(tmp_path / "a", "HubertModel", **WAVE)
    saved(tmp_path / "b", "HubertModel", **WAVE)
    first = open_teacher(tmp_path / "a").fingerprint
    assert open_teacher(tmp_path / "b", sha256=first).fingerprint == first
    (tmp_path / "b" / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert open_teacher(tmp_path / "b").fingerprint != first
    with pytest.raises(TeacherError, match=f"expected was {first}") as refusal:
        open_teacher(tmp_path / "b", sha256=first)
    assert_one_sentence(refusal.value)


def test_a_hub_name_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def hub(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path)

    saved(tmp_path, "HubertModel", **WAVE)
    monkeypatch.setattr(kwspot_export.teachers_hf, "snapshot_download", hub)
    assert open_teacher("someone/hubert-tiny").name == "hubert-tiny"
    assert asked == [("someone/hubert-tiny", ["*config.json", "*.safetensors*"])]


def lacking(folder: Path) -> None:
    (folder / "config.json").unlink()


def unknown(folder: Path) -> None:
    edit(folder, "config.json", model_type="bert")


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def other_rate(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')


def other_width(folder: Path) -> None:
    edit(folder, "config.json", hidden_size=32)


def another_layer(folder: Path) -> None:
    edit(folder, "config.json", num_hidden_layers=3)


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def edit(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lacking, "has no config.json"),
        (unknown, "is of model_type 'bert', known are wav2vec2, hubert, wavlm, whisper"),
        (no_json, "config.json of .* is not JSON"),
        (other_rate, "made for audio at 8000 Hz, only 16000 Hz"),
        (other_width, "the weights of .* cannot be used"),
        (another_layer, r"lacks 16 weights of a hubert model, such as encoder\.layers\.2\."),
        (truncated, "the weights of .* cannot be used"),
        (no_weights, "the weights of .* cannot be used"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_in_one_sentence(
    damage: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    saved(tmp_path, "HubertModel", **WAVE)
    damage(tmp_path)
    with pytest.raises(TeacherError, match=reason) as refusal:
        open_teacher(tmp_path)
    assert_one_sentence(refusal.value)


def test_what_is_no_teacher_is_refused_in_one_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no net at all")
    deaf = speech_embedding(tmp_path / "deaf")
    (deaf / "melspectrogram.onnx").unlink()
    for source, reason in (
        (tmp_path / "gone", "gone is neither a folder here nor a model"),
        (tmp_path / "gone.onnx", r"cannot read the teacher .*gone.onnx: no such file"),
        (text, "text.onnx is not an ONNX file"),
        (deaf, r"cannot read the teacher .*melspectrogram.onnx: no such file"),
        (flat_net(tmp_path / "flat.onnx"), r"flat.onnx cannot teach: it must have one input"),
        (still_net(tmp_path / "still.onnx"), r"still.onnx cannot teach: it gives no more frames"),
    ):
        with pytest.raises(TeacherError, match=reason) as refusal:
            open_teacher(source)
        assert_one_sentence(refusal.value)


def flat_net(path: Path) -> Path:
    """A net that says nothing about frames."""
    return onnx_file(path, [helper.make_node("Relu", ["x"], ["y"])], {}, [["b", "n"], ["b", "n"]])


def still_net(path: Path) -> Path:
    """A net that says one thing of the whole waveform."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "axes"], ["y"]),
    ]
    return onnx_file(path, nodes, {"axes": np.array([1])}, [["b", "n"], ["b", 1, 1]])


def test_without_transformers_the_refusal_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "kwspot_export.teachers_hf")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TeacherError, match="pip install transformers") as refusal:
        open_teacher(tmp_path)
    assert_one_sentence(refusal.value)
