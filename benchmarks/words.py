"""What several words cost: a file each in one detector, and one file with a head each.

```
python benchmarks/words.py             measures; writes results/words.json and .md
python benchmarks/words.py --render    writes words.md again
```

Words are copies of a model under other labels, with biases a little apart so that no head can be
shared; what a word costs does not depend on which word it is. One file of them is what
`kwspot merge` makes. Needs kwspot-export.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from kwspot_export.merge import merge
from kwspot_export.onnx_export import save_described
from onnx import numpy_helper

from kwspot.bench import Case, Report, benchmark, dump_report, kwspot_engine, parse_report
from kwspot.commands.bench import FIGURES, cells, conditions
from kwspot.model import OnnxModel

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "alexa.onnx"
RESULTS = ROOT / "benchmarks" / "results" / "words.json"
COUNTS = (3, 10)
ONE = "1 word"
SHOWN = ("cpu_ms_per_s", "peak_rss_mib")  # of the wall clock, the JSON tells


def main() -> None:
    """Measure or render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="processes a case (default: 15)")
    parser.add_argument("--seconds", type=float, default=60.0, help="audio a run (default: 60)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON; the table goes next")
    parser.add_argument("--render", action="store_true", help="write the table again")
    args = parser.parse_args()
    if not args.render:
        with tempfile.TemporaryDirectory() as folder:
            report = benchmark(_cases(Path(folder)), seconds=args.seconds, runs=args.runs)
        args.output.write_text(dump_report(report) + "\n", encoding="utf-8")
    report = parse_report(args.output.read_text(encoding="utf-8"), args.output.name)
    args.output.with_suffix(".md").write_text(_table(report), encoding="utf-8")


def _cases(folder: Path) -> list[Case]:
    """Write the files; return one word, several files and one file of each number of words."""
    words = [_word(folder, number) for number in range(max(COUNTS))]
    models = {ONE: words[:1]}
    for count in COUNTS:
        merged = folder / f"merged{count}.onnx"
        merge(words[:count], merged)
        models[f"{count} words, a file each"] = words[:count]
        models[f"{count} words, one file"] = [merged]
    return [
        Case(kwspot_engine(name, [str(path) for path in paths], "off"), "speech")
        for name, paths in models.items()
    ]


def _word(folder: Path, number: int) -> Path:
    model, info = onnx.load(MODEL), OnnxModel(MODEL).info
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "head.bias")
    values = numpy_helper.to_array(bias) + np.float32(number / 100)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    keyword = replace(info.keywords[0], label=f"word {number}")
    path = folder / f"word{number}.onnx"
    save_described(model, replace(info, keywords=(keyword,)), path)
    return path


def _table(report: Report) -> str:
    one = next(result for result in report.results if result.name == ONE)
    reference = one.summary["cpu_ms_per_s"]
    titles = [FIGURES[figure][0] for figure in SHOWN]
    titles += ["CPU of one word, times", "by the lowest"]
    lines = [f"| | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(titles)}"]
    for result in report.results:
        cpu = result.summary["cpu_ms_per_s"]
        times = f"{cpu.median / reference.median:.2f} | {cpu.lowest / reference.lowest:.2f}"
        lines.append(f"| {result.name} | {' | '.join(cells(result, SHOWN))} | {times} |")
    lines += ["", *(f"{line}." for line in conditions(report)), ""]
    lines += [
        "Words are copies of `models/alexa.onnx` with other labels and biases; one file is what",
        "`kwspot merge` makes of them. The lowest figure of a range is the one to compare where",
        "other work runs on the machine.",
        "",
        "Made by `python benchmarks/words.py`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
