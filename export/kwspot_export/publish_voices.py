"""From a distilled net of voices to the file that the runtime loads, and its card."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import torch
from torch import Tensor, nn

from kwspot.endpoints import speech_span
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.likeness import pack
from kwspot.modelfile import Provenance, VoicePoint
from kwspot.net_file import FORMAT, dump_net
from kwspot.voice_net import VOICE_KEY, VoiceEar, VoiceInfo, VoiceNet
from kwspot.voices import unit
from kwspot_export.corpus import Corpus
from kwspot_export.distill import Report
from kwspot_export.loop import TrainingError
from kwspot_export.onnx_export import OPSET, quiet_torch
from kwspot_export.parity import ParityError, draft
from kwspot_export.publish import versions
from kwspot_export.publish_encoder import data_rows
from kwspot_export.publish_joint import VOICE_SECONDS
from kwspot_export.quantise import quiet, shorten_names
from kwspot_export.segments import WINDOW
from kwspot_export.voice_distill import VoiceDistillation
from kwspot_export.voice_student import VoiceStudentNet
from kwspot_export.voice_threshold import Said, draw_strangers, fit_voices

WINDOWS = 400  # of training sound, to take ranges from and to prove the file on
STRANGERS_SEED = 1
LEAST_COSINE = 0.99  # of eight bits to float: what an accepted voice has to a profile is far less


class _OneWindow(nn.Module):
    """What is exported: the features (T, F) of one window -> embedding (E,)."""

    def __init__(self, net: VoiceStudentNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor) -> Tensor:
        embedding: Tensor = self.net(features[None])[0]
        return embedding


def publish_voices(job: VoiceDistillation, path: Path) -> VoiceInfo:
    """Export the net of a finished run to `path` in eight bits, and its card beside it (.md).

    The threshold is fitted to what the file puts out. Raises ParityError, and leaves nothing, where
    the file does not say what torch does.
    """
    recipe, net = job.recipe, job.finished().cpu().eval()
    info = VoiceInfo(
        format=FORMAT,
        name=path.stem,
        frames=WINDOW // recipe.front_end.hop,
        embedding=recipe.student.size,
        voice=VoicePoint(1.0, 0.0, 1.0, 0),  # until there is a file to fit it to
        provenance=Provenance(
            licence=recipe.licence,
            data=", ".join(sorted({clip.source for clip in job.clips})),
            recipe=f"{recipe.name}.toml, seed {recipe.seed}, distilled from {job.teacher.name}",
            versions=versions(),
        ),
        front_end=recipe.front_end,
    )
    windows = _windows(job)
    with draft(path) as file:
        least = export_voices(net, info, file, windows, path)
        corpus = Corpus.open(job.validation, job.cache)
        info = fitted(info, corpus, VoiceNet(file), job.report)
        answer = tuple(float(f"{value:.6g}") for value in VoiceNet(file).answer())
        describe(onnx.load(file), replace(info, self_test=answer), file)
    path.with_suffix(".md").write_text(_card(job, info, least), encoding="utf-8")
    return info


def export_voices(
    net: VoiceStudentNet, info: VoiceInfo, file: Path, windows: FloatArray, path: Path
) -> float:
    """Export a net with `info` to `file`, its convolutions and products in eight bits.

    Ranges come from three quarters of `windows` (N, T, F); on the others file and torch are
    compared. Returns the least cosine of their embeddings; raises ParityError, about `path`, where
    it is below 0.99.
    """
    from onnxruntime import quantization

    cut = len(windows) * 3 // 4
    feeds = iter([{"features": window} for window in windows[:cut]])

    class Feeds(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    with quiet(), tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float.onnx"
        onnx.save(_graph(net, windows[0]), plain)
        quantization.quantize_static(
            plain,
            file,
            Feeds(),
            op_types_to_quantize=["Conv", "Gemm"],
            per_channel=True,
            # Unsigned both: without VNNI, x86-64 multiplies u8 by s8 in 16 bits that overflow.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QUInt8,
        )
    model = onnx.load(file)
    shorten_names(model.graph)
    describe(model, info, file)
    exported, cosines = VoiceNet(file), []
    for window in windows[cut:]:
        with torch.no_grad():
            expected = unit(net(torch.from_numpy(window)[None])[0].numpy())
        cosines.append(float(unit(exported(window)) @ expected))
    if not min(cosines) >= LEAST_COSINE:
        raise ParityError(
            f"{path} was not written: of {len(cosines)} windows the embedding of one has a cosine "
            f"of {min(cosines):.4f} to what torch says (at least {LEAST_COSINE})"
        )
    return min(cosines)


def fitted(info: VoiceInfo, corpus: Corpus, net: VoiceNet, report: Report) -> VoiceInfo:
    """Draw strangers and fit the threshold on clips of people whom the net never heard.

    Each clip is heard as when its word is detected, 0.2 s after its end. Raises TrainingError where
    fewer than five people say a word four times.
    """
    ear, embeddings = VoiceEar(net, spare=0), []
    for number in range(len(corpus)):
        samples = corpus.audio(number)
        end = speech_span(samples)[1] + round(VOICE_SECONDS * SAMPLE_RATE)
        ear.clear()
        ear.hear(np.pad(samples[:end], (0, max(0, end - len(samples)))))
        embeddings.append(unit(ear.embedding(later=0)))
        report("voices", number + 1, len(corpus))
    voices, said = np.stack(embeddings), Said.of(corpus.clips)
    strangers = draw_strangers(voices, said, STRANGERS_SEED)
    point = fit_voices(voices, said, strangers)
    if point is None:
        raise TrainingError("too few people say a word several times: no threshold can be fitted")
    return replace(info, voice=point, strangers=pack(strangers.embeddings))


def _graph(net: VoiceStudentNet, example: FloatArray) -> onnx.ModelProto:
    with quiet_torch():
        program = torch.onnx.export(
            _OneWindow(net).eval(),
            (torch.from_numpy(example),),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=["features"],
            output_names=["embedding"],
        )
    return onnxslim.slim(program.model_proto)


def _windows(job: VoiceDistillation) -> FloatArray:
    """Draw features of training sound, (N, T, F)."""
    rng = np.random.default_rng([job.recipe.seed, 2])
    rows = rng.choice(job.rows, min(WINDOWS, len(job.rows)), replace=False)
    windows: FloatArray = job.bank.features(rows, np.zeros(len(rows), np.int64)).numpy()
    return windows


def describe(model: onnx.ModelProto, info: VoiceInfo, file: Path) -> None:
    """Write a graph with `info` as its only metadata."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {VOICE_KEY: dump_net(info)})
    onnx.save(model, file)


def _card(job: VoiceDistillation, info: VoiceInfo, least: float) -> str:
    recipe, point = job.recipe, info.voice
    parameters = sum(p.numel() for p in job.net.parameters())
    return f"""# {info.name}

Tells voices apart: an embedding of {info.embedding} numbers of the last \
{info.frames * recipe.front_end.hop / SAMPLE_RATE:.1f} s, once a detection. It hears no keyword.
A convenience, no security. Licence of the weights: {recipe.licence}.

{parameters:,} parameters in eight bits; the embeddings of ONNX Runtime have a cosine of \
{least:.4f} or more
to those of torch.
Distilled from {recipe.teacher}
by `kwspot distill-voices --recipe export/recipes/{recipe.name}.toml`: {recipe.pace.steps} steps \
of {recipe.pace.batch} segments, seed {recipe.seed}, torch {torch.__version__}.

From a likeness of {point.threshold:.4f} to the mean of five clips on it is that voice: \
{point.false_accepts:.1%} of the same
words by others are accepted, and {point.false_rejects:.1%} of the own rejected \
({point.speakers} people who were not trained on).

## Trained on

| source | licence | clips | hours |
|---|---|---|---|
{data_rows(job)}

No clip of role `test` was trained on, or used to choose a threshold.
"""
