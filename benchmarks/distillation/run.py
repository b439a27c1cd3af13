"""Train and measure every row of tables a, b and d; what is there already is left as it is.

    python benchmarks/distillation/run.py --data DATA --teachers TEACHERS --runs RUNS

Each result is one file in results/; `render.py` makes the tables of them. Table c is `prune.py`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from kwspot_export.distill import Distillation, open_bank
from kwspot_export.encoder_file import load_encoder
from kwspot_export.finetune import Finetuning
from kwspot_export.heads import JointNet, trailing_mean
from network import Network
from study import ENCODERS, SCRATCH, Row, Tuned, distill_recipe, finetune_recipe, rows
from tasks import Study

from kwspot.bench import machine
from kwspot.manifest import read_data

HERE = Path(__file__).parent
MANIFESTS = "manifest_real.csv", "manifest_tts.csv"


def main() -> None:
    """Prepare what all rows share, then train and measure the rows, some at a time."""
    parser = study_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="rows at a time")
    parser.add_argument("--tables", default="abd", help="letters of tables (default: abd)")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in rows(args.seeds) if row.table in args.tables]
    wanted = [row for row in wanted if not _path(args.results, row).exists()]
    _prepare(wanted, args)
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in wanted:
        groups.setdefault((row.net.encoder, row.net.size, row.net.seed), []).append(row)
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_group, group, args) for group in groups.values()]
        for done, job in enumerate(as_completed(jobs), start=1):
            print(f"{done}/{len(jobs)} encoders: {job.result()}", flush=True)


def study_parser(text: str) -> argparse.ArgumentParser:
    """Make a parser of the options that all parts of the study have; `text` describes the part."""
    parser = argparse.ArgumentParser(description=text.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument("--teachers", type=Path, required=True, help="folder of the teachers")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for runs, caches")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... (default: cpu)")
    return parser


def _prepare(wanted: list[Row], args: argparse.Namespace) -> None:
    """Cache teachers and features once, before several processes ask for them."""
    cache = args.runs / "cache"
    names = dict.fromkeys(row.net.encoder for row in wanted if row.net.encoder != SCRATCH)
    # One encoder for each set of teachers: objectives share what their teachers said.
    for name in {ENCODERS[name].teachers: name for name in names}.values():
        recipe = distill_recipe(name, "medium", 1)
        job = Distillation(
            recipe, args.data, args.runs / "none", cache, args.teachers, args.device, 2, _say
        )
        job.build_targets()
        open_bank(job.segments, recipe, cache, 2, _say)
    if wanted:
        tuning = Finetuning(
            finetune_recipe(wanted[0].net), args.data, args.runs / "none", cache, report=_say
        )
        open_bank(tuning.examples.segments, tuning.recipe, cache, 2, _say)
        _open_study(args)


def _group(group: list[Row], args: argparse.Namespace) -> str:
    """Train one encoder and all nets on it, and measure them."""
    torch.set_num_threads(1)
    study, first = _open_study(args), group[0].net
    encoder, seconds, before = None, 0.0, {}
    if first.encoder != SCRATCH:
        recipe = distill_recipe(first.encoder, first.size, first.seed)
        folder, cache = args.runs / recipe.name, args.runs / "cache"
        begun = time.monotonic()
        job = Distillation(recipe, args.data, folder, cache, args.teachers, args.device, 0)
        encoder = folder / "encoder.pt"
        if not encoder.exists():
            job.fit(lambda step: None)
        seconds = time.monotonic() - begun
        before = _of_encoder(study, encoder, recipe.front_end)
    measured: dict[Tuned, tuple[dict, float]] = {}
    for row in group:
        if row.net not in measured:
            begun = time.monotonic()
            net = _tuned(row.net, encoder, args)
            spent = time.monotonic() - begun
            measured[row.net] = _measure(study, net, row.net) | before, seconds + spent
        values, spent = measured[row.net]
        net, path = row.net, _path(args.results, row)
        write_result(path, row.table, row.row, net.size, net.seed, values, spent)
    return f"{first.encoder}, {first.size}, seed {first.seed}"


def _tuned(plan: Tuned, encoder: Path | None, args: argparse.Namespace) -> Finetuning:
    folder, cache = args.runs / plan.name, args.runs / "cache"
    job = Finetuning(finetune_recipe(plan), args.data, folder, cache, encoder, args.device, 0)
    job.fit(lambda step: None)
    return job


def _measure(study: Study, job: Finetuning, plan: Tuned) -> dict[str, float | None]:
    net: JointNet = job.net.cpu().eval()

    def embed(x: torch.Tensor) -> torch.Tensor:
        return trailing_mean(net.encoder(x))[:, -1]

    network = Network(
        labels=job.examples.names,
        logits=(lambda x: net(x)[0]) if "keywords" in plan.tasks else None,
        # A net that never learnt voices is asked what it happens to know of them.
        voice=(lambda x: net(x)[1][:, -1]) if "speakers" in plan.tasks else embed,
        embed=embed,
    )
    return vars(study.measure(network))


def _of_encoder(study: Study, path: Path, front_end: object) -> dict[str, float | None]:
    """Measure an encoder as it was distilled, by the mean of its last second."""
    encoder, _, _ = load_encoder(path, front_end)
    encoder.eval()

    def embed(x: torch.Tensor) -> torch.Tensor:
        return trailing_mean(encoder(x))[:, -1]

    found = vars(study.measure(Network(voice=embed, embed=embed)))
    return {f"distilled_{name}": value for name, value in found.items() if value is not None}


def _open_study(args: argparse.Namespace) -> Study:
    clips = read_data(args.data, MANIFESTS)
    return Study.open(clips, args.runs / "cache" / "study")


def _path(results: Path, row: Row) -> Path:
    return results / f"{row.table}-{row.row}-{row.net.size}-{row.net.seed}.json"


def write_result(
    path: Path,
    table: str,
    row: str,
    size: str,
    seed: int,
    measured: dict[str, float | None],
    seconds: float,
) -> None:
    """Write one result, with the commit and the machine it was made on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    )
    result = {
        "table": table,
        "row": row,
        "size": size,
        "seed": seed,
        "measured": measured,
        "seconds": round(seconds, 1),
        "commit": commit.stdout.strip() or "unknown",
        "machine": _describe(),
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    partial.rename(path)


def _describe() -> str:
    here = machine()
    return f"{here.cpu}, {here.cores} cores, {here.system}, torch {torch.__version__}"


def _say(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done}/{total} ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
