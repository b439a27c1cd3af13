"""From a fine-tuned net to a model file and its card: thresholds, metadata, export.

Thresholds come from clips of role validation that the recipe's sound names, as recorded; that for
voices from those that [speakers] names.
"""

from pathlib import Path

import numpy as np
import torch

from kwspot.calibration import BLOCK
from kwspot.endpoints import speech_span
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.manifest import read_data
from kwspot.modelfile import FORMAT, Keyword, ModelInfo, Provenance, VoicePoint
from kwspot_export.corpus import Corpus
from kwspot_export.examples import BACKGROUND
from kwspot_export.finetune import Finetuning
from kwspot_export.onnx_export import export_onnx
from kwspot_export.parity import state_specs
from kwspot_export.publish import operating_points, versions
from kwspot_export.publish_encoder import data_rows
from kwspot_export.quantise import Posteriors
from kwspot_export.recipe import RecipeError
from kwspot_export.student import FRAMES_PER_STEP, OUTPUTS_PER_STEP
from kwspot_export.validation import (
    Score,
    block_peaks,
    features_of,
    in_pieces,
    smoothed,
    string_together,
)
from kwspot_export.voice_threshold import Said, fit_voices

RELEASE_SECONDS = 1.0  # after a word's end in which it still counts as heard
VOICE_SECONDS = 0.2  # after a word's end, when its voice is judged: about when it is detected


def publish_joint(job: Finetuning, name: str, path: Path) -> ModelInfo:
    """Calibrate and export a fine-tuned net to `path` as `name`, and its card beside it (.md)."""
    scores = calibrate(job)
    info = describe_joint(job, name, scores)
    difference = export_onnx(job.net, info, path)
    path.with_suffix(".md").write_text(_card(job, info, scores, difference), encoding="utf-8")
    return info


def describe_joint(job: Finetuning, name: str, scores: dict[str, Score]) -> ModelInfo:
    """Put together what the model file will say of itself."""
    recipe, net = job.recipe, job.net.cpu().eval()
    keywords = tuple(
        Keyword(word, operating_points(score, recipe.false_alarms_per_hour), _seconds(job, word))
        for word, score in scores.items()
    )
    return ModelInfo(
        format=FORMAT,
        name=name,
        keywords=keywords,
        frames_per_step=FRAMES_PER_STEP,
        outputs_per_step=OUTPUTS_PER_STEP,
        receptive_field=net.receptive_field,
        states=state_specs(net.streaming()),
        provenance=Provenance(
            licence=recipe.licence,
            data=", ".join(sorted({clip.source for clip in job.clips})),
            recipe=f"{recipe.name}.toml, seed {recipe.seed}, encoder: {job.origin}",
            versions=versions(),
        ),
        decision=recipe.decision,
        front_end=recipe.front_end,
        embedding=recipe.speakers.size if recipe.speakers else 0,
        voice=calibrate_voices(job),
    )


@torch.no_grad()
def calibrate(job: Finetuning, posteriors: Posteriors | None = None) -> dict[str, Score]:
    """Score each word on clips of role validation: those that say it, and a stream of the others.

    `posteriors` are those of another model than the net of the job. Raises RecipeError where there
    are no such clips.
    """
    recipe, data = job.recipe, job.data
    posteriors = posteriors or _posteriors(job)
    words = recipe.keywords.words
    prefixes = tuple(group.prefix for group in recipe.sound.speech)
    prefixes += recipe.sound.noises
    clips = [
        clip
        for clip in read_data(data, recipe.sound.manifests)
        if clip.role == "validation" and clip.name.startswith(prefixes)
    ]
    others = [i for i, c in enumerate(clips) if not any(c.mentions(word) for word in words)]
    if not others:
        raise RecipeError(f"{recipe.name}: no clip of role validation is without its words")
    corpus = Corpus.open(clips, job.cache)
    samples, _ = string_together(corpus, others, np.random.default_rng([recipe.seed, 2]))
    alarms = _scores(job, samples, posteriors)
    hours = len(samples) / SAMPLE_RATE / 3600
    found = {}
    for number, word in enumerate(words):
        peaks = block_peaks(alarms[:, number])
        said = [i for i, clip in enumerate(clips) if clip.says(word)]
        hits = [_hit(job, corpus.audio(i), number, posteriors) for i in said]
        found[word] = Score({}, np.array(hits, np.float32), peaks, hours, len(peaks))
    return found


