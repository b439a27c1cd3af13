"""A benchmark report as a picture: a bar a case, with the range of its runs."""

import importlib.util
from pathlib import Path

from kwspot.bench import Report
from kwspot.comparison import case
from kwspot.errors import KwspotError

BAR = 0.35  # inches a bar


def require_matplotlib() -> None:
    """Raise KwspotError where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise KwspotError("plots need matplotlib: pip install 'kwspot[plot]'")


def plot(report: Report, titles: dict[str, str], path: Path) -> None:
    """Draw the figures that `titles` names, as far as the report has them, into a file.

    Raises KwspotError where matplotlib is missing or cannot write such a file.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    shown = [f for f in titles if any(f in result.summary for result in report.results)]
    height = 1.2 + BAR * len(report.results)
    drawing = Figure(figsize=(9, height * len(shown)), layout="constrained")
    for axes, figure in zip(drawing.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        results = [result for result in report.results if figure in result.summary]
        spreads = [result.summary[figure] for result in results]
        medians = [spread.median for spread in spreads]
        below = [spread.median - spread.lowest for spread in spreads]
        above = [spread.highest - spread.median for spread in spreads]
        axes.barh([case(r) for r in results], medians, xerr=(below, above), color="#4878a8")
        axes.invert_yaxis()
        axes.set_xlabel(titles[figure])
    machine = report.machine
    drawing.suptitle(f"{machine.cpu}, kwspot {machine.kwspot}, {machine.date}", fontsize="small")
    try:
        drawing.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: a suffix that matplotlib does not know
        raise KwspotError(f"cannot draw {path}: {error}") from error
