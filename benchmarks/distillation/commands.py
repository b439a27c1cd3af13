"""Accuracy of the model `commands` on the test part of Speech Commands, clean and in noise.

```
python benchmarks/distillation/commands.py --data DIR
```

Of the twelve labels a model file leaves silence and unknown words out: they are taken from where
its graph still has them.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from kwspot_export.examples import BACKGROUND
from network import Network
from spotting import SC12, SNRS, SpeechCommands
from torch import Tensor

from kwspot import load_model
from kwspot.bench import machine
from kwspot.features import FloatArray
from kwspot.manifest import read_data
from kwspot.model import sha256_of

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "models" / "commands.onnx"
RESULT = HERE.parent / "results" / "commands.json"
MANIFESTS = ("manifest_real.csv",)
CONDITIONS = ("clean", *(f"noise:{snr:g}" for snr in SNRS))


def main() -> None:
    """Measure a model file and write results/commands.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests")
    parser.add_argument("--model", type=Path, default=MODEL, help="(default: %(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/cache/study"), help="(default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help="(default: %(default)s)")
    args = parser.parse_args()
    network = network_of(args.model)
    task = SpeechCommands.open(read_data(args.data, MANIFESTS), args.cache)
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
    record = {
        "machine": asdict(machine()),
        "sha256": sha256_of(load_model(args.model)),
        "clips": counts,
        "accuracy": accuracy,
    }
    args.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    args.output.with_suffix(".md").write_text(_table(record), encoding="utf-8")
    print(_table(record), end="")


def network_of(path: Path) -> Network:
    """Open a model file of several words, streamed step by step, with all labels that it learnt.

    Its graph ends with leaving the first labels out: `logits` are the posteriors before that.
    """
    info = load_model(path).info
    proto = onnx.load(path)
    (last,) = (node for node in proto.graph.node if "posteriors" in node.output)
    proto.graph.output.append(onnx.ValueInfoProto(name=last.input[0]))
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    wanted = [last.input[0], *(state.output for state in info.states)]

    def stream(window: FloatArray) -> FloatArray:
        memory = [np.zeros(state.shape, np.float32) for state in info.states]
        answers = []
        for features in window.reshape(-1, info.frames_per_step, info.front_end.mels):
            before = {state.input: one for state, one in zip(info.states, memory, strict=True)}
            posteriors, *memory = session.run(wanted, {"features": features, **before})
            answers.append(posteriors)
        return np.concatenate(answers)

    def answer(windows: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([stream(window) for window in windows.numpy()]))

    labels = (*BACKGROUND, *(keyword.label for keyword in info.keywords))
    return Network(labels=labels, logits=answer)


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
