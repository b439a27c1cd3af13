"""benchmarks/presets.py: counts of several models' presets, taken together."""

import json
from typing import Any

import pytest
from presets import MODELS, RESULTS, table


def result(hours: float, counts: tuple[int, int], promised: tuple[float, float]) -> dict[str, Any]:
    names = ("low", "high")
    return {
        "false_alarms": {"hours": hours},
        "presets": [
            {"sensitivity": name, "promised": rate, "false_alarms": count}
            for name, count, rate in zip(names, counts, promised, strict=True)
        ],
    }


def test_counts_and_hours_of_all_models_are_summed() -> None:
    rows = table(
        {"a": result(2.0, (0, 3), (0.1, 2.0)), "b": result(3.0, (1, 2), (0.1, 2.0))}
    ).split("\n")
    assert "| a, 2.00 h | b, 3.00 h | all, 5.00 h |" in rows[3]
    # One in five hours, where half of one was promised; 0.025 and 5.57 are the limits for one.
    assert rows[5] == ("| low | 0.1 | 0 (0.2) | 1 (0.3) | 1 (0.5) | 0.20 | 0.01 to 1.11 | 2.00 |")
    assert rows[6].startswith("| high | 2 | 3 (4.0) | 2 (6.0) | 5 (10.0) | 1.00 |")


def test_models_of_other_promises_are_refused() -> None:
    with pytest.raises(ValueError, match="promise different"):
        table({"a": result(2.0, (0, 3), (0.1, 2.0)), "b": result(3.0, (1, 2), (5.0, 60.0))})


def test_the_table_is_that_of_the_result_files() -> None:
    results = {
        name: json.loads((RESULTS / f"{name}.json").read_text())["result"] for name in MODELS
    }
    assert (RESULTS / "presets.md").read_text() == table(results)
