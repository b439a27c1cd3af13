"""benchmarks/presets.py: what presets promise, and what several models did."""

from pathlib import Path
from typing import Any

import pytest
from presets import RESULTS, hear, is_current, page, table, together
from sound import words
from test_streams import write_manifest

from kwspot.detector import KeywordDetector
from kwspot.loader import load_model
from kwspot.manifest import read_manifest
from kwspot.model import sha256_of


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
    rows = table({"a": result(2.0, (0, 3), (0.1, 2.0)), "b": result(3.0, (1, 2), (0.1, 2.0))})
    assert "| a, 2.00 h | b, 3.00 h | all, 5.00 h |" in rows[0]
    # One in five hours, where half of one was promised; 0.025 and 5.57 are the limits for one.
    assert rows[2] == ("| low | 0.1 | 0 (0.2) | 1 (0.3) | 1 (0.5) | 0.20 | 0.01 to 1.11 | 2.00 |")
    assert rows[3].startswith("| high | 2 | 3 (4.0) | 2 (6.0) | 5 (10.0) | 1.00 |")


def test_what_a_model_did_in_several_kinds_of_sound_is_summed() -> None:
    both = together([result(2.0, (0, 3), (0.1, 2.0)), result(3.0, (1, 2), (0.1, 2.0))])
    assert both == result(5.0, (1, 5), (0.1, 2.0))


def test_models_of_other_promises_are_refused() -> None:
    with pytest.raises(ValueError, match="promise different"):
        table({"a": result(2.0, (0, 3), (0.1, 2.0)), "b": result(3.0, (1, 2), (5.0, 60.0))})


def test_alarms_are_counted_and_named_in_sound_that_does_not_hold_the_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_path: Path
) -> None:
    monkeypatch.setattr("presets.find_model", lambda name: tiny_path)
    (label,) = KeywordDetector(tiny_path).thresholds
    rows = [("a.wav", "", "", "test", words(4.0, seed=1)), ("b.wav", label, "", "test", None)]
    found = hear("tiny", read_manifest(write_manifest(tmp_path, rows)))
    assert found["false_alarms"]["hours"] == pytest.approx(4 / 3600)
    assert len(found["events"]) == found["presets"][-1]["false_alarms"] > 0
    assert {event["clip"] for event in found["events"]} == {"a.wav"}
    threshold = found["presets"][-1]["threshold"]
    assert all(event["score"] >= threshold for event in found["events"])


def test_what_other_files_heard_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tiny_path: Path
) -> None:
    monkeypatch.setattr("presets.find_model", lambda name: tiny_path)
    heard = {"sha256": sha256_of(load_model(tiny_path)), "verifier": "", "presets": []}
    assert is_current("tiny", {"tiny": heard})
    assert not is_current("tiny", {"tiny": heard | {"verifier": "another"}})
    assert not is_current("tiny", {"tiny": heard | {"sha256": "another"}})
    assert not is_current("tiny", {})


def test_the_page_is_that_of_the_result_files() -> None:
    assert (RESULTS / "presets.md").read_text() == page()
