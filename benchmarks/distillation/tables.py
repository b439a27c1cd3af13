"""What the tables of the study hold: rows, columns, claims, and what the papers report.

Numbers of papers carry how they are known: read in the paper itself, or quoted by others.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A metric of a result under `measured`, its title, and how it is written."""

    metric: str
    title: str
    digits: int = 1
    scale: float = 1.0


@dataclass(frozen=True)
class Claim:
    """Two rows and a metric in which the first is said to be better, or no worse."""

    row: str
    other: str
    metric: str


@dataclass(frozen=True)
class Paper:
    """The paper's own numbers: `note` says what they are and how they are known."""

    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Table:
    """One table: rows from name to title, in order, for each size; the baseline is the first."""

    title: str
    rows: dict[str, str]
    sizes: tuple[str, ...]
    columns: tuple[Column, ...]
    claims: tuple[Claim, ...]
    paper: Paper


ACCURACY = (
    Column("sc12_clean", "SC-12 clean"),
    Column("sc12_10db", "SC-12 10 dB"),
    Column("sc12_5db", "SC-12 5 dB"),
    Column("sc12_0db", "SC-12 0 dB"),
)
MISSES = (
    Column("alexa_frr_clean_1fah", "alexa FRR clean"),
    Column("alexa_frr_10db_1fah", "alexa FRR 10 dB"),
    Column("alexa_frr_5db_1fah", "alexa FRR 5 dB"),
)
EMBEDDING = (
    Column("eer_sc", "EER SC"),
    Column("eer_arabic", "EER Arabic"),
    Column("five_shot_recall_1pct", "5-shot recall"),
    Column("distilled_five_shot_recall_1pct", "as distilled"),
)
COST = (
    Column("parameters", "parameters, k", 0, 1e-3),
    Column("ms_per_second", "ms per s of audio", 2),
)

