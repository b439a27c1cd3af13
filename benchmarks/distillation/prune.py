"""Table c: prune the teacher with hand-picked layers and with groups, and see what is left.

    python benchmarks/distillation/prune.py --data DATA --teachers TEACHERS --runs RUNS

A pruned teacher is judged by a linear classifier on the mean of its last second (SUPERB's way, one
layer): trained on the study's words, tested on Speech Commands of role test.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from inputs import clips_under
from kwspot_export.distill import Distillation, open_acoustics
from kwspot_export.examples import Examples
from kwspot_export.finetune import Finetuning
from kwspot_export.heads import POOL
from kwspot_export.prunable import parameters
from kwspot_export.prune_teacher import prune_teacher
from kwspot_export.skill import Groups
from kwspot_export.teachers import Teacher, open_teacher
from run import MANIFESTS, study_parser, write_result
from spotting import COMMANDS, SC12, in_noise
from study import KEYWORDS, SCRATCH, WHISPER, Tuned, distill_recipe, finetune_recipe
from torch.nn import functional

from kwspot.features import FloatArray
from kwspot.manifest import read_data
from kwspot.material import Material

HAND_PICKED: Groups = ((0,), (2,), (4,))  # in equal steps, as DPHuBERT's 0, 4, 8, 12
GROUPS = 3
STEPS = 160  # of stage 1; stage 2 has half as many
LONGER = 5 * STEPS
SPARSITIES = 0.25, 0.5, 0.75
TRAINED_ON = 150  # examples of a label, half of them in noise
TESTED_IN = {"clean": 0, "5db": 2}  # of the conditions of `in_noise`
BATCH = 32
TIMED = 10  # passes of one batch; the fastest counts


@dataclass(frozen=True)
class Choice:
    """A row: layers taken by hand, or how many groups to find; how long, and how much to remove."""

    groups: int | Groups
    steps: int
    sparsities: tuple[float, ...]


CHOICES = {
    "hand-picked": Choice(HAND_PICKED, STEPS, SPARSITIES),
    "groups": Choice(GROUPS, STEPS, SPARSITIES),
    "groups-longer": Choice(GROUPS, LONGER, (0.25,)),
}


@dataclass(frozen=True)
class Probe:
    """What a classifier is trained and tested on: windows (N, samples) in int16, and labels."""

    trained: tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]
    tested: dict[str, tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]]

    def measure(self, teacher: Teacher) -> dict[str, float]:
        """Train and test on a teacher's last layer; also count its parameters and time it."""
        windows, labels = self.trained
        features = _pooled(teacher, windows)
        mean, scale = features.mean(dim=0), features.std(dim=0).clamp_min(1e-4)
        linear = _fit((features - mean) / scale, torch.from_numpy(labels))
        found = {"parameters": float(parameters(teacher.model)), "ms_per_second": _cost(teacher)}
        for name, (windows, labels) in self.tested.items():
            guessed = linear((_pooled(teacher, windows) - mean) / scale).argmax(dim=1).numpy()
            found[f"sc12_{name}"] = 100 * float(np.mean(guessed == labels))
        return found


def main() -> None:
    """Prune and measure every row that has no result yet."""
    parser = study_parser(__doc__)
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.results.mkdir(parents=True, exist_ok=True)
    probe = _open_probe(args)
    teacher = open_teacher(args.teachers / WHISPER.source, args.device)
    recipe = distill_recipe("skill", "medium", 1)
    segments = Distillation(
        recipe, args.data, args.runs / "none", args.runs / "cache", args.teachers
    ).segments
    whole = args.results / "c-full-0-1.json"
    if not whole.exists():
        write_result(whole, "c", "full", "0 %", 1, probe.measure(teacher), 0.0)
    for seed in range(1, args.seeds + 1):
        for row in args.choices:
            choice = CHOICES[row]
            for sparsity in choice.sparsities:
                path = args.results / f"c-{row}-{100 * sparsity:.0f}-{seed}.json"
                if path.exists():
                    continue
                begun = time.monotonic()
                folder = args.runs / f"pruned-{row}-{100 * sparsity:.0f}-{seed}"
                prune_teacher(
                    teacher, segments, folder, sparsity, choice.groups, choice.steps, seed
                )
                seconds = time.monotonic() - begun
                measured = probe.measure(open_teacher(folder, args.device))
                size = f"{100 * sparsity:.0f} %"
                write_result(path, "c", row, size, seed, measured, seconds)
                print(row, size, seed, measured, flush=True)


