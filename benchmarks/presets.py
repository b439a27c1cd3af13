"""Whether the presets keep what they promise: results of `kwspot eval`, taken together.

```
python benchmarks/presets.py       reads results/MODEL.json, writes results/presets.md
```

A model's test streams hold three to four hours of other sound, in which 0.1 false alarms an hour
are less than one: several models tell more than one. They hear mostly the same sound, so that their
false alarms are not quite independent, and the interval is a little too narrow.
"""

import json
from pathlib import Path
from typing import Any

from kwspot.intervals import garwood

RESULTS = Path(__file__).parent / "results"
MODELS = ("alexa", "computer", "jarvis", "hey_jarvis")


def main() -> None:
    """Read the results and write the table."""
    results = {name: _result(RESULTS / f"{name}.json") for name in MODELS}
    (RESULTS / "presets.md").write_text(table(results), encoding="utf-8")


def table(results: dict[str, dict[str, Any]]) -> str:
    """Render what the presets of models promise and what was counted, by their evaluations."""
    hours = {name: result["false_alarms"]["hours"] for name, result in results.items()}
    names = " | ".join(f"{name}, {hours[name]:.2f} h" for name in results)
    lines = [
        "False alarms at the models' presets on the streams of role test, counted, and promised",
        "in brackets:",
        "",
        f"| preset | promised an hour | {names} | all, {sum(hours.values()):.2f} h "
        "| measured an hour | 95 % | measured / promised |",
        "| --- | ---: |" + " ---: |" * (len(results) + 4),
    ]
    for points in zip(*(result["presets"] for result in results.values()), strict=True):
        promised = points[0]["promised"]
        if any(point["promised"] != promised for point in points):
            raise ValueError("the models' presets promise different things")
        counts = [point["false_alarms"] for point in points]
        count, time = sum(counts), sum(hours.values())
        cells = [
            f"{own} ({promised * hours[name]:.1f})"
            for own, name in zip(counts, results, strict=True)
        ]
        interval = garwood(count)
        lines.append(
            f"| {points[0]['sensitivity']} | {promised:g} | {' | '.join(cells)} "
            f"| {count} ({promised * time:.1f}) | {count / time:.2f} "
            f"| {interval.low / time:.2f} to {interval.high / time:.2f} "
            f"| {count / time / promised:.2f} |"
        )
    lines += ["", "Intervals are Poisson's. Made by `python benchmarks/presets.py`."]
    return "\n".join(lines) + "\n"


def _result(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]
    return result


if __name__ == "__main__":
    main()
