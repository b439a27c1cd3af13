"""A teacher of voices as the file that the runtime loads: eight-bit weights, a threshold, a card.

```
features (T, 80) -> less their mean -> the teacher, weights int8 a channel -> embedding (E,)
```

Only weights are rounded: with activations of eight bits, too, embeddings of CAM++ had cosines down
to 0.83 to its own. The first layers, convolutions over time and frequency, stay as they are: they
are 4 % of the file, and with them the lowest cosine of a sample was 0.989 instead of 0.994. The
file takes a little over a quarter of the room and the same time.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.compose
import onnxslim
from onnx import TensorProto, helper, numpy_helper

from kwspot.features import SAMPLE_RATE, FloatArray, FrontEnd, LogMel
from kwspot.manifest import Clip, read_data, spoken
from kwspot.modelfile import Provenance, VoicePoint
from kwspot.net_file import FORMAT
from kwspot.voice_net import VoiceInfo, VoiceNet
from kwspot.voices import unit
from kwspot_export.corpus import Corpus
from kwspot_export.distill import Report
from kwspot_export.distill_recipe import VoiceRecipe
from kwspot_export.parity import ParityError, draft
from kwspot_export.publish import versions
from kwspot_export.publish_voices import LEAST_COSINE, describe, fitted
from kwspot_export.quantise import shorten_names
from kwspot_export.rounding import round_weights
from kwspot_export.segments import WINDOW
from kwspot_export.voice_teacher import BANDS, VoiceTeacher
from kwspot_export.voice_teacher import FRONT_END as TAUGHT
from kwspot_export.voice_threshold import ENROLLED, STRANGERS

# What is below faint noise is silence, as to models of keywords. As Kaldi has it, digital silence
# around short words made all voices alike: an equal error rate of 4.0 % instead of 0.8 on words of
# Speech Commands, 1.6 instead of 0.4 on Arabic ones.
FRONT_END = replace(TAUGHT, floor=FrontEnd().floor)
FRAMES = WINDOW // FRONT_END.hop
PROOFS = 50  # windows on which the file is held against the teacher


def publish_voice_teacher(
    recipe: VoiceRecipe, data: Path, teacher: Path, cache: Path, path: Path, report: Report
) -> VoiceInfo:
    """Write a teacher to `path`, and its card beside it (.md).

    Strangers and the threshold are from all people of roles train and validation whom the recipe
    knows, five clips of a word at most: the teacher has heard none of them. Raises ParityError, and
    leaves nothing, where the file does not say what the teacher does.
    """
    VoiceTeacher(teacher)  # which refuses what is none
    known, said = [], Counter[tuple[str, str]]()
    for clip in read_data(data, recipe.sound.manifests):
        if clip.role != "test" and clip.name.startswith(recipe.known) and clip.speaker:
            said[clip.speaker, spoken(clip.text)] += 1
            if clip.text and said[clip.speaker, spoken(clip.text)] <= ENROLLED:
                known.append(clip)
    corpus = Corpus.open(known, cache, lambda *done: report("decode", *done))
    model = with_mean(onnx.load(teacher))
    info = VoiceInfo(
        format=FORMAT,
        name=path.stem,
        frames=FRAMES,
        embedding=model.graph.output[0].type.tensor_type.shape.dim[0].dim_value,
        voice=VoicePoint(1.0, 0.0, 1.0, 0),  # until there is a file to fit it to
        provenance=Provenance(recipe.licence, recipe.teacher, "not distilled", versions()),
        front_end=FRONT_END,
    )
    with draft(path) as file:
        describe(model, info, file)
        exact = VoiceNet(file)
        features = [_features(corpus, n) for n in range(0, len(corpus), _stride(corpus))]
        expected = [unit(exact(window)) for window in features]
        round_weights(model)
        shorten_names(model.graph)
        describe(model, info, file)
        rounded = VoiceNet(file)
        cosines = [unit(rounded(f)) @ e for f, e in zip(features, expected, strict=True)]
        if not min(cosines) >= LEAST_COSINE:
            raise ParityError(
                f"{path} was not written: with weights of eight bits the embedding of one of "
                f"{len(cosines)} windows has a cosine of {min(cosines):.4f} to the teacher's "
                f"(at least {LEAST_COSINE})"
            )
        info = fitted(info, corpus, rounded, report)
        answer = tuple(float(f"{value:.6g}") for value in rounded.answer())
        describe(model, replace(info, self_test=answer), file)
    path.with_suffix(".md").write_text(_card(recipe, info, known, min(cosines)), encoding="utf-8")
    return info


def with_mean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let a teacher take the features (FRAMES, 80) of one window and subtract their mean itself."""
    graph = onnx.compose.add_prefix(model, "teacher/").graph  # its names may be ours
    source, result = graph.input[0].name, graph.output[0].name
    size = graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    for node in graph.node:
        node.input[:] = ["centred" if name == source else name for name in node.input]
    before = [
        helper.make_node("Unsqueeze", ["features", "first"], ["batch"]),
        helper.make_node("ReduceMean", ["batch"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["batch", "mean"], ["centred"]),
    ]
    nodes = [*before, *graph.node, helper.make_node("Squeeze", [result, "first"], ["embedding"])]
    whole = helper.make_graph(
        nodes,
        "voices",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, (FRAMES, BANDS))],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, (size,))],
        [*graph.initializer, numpy_helper.from_array(np.array([0], np.int64), "first")],
    )
    fixed = helper.make_model(whole, opset_imports=model.opset_import)
    fixed.ir_version = model.ir_version
    slim: onnx.ModelProto = onnxslim.slim(fixed)
    return slim


def _stride(corpus: Corpus) -> int:
    return max(1, len(corpus) // PROOFS)


def _features(corpus: Corpus, number: int) -> FloatArray:
    samples = np.resize(corpus.audio(number), WINDOW + FRONT_END.window - FRONT_END.hop)
    return LogMel(FRONT_END)(samples)


def _card(recipe: VoiceRecipe, info: VoiceInfo, known: list[Clip], least: float) -> str:
    point, sources = info.voice, ", ".join(sorted({clip.source for clip in known}))
    return f"""# {info.name}

Tells voices apart: an embedding of {info.embedding} numbers of the last \
{FRAMES * FRONT_END.hop / SAMPLE_RATE:.1f} s, once a detection. It hears no keyword.
A convenience, no security. Licence of the weights: {recipe.licence}.

{recipe.teacher},
as it is but for its weights, of which most have eight bits: embeddings have a cosine of \
{least:.4f} or
more to the teacher's. Made by
`kwspot distill-voices --undistilled --recipe export/recipes/{recipe.name}.toml`.

From a likeness of {point.threshold:.4f} to the mean of five clips on it is that voice: \
{point.false_accepts:.1%} of the same
words by others are accepted, and {point.false_rejects:.1%} of the own rejected, by \
{point.speakers} people of roles `train`
and `validation`, whom the net was not trained on
({sources}),
the shares of each source counting alike. Likeness is the cosine less what both have in common with
the nearest of {STRANGERS} strangers, drawn from the same people; nobody was compared with himself.

No clip of role `test` was used to choose the threshold.
"""
