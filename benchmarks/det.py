"""What the shipped words miss against how often they wake for nothing: results/det.png.

    python benchmarks/det.py

draws it from the results of `kwspot eval` in results/.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

RESULTS = Path(__file__).parent / "results"
FILES = "alexa.json", "computer.json", "jarvis.json"
LEAST_RATE, MOST_RATE = 0.1, 20.0  # false alarms an hour; less is drawn at the edge
LEAST_MISSED = 0.5  # %


@dataclass(frozen=True)
class Curves:
    """Shares missed at rising false alarms an hour, by condition."""

    keyword: str
    per_hour: Sequence[float]
    missed: dict[str, Sequence[float]]


def read_curves(path: Path) -> Curves:
    """Read the curves of what `kwspot eval --output` wrote."""
    result = json.loads(path.read_text(encoding="utf-8"))["result"]
    conditions = [recall["condition"] for recall in result["recalls"]]
    missed = dict(zip(conditions, result["det"]["missed"], strict=True))
    return Curves(result["keyword"], result["det"]["per_hour"], missed)


def draw(words: Sequence[Curves]) -> Figure:
    """Draw a plot for each condition that all words have, with a curve for each word."""
    conditions = [c for c in words[0].missed if all(c in word.missed for word in words)]
    drawing = Figure(figsize=(3.6 * len(conditions), 3.4), layout="constrained")
    grid = drawing.subplots(1, len(conditions), squeeze=False, sharex=True, sharey=True)[0]
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for axes, condition in zip(grid, conditions, strict=True):
        for word in words:
            rates = [max(rate, LEAST_RATE) for rate in word.per_hour]
            missed = [max(100 * share, LEAST_MISSED) for share in word.missed[condition]]
            axes.step(rates, missed, where="post", label=word.keyword)
        axes.set(title=condition, xscale="log", yscale="log")
        axes.set(xlim=(LEAST_RATE, MOST_RATE), ylim=(LEAST_MISSED, 100))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(plain)
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    grid[0].legend()
    drawing.supxlabel("false alarms an hour")
    drawing.supylabel("missed, %")
    return drawing


if __name__ == "__main__":
    draw([read_curves(RESULTS / name) for name in FILES]).savefig(RESULTS / "det.png", dpi=110)