@torch.no_grad()
def calibrate_voices(job: Finetuning) -> VoicePoint | None:
    """Fit the threshold for voices on clips of role validation by people the model never heard.

    None for a recipe without [speakers], and where too few people say a word several times.
    """
    recipe, net = job.recipe, job.net.cpu().eval()
    if recipe.speakers is None:
        return None
    heard = {clip.speaker for clip in job.clips}
    clips = [
        clip
        for clip in read_data(job.data, recipe.sound.manifests)
        if clip.role == "validation"
        and clip.name.startswith(recipe.speakers.clips)
        and clip.speaker not in heard | {""}
        and clip.text
    ]
    if not clips:
        return None
    corpus = Corpus.open(clips, job.cache)
    embeddings = []
    for number in range(len(clips)):
        samples = corpus.audio(number)
        end = speech_span(samples)[1] + round(VOICE_SECONDS * SAMPLE_RATE)
        stream = np.pad(samples[:end], (SAMPLE_RATE, max(0, end - len(samples))))
        features = features_of(stream, recipe.front_end)
        outputs = in_pieces(lambda x: net.outputs(x)[1][0], features, net.receptive_field)
        embeddings.append(outputs[-1])
    return fit_voices(np.stack(embeddings), Said.of(clips))


def _posteriors(job: Finetuning) -> Posteriors:
    net = job.net.cpu().eval()
    return lambda features: in_pieces(lambda x: net.outputs(x)[0][0], features, net.receptive_field)


def _scores(job: Finetuning, samples: np.ndarray, posteriors: Posteriors) -> np.ndarray:
    """Score a stream for all words: (N,) -> (U, K)."""
    raw = posteriors(features_of(samples, job.recipe.front_end))
    smoothing = job.recipe.decision.smoothing
    return np.stack([smoothed(column, smoothing) for column in raw.T], axis=1)


def _hit(job: Finetuning, clip: FloatArray, number: int, posteriors: Posteriors) -> float:
    _, end = speech_span(clip)
    stream = np.pad(clip[:end], (SAMPLE_RATE, round(RELEASE_SECONDS * SAMPLE_RATE)))
    return float(_scores(job, stream, posteriors)[:, number].max())


def _seconds(job: Finetuning, word: str) -> float:
    """Return the median length of a word in the training clips."""
    corpus = job.corpus
    spans = [speech_span(corpus.audio(i)) for i, c in enumerate(corpus.clips) if c.says(word)]
    return round(float(np.median([end - start for start, end in spans])) / SAMPLE_RATE, 2)


def _card(job: Finetuning, info: ModelInfo, scores: dict[str, Score], difference: float) -> str:
    recipe = job.recipe
    parameters = sum(p.numel() for p in job.net.parameters())
    points = "\n".join(
        f"| {keyword.label} | {point.threshold:.4f} "
        f"| {100 * np.mean(scores[keyword.label].hits >= point.threshold):.1f} "
        f"| {len(scores[keyword.label].hits)} |"
        for keyword in info.keywords
        for name, point in keyword.operating_points.items()
        if name == "medium"
    )
    medium = recipe.false_alarms_per_hour["medium"]
    stream = next(iter(scores.values())).recorded * BLOCK / 3600
    speakers = (
        f"It also puts out a speaker embedding of {info.embedding} values each "
        f"{1000 * info.output_samples // SAMPLE_RATE} ms: convenience, not security. "
        f"{_voices(info.voice)}\n"
        if info.embedding
        else ""
    )
    return f"""# {info.name}

Hears {", ".join(f"«{keyword.label}»" for keyword in info.keywords)}.
Licence of the weights: {info.provenance.licence}.
{speakers}
{parameters:,} parameters; the heads read the mean of the last second. Labels that are learnt and
not reported: {", ".join(BACKGROUND)}. float32 ONNX; streamed outputs of torch and ONNX Runtime
differ by at most {difference:.1g}. Encoder: {job.origin}. Fine-tuned by `{recipe.name}.toml`, seed
{recipe.seed}, {recipe.pace.steps} steps a task of {recipe.pace.batch} segments; \
torch {torch.__version__}.

## Trained on

| source | licence | clips | hours |
|---|---|---|---|
{data_rows(job)}

No clip of role `test` was trained on, or used to choose a threshold.

## Thresholds

For {medium:g} false alarms an hour, on {stream:.1f} h of validation clips; recall is that of the
validation clips that say the word, as recorded.

| word | threshold | recall, % | of clips |
|---|---|---|---|
{points}
"""


def _voices(point: VoicePoint | None) -> str:
    if point is None:
        return "Too few validation speakers say a word several times, so that it has no threshold."
    return (
        f"From a cosine of {point.threshold:.4f} to the mean of five clips on it is that voice: "
        f"{point.false_accepts:.1%} of the same words by others are accepted, and "
        f"{point.false_rejects:.1%} of the own rejected ({point.speakers} validation speakers)."
    )