TABLES = {
    "a": Table(
        title="Dual-view cross-correlation and a teacher codebook (S3RL)",
        rows={
            "scratch": "from scratch",
            "distance": "distance to the teacher",
            "feature": "feature view",
            "batch": "batch view",
            "both": "dual view",
            "codebook": "codebook",
            "both+codebook": "dual view + codebook",
        },
        sizes=("medium", "small"),
        columns=(*ACCURACY, *MISSES, *EMBEDDING),
        claims=(
            Claim("distance", "scratch", "sc12_5db"),
            Claim("both", "distance", "sc12_5db"),
            Claim("both", "feature", "sc12_5db"),
            Claim("both", "batch", "sc12_5db"),
            Claim("both+codebook", "both", "sc12_5db"),
            Claim("both+codebook", "distance", "sc12_5db"),
            Claim("both", "scratch", "sc12_clean"),
            Claim("both", "scratch", "sc12_5db"),
            Claim("both", "scratch", "alexa_frr_10db_1fah"),
            Claim("both", "scratch", "five_shot_recall_1pct"),
        ),
        paper=Paper(
            note="Yang et al. 2023, arXiv 2307.02720, as quoted by others: false accepts relative "
            "to the 21 M student without distillation at its operating point (lower is better); "
            "single views and the codebook alone are not quoted",
            head=("row", "21 M, normal", "21 M, playback noise", "1.6 M, normal", "1.6 M, noise"),
            rows=(
                ("no distillation", "1.000", "1.000", "1.17", "1.22"),
                ("distance", "0.937", "0.901", "", ""),
                ("dual view", "0.854", "0.787", "", ""),
                ("dual view + codebook", "0.850", "0.762", "1.07", "1.09"),
            ),
        ),
    ),
    "b": Table(
        title="Distil, then fine-tune jointly for keywords and speakers",
        rows={
            "scratch": "joint, from scratch",
            "scratch-keyword": "keyword alone, from scratch",
            "scratch-speaker": "speaker alone, from scratch",
            "keyword-frozen": "keyword alone, frozen",
            "speaker-frozen": "speaker alone, frozen",
            "joint-frozen": "joint, frozen",
            "keyword": "keyword alone, fine-tuned",
            "speaker": "speaker alone, fine-tuned",
            "joint": "joint, fine-tuned",
        },
        sizes=("medium", "large"),
        columns=(*ACCURACY, *MISSES, *EMBEDDING[:2]),
        claims=(
            Claim("scratch", "scratch-keyword", "sc12_clean"),
            Claim("scratch", "scratch-speaker", "eer_sc"),
            Claim("joint", "keyword", "sc12_clean"),
            Claim("joint", "speaker", "eer_sc"),
            Claim("joint", "joint-frozen", "sc12_clean"),
            Claim("joint", "joint-frozen", "eer_sc"),
            Claim("joint", "scratch", "sc12_clean"),
            Claim("joint", "scratch", "eer_sc"),
        ),
        paper=Paper(
            note="Kerpicci et al. 2022, arXiv 2210.16611, read in the paper: accuracy on Speech "
            "Commands v1 with 12 labels, EER on VoxCeleb1, both in %",
            head=("row", "accuracy", "EER"),
            rows=(
                ("teacher 96 M, frozen", "90.33", "20.5"),
                ("teacher 96 M, single tasks", "98.10", "3.35"),
                ("teacher 96 M, joint", "98.19", "3.15"),
                ("DistilledHuBERT 27 M, frozen", "91.27", "12.67"),
                ("DistilledHuBERT 27 M, single tasks", "97.82", "4.26"),
                ("DistilledWav2vec 27 M, single tasks", "98.01", "4.48"),
                ("DistilledHuBERT 27 M, joint", "97.90", "4.27"),
            ),
        ),
    ),
    "c": Table(
        title="Groups of layers and structured pruning (SKILL)",
        rows={
            "full": "not pruned",
            "hand-picked": "hand-picked layers",
            "groups": "groups of layers",
            "groups-longer": "groups, five times as long",
        },
        sizes=("0 %", "25 %", "50 %", "75 %"),
        columns=(*COST, ACCURACY[0], ACCURACY[2]),
        claims=(
            Claim("groups", "hand-picked", "sc12_clean"),
            Claim("groups", "hand-picked", "sc12_5db"),
        ),
        paper=Paper(
            note="Zampierin et al. 2024, arXiv 2402.16830: SUPERB at a sparsity of 75 %, read in "
            "the paper; hand-picked layers are DPWavLM and DPHuBERT; of SKILL its abstract says "
            "better than DPWavLM at every sparsity, with less gain where layers are alike (HuBERT)",
            head=("row", "parameters, M", "KS accuracy", "PR PER", "SID accuracy", "ASV EER"),
            rows=(
                ("WavLM Base+, not pruned", "94.7", "97.37", "3.92", "89.42", "4.07"),
                ("DPWavLM", "23.6", "96.27", "8.22", "82.11", "5.98"),
                ("DPHuBERT", "23.6", "96.36", "9.67", "76.83", "5.84"),
                ("DistilHuBERT", "23.5", "95.98", "16.27", "73.54", "8.55"),
            ),
        ),
    ),
    "d": Table(
        title="Ensembles of teachers",
        rows={
            "scratch": "from scratch",
            "whisper": "Whisper alone",
            "speech_embedding": "speech_embedding alone",
            "wakehubert": "WakeHuBERT alone",
            "average": "average of teachers (A)",
            "concatenation": "concatenation (B)",
            "heads": "a head for each teacher (C)",
        },
        sizes=("medium",),
        columns=(*ACCURACY, *MISSES, *EMBEDDING),
        claims=(
            Claim("whisper", "scratch", "sc12_5db"),
            Claim("wakehubert", "scratch", "sc12_5db"),
            Claim("speech_embedding", "scratch", "sc12_5db"),
            Claim("average", "concatenation", "sc12_5db"),
            Claim("heads", "average", "sc12_5db"),
            Claim("heads", "whisper", "sc12_5db"),
            Claim("heads", "speech_embedding", "sc12_5db"),
            Claim("heads", "scratch", "sc12_5db"),
            Claim("heads", "scratch", "eer_sc"),
            Claim("heads", "scratch", "five_shot_recall_1pct"),
        ),
        paper=Paper(
            note="Huang et al. 2023, arXiv 2302.12757, from the abstract and without numbers: A is "
            "better than B, and C, several heads for several teachers at once, is the method "
            "proposed; tasks are phonemes, speakers, emotion and speech recognition of SUPERB's "
            "hidden set",
            head=(),
            rows=(),
        ),
    ),
}
