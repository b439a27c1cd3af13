"""The wake-word plugin, under a base class as the plugin manager has it."""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sound import as_int16, words

from kwspot import KeywordDetector, ModelError

PLUGIN = "ovos-ww-plugin-kwspot"


class HotWordEngine:
    def __init__(self, key_phrase: str, config: dict[str, Any] | None = None) -> None:
        self.key_phrase = str(key_phrase).lower()
        self.config = config or {}


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """Load the plugin as its entry point names it."""
    template = ModuleType("ovos_plugin_manager.templates.hotwords")
    template.HotWordEngine = HotWordEngine
    for name in ("ovos_plugin_manager", "ovos_plugin_manager.templates"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, template.__name__, template)
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]
    # The second is the first one's name in versions before 1.0, Neon's among them.
    assert points["opm.wake_word"] == points["mycroft.plugin.wake_word"]
    module, _, name = points["opm.wake_word"][PLUGIN].partition(":")
    yield getattr(__import__(module, fromlist=[name]), name)
    del sys.modules[module]


def test_a_word_is_found_once_in_the_chunk_that_completes_it(plugin: type, tiny_path: Path) -> None:
    samples = as_int16(words(6.0, seed=1))
    engine = plugin("Tiny", {"model": str(tiny_path), "threshold": 0.5, "vad": "off"})
    alone = KeywordDetector(tiny_path, threshold=0.5, vad="off")
    found = []
    for chunk in np.split(samples[:94_000], 94):
        engine.update(chunk.tobytes())
        found.append(engine.found_wake_word())
        assert engine.found_wake_word(b"") is False
        assert found[-1] == bool(alone.process(chunk))
    assert any(found) and not all(found)


def test_reset_forgets_what_was_heard(plugin: type, tiny_path: Path) -> None:
    engine = plugin("tiny", {"model": str(tiny_path)}, lang="en-US")
    for chunk in np.split(as_int16(words(6.0, seed=1)), 8):
        engine.update(chunk.tobytes())
    engine.reset()
    assert engine.found_wake_word() is False


def test_without_a_model_the_wake_word_names_it(plugin: type) -> None:
    with pytest.raises(ModelError, match="no model is called 'hey nobody'"):
        plugin("Hey nobody")
    with pytest.raises(ValueError, match=r"sensitivity is 0\.5: choose one of"):
        plugin("alexa", {"sensitivity": 0.5})
