"""Write the tables and figures of the study from its results, and say what differs by how much.

```
results/*.json -> README.md, between <!-- table a --> and <!-- end -->; figures/a-medium.png
               -> differences between rows with standard errors, printed
```
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inputs import StudyError
from tables import TABLES, Claim, Column, Paper

from kwspot.errors import KwspotError
from kwspot.records import read_record

HERE = Path(__file__).parent
MISSING = "–"
SNR_METRICS = ("sc12_clean", "sc12_10db", "sc12_5db", "sc12_0db")
SNR_LABELS = ("clean", "10", "5", "0")
BARS = ("alexa_frr_5db_1fah", "eer_sc", "five_shot_recall_1pct")


@dataclass(frozen=True)
class Result:
    """One trained network: its place in a table, what was measured, and what made it."""

    table: str
    row: str
    size: str
    seed: int
    measured: dict[str, float | None]
    seconds: float
    commit: str
    machine: str


def read_results(folder: Path) -> list[Result]:
    """Read all results; raise StudyError for one that no table has a place for, or has twice."""
    results: dict[tuple[str, str, str, int], Result] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StudyError(f"{path.name} is no result: {error}") from error
        result = read_record(Result, values, path.name, StudyError)
        table = TABLES.get(result.table)
        if table is None or result.row not in table.rows or result.size not in table.sizes:
            raise StudyError(
                f"{path.name}: no table has the row {result.row!r} of size {result.size!r} "
                f"in {result.table!r}; see tables.py"
            )
        key = (result.table, result.row, result.size, result.seed)
        if key in results:
            raise StudyError(f"{path.name}: the results have {', '.join(map(str, key))} twice")
        results[key] = result
    return list(results.values())


def cell(column: Column, results: Sequence[Result]) -> str:
    """Write mean ± standard deviation over seeds, the mean alone for one seed."""
    values = _values(results, column.metric)
    if not values:
        return MISSING
    mean = f"{statistics.mean(values) * column.scale:.{column.digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) * column.scale:.{column.digits}f}"


def render_table(name: str, results: Sequence[Result]) -> str:
    """Write one table as Markdown, the paper's numbers and the conditions below it."""
    table = TABLES[name]
    mine = [result for result in results if result.table == name]
    sizes = len(table.sizes) > 1
    head = ["row", *(["size"] if sizes else []), *(c.title for c in table.columns), "seeds"]
    rows = []
    for size in table.sizes:
        for row, title in table.rows.items():
            found = _of(mine, row, size)
            if found:
                cells = [cell(column, found) for column in table.columns]
                rows.append([title, *([size] if sizes else []), *cells, str(len(found))])
    lines = _markdown(head, rows, left=1 + sizes) if rows else ["No results yet."]
    return "\n".join([*lines, "", *_conditions(mine), *_paper(table.paper)]) + "\n"


