"""Accuracy of the model `commands` on the test part of Speech Commands, clean and in noise.

```
python benchmarks/distillation/commands.py --data DIR --run RUN
```

RUN is the folder of a finished `kwspot finetune --recipe export/recipes/commands.toml`. Of the
twelve labels its model file does not report silence and unknown words, so the net is measured.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from kwspot_export.distill_recipe import read_finetune_recipe
from kwspot_export.finetune import Finetuning
from kwspot_export.loop import load_weights
from network import Network
from spotting import SC12, SNRS, SpeechCommands

from kwspot.bench import machine
from kwspot.manifest import read_data

HERE = Path(__file__).parent
RESULT = HERE.parent / "results" / "commands.json"
CONDITIONS = ("clean", *(f"noise:{snr:g}" for snr in SNRS))


def main() -> None:
    """Measure a run and write results/commands.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument("--run", type=Path, required=True, help="folder of the finished run")
    parser.add_argument("--encoder", type=Path, help="what the run began with, if it did")
    parser.add_argument("--output", type=Path, default=RESULT, help="(default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_finetune_recipe(HERE.parents[1] / "export" / "recipes" / "commands.toml")
    cache = args.run.parent / "cache"
    job = Finetuning(recipe, args.data, args.run, cache, args.encoder)
    load_weights(job.net, args.run / "model.pt")
    net = job.net.eval()
    network = Network(labels=job.examples.names, logits=lambda x: net(x)[0])
    clips = read_data(args.data, recipe.sound.manifests)
    task = SpeechCommands.open(clips, cache / "study")
    with torch.inference_mode():
        right = [task.decide(network, n) == task.labels for n in range(len(CONDITIONS))]
    accuracy = {
        condition: {
            "all": 100 * float(np.mean(hits)),
            **{
                label: 100 * float(np.mean(hits[task.labels == number]))
                for number, label in enumerate(SC12)
            },
        }
        for condition, hits in zip(CONDITIONS, right, strict=True)
    }
    counts = {label: int(np.sum(task.labels == number)) for number, label in enumerate(SC12)}
    record = {"machine": machine().cpu, "clips": counts, "accuracy": accuracy}
    args.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    args.output.with_suffix(".md").write_text(_table(record), encoding="utf-8")
    print(_table(record), end="")


def _table(record: dict) -> str:
    lines = [
        "Accuracy of `commands` on the test part of Speech Commands, %, by label and condition.",
        "",
        f"| label | clips | {' | '.join(CONDITIONS)} |",
        f"| --- | ---: |{' ---: |' * len(CONDITIONS)}",
    ]
    for label in ("all", *SC12):
        clips = sum(record["clips"].values()) if label == "all" else record["clips"][label]
        values = (f"{record['accuracy'][condition][label]:.1f}" for condition in CONDITIONS)
        lines.append(f"| {label} | {clips} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
