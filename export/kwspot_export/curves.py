"""A run's training curves as a picture: every column of metrics.jsonl against the step."""

import json
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def draw_curves(folder: Path, title: str) -> Path | None:
    """Draw `folder/metrics.jsonl` to `folder/curves.png`; return None where matplotlib lacks."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no curves are drawn: pip install matplotlib")
        return None
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name != "step"]
    figure = Figure(figsize=(7, 2.2 * max(1, len(names))), layout="constrained")
    for number, name in enumerate(names):
        axes = figure.add_subplot(len(names), 1, number + 1)
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        if number == 0:
            axes.set_title(title)
    if names:
        axes.set_xlabel("step")
    path = folder / "curves.png"
    figure.savefig(path, dpi=110)
    return path