def _open_probe(args: argparse.Namespace) -> Probe:
    """Compose the windows, or read those of an earlier call."""
    path = args.runs / "cache" / "study" / "probe.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        trained = _trained_on(args)
        windows, labels = _tested_on(args)
        np.savez(path, audio=trained[0], labels=trained[1], windows=windows, tested=labels)
    kept = np.load(path)
    tested = {
        name: (kept["windows"][:, number], kept["tested"]) for number, name in enumerate(TESTED_IN)
    }
    return Probe((kept["audio"], kept["labels"]), tested)


def _trained_on(args: argparse.Namespace) -> tuple[npt.NDArray, npt.NDArray]:
    recipe = finetune_recipe(Tuned(SCRATCH, "medium", 1, KEYWORDS))
    job = Finetuning(recipe, args.data, args.runs / "none", args.runs / "cache")
    examples: Examples = job.examples
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [
            np.resize(rng.permutation(np.flatnonzero(examples.labels == label)), TRAINED_ON)
            for label in (examples.names.index(name) for name in SC12)
        ]
    )
    acoustics = open_acoustics(job.corpus, recipe.sound)
    dry = examples.segments.audio(rows)
    noisy = [acoustics.worsen(x, rng) if i % 2 else x for i, x in enumerate(dry)]
    labels = np.array([SC12.index(examples.names[label]) for label in examples.labels[rows]])
    return _int16(np.stack(noisy)), labels


def _tested_on(args: argparse.Namespace) -> tuple[npt.NDArray, npt.NDArray]:
    clips = read_data(args.data, MANIFESTS)
    chosen = clips_under(clips, "test", COMMANDS)
    talkers, noises = clips_under(clips, "test", "speech/"), clips_under(clips, "test", "noise/")
    windows = np.stack(list(in_noise(chosen, Material((), (), tuple(talkers), tuple(noises)))))
    by_condition = windows.reshape(len(chosen), -1, windows.shape[1])
    labels = np.array([SC12.index(clip.name.split("/")[2]) for clip in chosen])
    return _int16(by_condition[:, list(TESTED_IN.values())]), labels


def _int16(samples: FloatArray) -> npt.NDArray[np.int16]:
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


def _pooled(teacher: Teacher, windows: npt.NDArray[np.int16]) -> torch.Tensor:
    """Average the last layer over the last second: (N, samples) -> (N, D)."""
    frames = round(POOL * 0.04 * teacher.rate_hz)
    parts = [
        teacher(torch.from_numpy(windows[i : i + BATCH].astype(np.float32) / 32767)).layers[-1]
        for i in range(0, len(windows), BATCH)
    ]
    return torch.cat([part[:, -frames:].mean(dim=1) for part in parts])


def _fit(features: torch.Tensor, labels: torch.Tensor) -> torch.nn.Linear:
    """Fit multinomial logistic regression with a little weight decay."""
    linear = torch.nn.Linear(features.shape[1], len(SC12))
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        total = functional.cross_entropy(linear(features), labels)
        total = total + 1e-3 * linear.weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return linear.requires_grad_(False)


def _cost(teacher: Teacher) -> float:
    """Milliseconds of CPU for a second of audio on one thread."""
    audio = torch.zeros(8, 25600)
    spent = []
    for _ in range(TIMED):
        begun = time.process_time()
        teacher(audio)
        spent.append(time.process_time() - begun)
    return 1000 * min(spent) / (8 * 1.6)


if __name__ == "__main__":
    main()