def difference(
    claim: Claim, size: str, results: Sequence[Result]
) -> tuple[float, float | None, int] | None:
    """Return the mean difference of row - other over seeds that both have, its error, the seeds.

    The standard error is that of paired differences, None for one seed; None for no seeds.
    """
    a = {r.seed: r.measured.get(claim.metric) for r in _of(results, claim.row, size)}
    b = {r.seed: r.measured.get(claim.metric) for r in _of(results, claim.other, size)}
    pairs = [(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]
    gaps = [x - y for x, y in pairs if x is not None and y is not None]
    if not gaps:
        return None
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
    return statistics.mean(gaps), error, len(gaps)


def render_differences(name: str, results: Sequence[Result]) -> list[str]:
    """Write a line for each claim and size of a table for which there are results."""
    table, lines = TABLES[name], []
    mine = [result for result in results if result.table == name]
    for size in table.sizes:
        for claim in table.claims:
            found = difference(claim, size, mine)
            if found is not None:
                mean, error, seeds = found
                spread = MISSING if error is None else f"{error:.2f}"
                lines.append(
                    f"{name}, {size}, {claim.metric}: {claim.row} - {claim.other} = "
                    f"{mean:+.2f}, standard error {spread}, seeds {seeds}"
                )
    return lines


def fill_in(text: str, tables: dict[str, str]) -> str:
    """Put tables between their markers; raise StudyError where a marker is missing."""
    for name, table in tables.items():
        pattern = re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise StudyError(f"README.md lacks <!-- table {name} --> and, after it, <!-- end -->")
        text = pattern.sub(lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}", text)
    return text


def draw(name: str, size: str, results: Sequence[Result], path: Path) -> None:
    """Draw accuracy in noise by row, and other metrics as bars in the same colours.

    Lines and bars are means, whiskers standard deviations over seeds.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    table = TABLES[name]
    found = {row: _of(results, row, size) for row in table.rows}
    rows = [row for row in table.rows if found[row]]
    colours = {row: f"C{number}" for number, row in enumerate(table.rows)}
    bars = [column for column in table.columns if column.metric in BARS]
    figure, axes = pyplot.subplots(
        1,
        1 + len(bars),
        squeeze=False,
        layout="constrained",
        figsize=(7 + 2 * len(bars), 4),
        width_ratios=[2] + [1] * len(bars),
    )
    noise, *others = axes[0]
    for row in rows:
        values = {
            label: _values(found[row], metric)
            for label, metric in zip(SNR_LABELS, SNR_METRICS, strict=True)
        }
        values = {label: measured for label, measured in values.items() if measured}
        if values:
            means = [statistics.mean(v) for v in values.values()]
            spreads = [_deviation(v) for v in values.values()]
            noise.errorbar(list(values), means, spreads, marker="o", capsize=2, color=colours[row])
    noise.set(xlabel="SNR, dB", ylabel="SC-12 accuracy, %")
    for axis, column in zip(others, bars, strict=True):
        for place, row in enumerate(rows):
            values = _values(found[row], column.metric)
            if values:
                mean, spread = statistics.mean(values), _deviation(values)
                axis.barh(place, mean, xerr=spread, color=colours[row], capsize=2)
        names = [table.rows[row] for row in rows] if axis is others[0] else [""] * len(rows)
        axis.set(yticks=range(len(rows)), yticklabels=names, xlabel=f"{column.title}, %")
        axis.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
    figure.suptitle(f"{table.title}: {size}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of matplotlib in it, equal results give equal files.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _of(results: Sequence[Result], row: str, size: str) -> list[Result]:
    return [result for result in results if result.row == row and result.size == size]


def _values(results: Sequence[Result], metric: str) -> list[float]:
    values = (result.measured.get(metric) for result in results)
    return [value for value in values if value is not None]


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _conditions(results: Sequence[Result]) -> list[str]:
    if not results:
        return []
    commits, machines = ({getattr(r, name) for r in results} for name in ("commit", "machine"))
    minutes = [result.seconds / 60 for result in results]
    return [
        f"{len(results)} runs of {min(minutes):.0f} to {max(minutes):.0f} minutes; "
        f"commit {', '.join(sorted(commits))}; {', '.join(sorted(machines))}.",
        "",
    ]


def _paper(paper: Paper) -> list[str]:
    lines = [f"The paper's own numbers ({paper.note})."]
    return [*lines, "", *_markdown(paper.head, paper.rows, left=1)] if paper.rows else lines


def main() -> None:
    """Render all tables and figures; print the differences."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--readme", type=Path, default=HERE / "README.md")
    parser.add_argument("--figures", type=Path, default=HERE / "figures")
    args = parser.parse_args()
    try:
        results = read_results(args.results)
        tables = {name: render_table(name, results) for name in TABLES}
        text = fill_in(args.readme.read_text(encoding="utf-8"), tables)
        args.readme.write_text(text, encoding="utf-8")
        for name, table in TABLES.items():
            mine = [result for result in results if result.table == name]
            for size in table.sizes:
                if any(result.size == size for result in mine):
                    file = f"{name}-{size.replace(' %', '')}.png"
                    draw(name, size, mine, args.figures / file)
            print(*render_differences(name, results), sep="\n", end="\n" if mine else "")
    except (KwspotError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")


if __name__ == "__main__":
    main()
