"""Toy recipes of distillation and fine-tuning, and a random teacher that they can load."""

from pathlib import Path

import torch

SOUND = """
[sound]
manifests = ["real.csv", "made.csv"]
noises = ["noise/"]
rooms = ["rooms/"]
unheard = ["poob peeb"]
segments = 48
variants = 1

[sound.speech]
"wake/" = 0.3
"made/" = 0.2
"speech/" = 0.4
"other/" = 0.1

[sound.licences]
toy-wake = "public domain"
toy-speech = "CC BY 4.0"
toy-sounds = "MIT"
kokoro-82m = "Apache-2.0"
"""

PACE = """
[pace]
steps = 6
batch = 8
warm_up = 2
save_every = 3
"""

STUDENT = """
[student]
channels = 8
dilations = [1, 2]
"""

TEACHER = """
[[teachers]]
source = "whisper"
layers = [0, 1, 2]
"""

TWO_TEACHERS = """
[[teachers]]
source = "whisper"
layers = [2]

[[teachers]]
source = "hubert"
layers = [1]
"""

OBJECTIVES = {
    "distance": TEACHER + "[distance]\nlayers = [1, 2]\n",
    "s3rl": TEACHER + "[s3rl]\nlayer = 1\ndimensions = 4\nclusters = 8\nmask_start = 0.2\n",
    "skill": TEACHER + "[skill]\ngroups = 2\ncalibration = 16\n",
    "ensemble": TWO_TEACHERS + '[ensemble]\nstrategy = "heads"\n',
}


def distill_text(kind: str, finetune: str = "") -> str:
    head = f'name = "{kind}"\nlicence = "Apache-2.0"\nseed = 3\nfinetune = "{finetune}"\n'
    return head + OBJECTIVES[kind] + STUDENT + PACE + SOUND


def finetune_text(speakers: bool = True, head: str = "") -> str:
    text = 'name = "words"\nlicence = "Apache-2.0"\nseed = 3\n' + head
    text += '[keywords]\nwords = ["beep boop"]\n'
    if speakers:
        text += '[speakers]\nclips = ["wake/", "other/"]\nsize = 6\n'
    return text + STUDENT + PACE + SOUND


def write_teachers(folder: Path) -> Path:
    """Write a random Whisper encoder and a random HuBERT as transformers' folders."""
    from transformers import HubertConfig, HubertModel, WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        num_mel_bins=80,
        max_source_positions=1500,
    )
    WhisperEncoder(config).save_pretrained(folder / "whisper")
    hubert = HubertConfig(
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    HubertModel(hubert).save_pretrained(folder / "hubert")
    return folder
