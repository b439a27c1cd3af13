"""Several model files on one encoder become one file."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from kwspot_export import merge as merging
from kwspot_export.heads import JointNet, PooledHeads
from kwspot_export.merge import MergeError, merge
from kwspot_export.onnx_export import PARITY_TOLERANCE, export_onnx, save_described
from kwspot_export.parity import ParityError
from kwspot_export.student import FrameNet
from onnx import numpy_helper
from sound import words
from tiny import VOICE
from torch import nn
from toy import Exported, assert_one_sentence, describe, random_transformer

from kwspot import KeywordDetector, ModelError, load_model
from kwspot.cli import main
from kwspot.modelfile import Decision, Keyword, OperatingPoint, Provenance
from kwspot.selftest import judge

CLIP = words(4.0, seed=1)


def keyword(label: str) -> Keyword:
    points = {name: OperatingPoint(0.5, 1.0) for name in ("low", "medium", "high")}
    return Keyword(label, points, 0.4)


def altered(path: Path, to: Path, part: str = "head.weight", **changes: object) -> Path:
    """Copy a file as of another word; the first number of a part has another last bit."""
    model = onnx.load(path)
    for weight in model.graph.initializer:
        if weight.name.startswith(part):
            values = numpy_helper.to_array(weight).copy()
            values.view(np.uint32).flat[0] ^= 1
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    changes = {"name": to.stem, "keywords": (keyword(to.stem),)} | changes
    save_described(model, replace(load_model(path).info, **changes), to)  # type: ignore[arg-type]
    return to


@pytest.fixture(scope="module")
def colours(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files on one encoder, exported each by itself, of one word and of two."""
    folder = tmp_path_factory.mktemp("colours")
    torch.manual_seed(2)
    net = FrameNet(copy.deepcopy(exported.net.encoder), 2).eval()  # type: ignore[arg-type]
    nn.init.normal_(net.head.weight, std=2.0)
    cool = folder / "cool.onnx"
    export_onnx(net, replace(describe(net, ("green", "blue")), name="cool"), cool)
    return [altered(exported.path, folder / "red.onnx", part="nothing"), cool]


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files with pooled heads on one transformer, of one word, and of two and a voice."""
    folder, encoder, paths = tmp_path_factory.mktemp("pooled"), random_transformer(), []
    for labels, embedding in (("a",), 0), (("b", "c"), 6):
        torch.manual_seed(embedding)
        net = JointNet(encoder, PooledHeads(encoder.width, len(labels) + 1, embedding, 1)).eval()
        paths.append(folder / f"{labels[0]}.onnx")
        voice = VOICE if embedding else None
        info = replace(describe(net, labels, embedding), name=labels[0], voice=voice)
        export_onnx(net, info, paths[-1])
    return paths


@pytest.fixture(scope="module")
def merged(colours: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("merged") / "colours.onnx"
    assert merge(colours, path)[1] <= PARITY_TOLERANCE
    return path


def detections(model: object) -> list[tuple[str, float, float]]:
    detector = KeywordDetector(model, refractory=0.2)  # type: ignore[arg-type]
    return [(hit.keyword, round(hit.score, 4), hit.end) for hit in detector.process(CLIP)]


def test_a_merged_file_hears_what_its_originals_hear(colours: list[Path], merged: Path) -> None:
    one, several = (KeywordDetector(m, vad="off") for m in (merged, colours))
    scores = one.score(CLIP)
    assert scores.shape[1] == 3
    assert scores.std(axis=0).min() > 0.02, "posteriors that stand still prove nothing"
    np.testing.assert_allclose(scores, several.score(CLIP), atol=PARITY_TOLERANCE)
    assert len({word for word, *_ in detections(merged)}) > 1
    assert detections(merged) == detections(colours)


def test_the_encoder_is_in_the_file_once(colours: list[Path], merged: Path) -> None:
    first, second, both = (onnx.load(path).graph for path in (*colours, merged))
    # Of each head its layer and its sigmoid, and what puts them side by side.
    assert len(both.node) == len(first.node) + 2 + 1
    assert len(both.initializer) == len(first.initializer) + 2
    assert merged.stat().st_size < 1.3 * colours[0].stat().st_size
    assert {value.name for value in both.output} == {value.name for value in second.output}


def test_a_merged_file_says_what_its_originals_say(colours: list[Path], tmp_path: Path) -> None:
    points = {s: OperatingPoint(t, 1.0) for s, t in (("low", 0.9), ("medium", 0.7), ("high", 0.3))}
    other = altered(
        colours[0],
        tmp_path / "other.onnx",
        keywords=(Keyword("other", points, 0.8),),
        provenance=Provenance("CC-BY-4.0", "b, a", "by hand", {"torch": "new", "onnx": "2"}),
    )
    info, _ = merge([colours[0], other], tmp_path / "both.onnx")
    model = load_model(tmp_path / "both.onnx", check=True)
    assert replace(model.info, self_test=None) == info
    assert info.name == "both"
    assert info.keywords == (keyword("red"), Keyword("other", points, 0.8))
    assert info.provenance == Provenance(
        "Apache-2.0 and CC-BY-4.0",
        "a, b, none",
        "merged: red by random weights; other by by hand",
        {"torch": "any and new", "onnx": "2"},
    )
    assert judge(model).right
    assert model.info.self_test is not None and len(model.info.self_test.posteriors) == 2 * 2
    assert KeywordDetector(model).thresholds == {"red": 0.5, "other": 0.7}


def test_merged_files_merge_again(colours: list[Path], merged: Path, tmp_path: Path) -> None:
    more = altered(colours[0], tmp_path / "more.onnx", "head.bias")
    info, _ = merge([merged, more], tmp_path / "four.onnx")
    assert [k.label for k in info.keywords] == ["red", "green", "blue", "more"]
    assert detections(tmp_path / "four.onnx") == detections([*colours, more])


@pytest.mark.slow
def test_pooled_heads_on_a_transformer_merge_and_keep_the_voice(
    pooled: list[Path], tmp_path: Path
) -> None:
    info, difference = merge(pooled, tmp_path / "all.onnx")
    assert difference <= PARITY_TOLERANCE
    assert (info.embedding, info.voice) == (6, VOICE)
    assert list(KeywordDetector(tmp_path / "all.onnx").thresholds) == ["a", "b", "c"]


def test_what_cannot_be_one_file_is_refused(
    colours: list[Path], pooled: list[Path], tmp_path: Path
) -> None:
    red, output = colours[0], tmp_path / "both.onnx"
    bit = altered(red, tmp_path / "bit.onnx", "encoder.linears.1.weight")
    slow = altered(red, tmp_path / "slow.onnx", decision=Decision(smoothing=5))
    labels = (keyword("d"), keyword("e"))
    voice = altered(pooled[1], tmp_path / "voice.onnx", "heads.speaker.weight", keywords=labels)
    newer = altered(red, tmp_path / "newer.onnx")
    model = onnx.load(newer)
    model.opset_import[0].version += 1
    onnx.save(model, newer)
    for first, other, said in (
        (red, bit, "red.onnx and .*bit.onnx have different encoders: load both files instead"),
        (colours[1], pooled[0], "have different encoders: load both files instead"),
        (red, slow, "decide differently .*: load both files"),
        (red, newer, "different versions of ONNX"),
        (pooled[1], voice, "have different speaker embeddings"),
    ):
        with pytest.raises(MergeError, match=said) as error:
            merge([first, other], output)
        assert_one_sentence(error.value)
    with pytest.raises(ModelError, match="red and red both hear 'red'"):
        merge([red, red], output)
    with pytest.raises(MergeError, match="two model files at least"):
        merge([red], output)
    with pytest.raises(ModelError, match="there is no model file"):
        merge([red, tmp_path / "gone.onnx"], output)
    assert not output.exists()


def test_a_merged_file_that_differs_is_not_written(
    colours: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = merging._merged_graph

    def swapped(*arguments: object) -> onnx.ModelProto:
        model = graph(*arguments)  # type: ignore[arg-type]
        side_by_side = model.graph.node[-1]
        side_by_side.input[:] = side_by_side.input[::-1]
        return model

    monkeypatch.setattr(merging, "_merged_graph", swapped)
    with pytest.raises(ParityError, match="the merged file and the originals differ by"):
        merge(colours, tmp_path / "both.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_merges_and_says_what(
    colours: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "models" / "colours.onnx"
    assert main(["merge", *map(str, colours), "-o", str(output)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{output}  ")
    assert "red, green, blue" in said
    assert main(["info", "--check", str(output)]) == 0
    assert main(["merge", str(colours[0]), "-o", str(output)]) == 2
    assert "two model files" in capsys.readouterr().err
