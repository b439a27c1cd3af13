"""An evaluation as pictures: recall in each condition, and DET curves."""

from typing import TYPE_CHECKING

from kwspot.conditions import parse_condition
from kwspot.evaluation import Evaluation
from kwspot.operating import MOST

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR = 0.28  # inches a condition
COLUMNS = 3  # DET plots side by side
BLUE = "#4878a8"
LEAST_RATE, LEAST_MISSED = 0.1, 0.001  # where the logarithmic axes begin; less is drawn there


def recall_plot(result: Evaluation) -> "Figure":
    """Draw recall in each condition with its interval, over clips where none over speakers is."""
    from matplotlib.figure import Figure

    recalls = result.recalls
    drawing = Figure(figsize=(8, 1 + BAR * len(recalls)), layout="constrained")
    axes = drawing.subplots()
    shares = [100 * recall.recall for recall in recalls]
    intervals = [recall.speaker_interval or recall.interval for recall in recalls]
    # An interval of the bootstrap need not hold the share itself.
    below = [max(0.0, share - 100 * i.low) for share, i in zip(shares, intervals, strict=True)]
    above = [max(0.0, 100 * i.high - share) for share, i in zip(shares, intervals, strict=True)]
    axes.barh([recall.condition for recall in recalls], shares, xerr=(below, above), color=BLUE)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("recall, %")
    return drawing


def det_plot(result: Evaluation) -> "Figure":
    """Draw the share missed against false alarms an hour, a plot a kind of condition."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    kinds: dict[str, list[int]] = {}
    for number, recall in enumerate(result.recalls):
        kinds.setdefault(_kind(recall.condition), []).append(number)
    rows = -(-len(kinds) // COLUMNS)
    width = min(len(kinds), COLUMNS)
    drawing = Figure(figsize=(max(5, 3.6 * width), 3.4 * rows), layout="constrained")
    grid = drawing.subplots(rows, width, squeeze=False, sharex=True, sharey=True).ravel()
    rates = [max(rate, LEAST_RATE) for rate in result.det.per_hour]
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for axes, (kind, numbers) in zip(grid, kinds.items(), strict=False):
        for number in numbers:
            missed = [100 * max(share, LEAST_MISSED) for share in result.det.missed[number]]
            name = result.recalls[number].condition
            axes.step(rates, missed, where="post", label=name, marker=".", markersize=3)
        axes.set(title=kind, xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(plain)
            axis.set_minor_formatter(NullFormatter())
        axes.set(xlim=(LEAST_RATE, MOST), ylim=(80 * LEAST_MISSED, 120))  # lines at the edges show
        axes.xaxis.set_tick_params(labelbottom=True)  # also where an empty place is below
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    for axes in grid[len(kinds) :]:
        axes.set_visible(False)
    drawing.supxlabel("false alarms an hour")
    drawing.supylabel("missed, %")
    return drawing


def _kind(condition: str) -> str:
    """Return what conditions that share a plot have in common."""
    parsed = parse_condition(condition)
    if parsed.kind != "clean":
        return parsed.kind
    changes = {
        "room": parsed.room,
        "speed": parsed.speed != 1,
        "level": parsed.level_db is not None,
    }
    return " + ".join(name for name, changed in changes.items() if changed) or "clean"
