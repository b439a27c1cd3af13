"""From a distilled encoder to an ONNX file without keywords, and its card."""

from collections import Counter
from pathlib import Path

from kwspot.modelfile import Provenance
from kwspot_export.card_tables import in_markdown, source_rows
from kwspot_export.distill import Distillation
from kwspot_export.encoder_file import load_encoder
from kwspot_export.finetune import Finetuning
from kwspot_export.onnx_export import export_encoder
from kwspot_export.publish import versions
from kwspot_export.voice_distill import VoiceDistillation


def publish_encoder(job: Distillation, path: Path, output: Path) -> None:
    """Export the encoder file `path` of a run to `output`, and its card beside it (.md)."""
    recipe = job.recipe
    encoder, _, origin = load_encoder(path, recipe.front_end)
    provenance = Provenance(
        licence=recipe.licence,
        data=", ".join(sorted({clip.source for clip in job.clips})),
        recipe=origin,
        versions=versions(),
    )
    name = output.stem
    difference = export_encoder(encoder, name, provenance, output, recipe.front_end)
    parameters = sum(p.numel() for p in encoder.parameters())
    output.with_suffix(".md").write_text(
        f"""# {name}

Hears no keyword: an encoder to build on. Licence of the weights: {recipe.licence}.

{parameters:,} parameters, {origin}. Its output `embedding` is the mean over the last second of \
{encoder.width} values; \
streamed outputs of torch and ONNX Runtime differ by at most {difference:.1g}.

Made by `kwspot distill --recipe export/recipes/{recipe.name}.toml --data DIR --teachers DIR`, \
{recipe.pace.steps} steps of {recipe.pace.batch} segments. To begin a word of one's own with it: \
`kwspot train --encoder RUN/encoder.pt`.

## Heard in training

| source | licence | clips | hours |
|---|---|---|---|
{data_rows(job)}

No clip of role `test` or `validation` was heard.
""",
        encoding="utf-8",
    )


def data_rows(job: Distillation | Finetuning | VoiceDistillation) -> str:
    """Write a row of a card for each source of the clips that were heard."""
    clips: Counter[str] = Counter()
    hours: Counter[str] = Counter()
    for clip in job.clips:
        clips[clip.source] += 1
        hours[clip.source] += clip.seconds / 3600
    sources = {source: (count, hours[source]) for source, count in clips.items()}
    return in_markdown(source_rows(sources, job.recipe.sound.licences))
