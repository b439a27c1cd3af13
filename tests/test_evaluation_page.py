import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Browser, needs_browser
from test_evaluation import ToneModel, beep, hum
from test_page import read_page
from test_streams import silence, tone, write_manifest

from kwspot.bench import machine
from kwspot.cli import main
from kwspot.conditions import parse_condition
from kwspot.evaluation import judge
from kwspot.evaluation_page import evaluation_page
from kwspot.hearing import Options, hear
from kwspot.manifest import read_manifest
from kwspot.report import Origin

pytest.importorskip("matplotlib", reason="no matplotlib: extra 'plot'")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Return the page of two words, one missed, and three other clips, one a false alarm."""
    rows = [
        beep("a.wav"),
        beep("miss <1>.wav", tone(0.3, 3000, 0.03), speaker="bob & co"),
        beep("alarm.wav", silence(1.0), tone(0.3, 1000), text="boop"),
        hum("b.wav"),
        hum("c.wav", 2.0),
    ]
    clips = read_manifest(write_manifest(tmp_path, rows))
    conditions = tuple(map(parse_condition, ("clean", "level:-10", "speed:1.15")))
    options = Options(keyword="beep", vad="off", conditions=conditions)
    hearing = hear(ToneModel(), clips, options)
    origin = Origin("tone", "0" * 64, machine())
    path = tmp_path / "page.html"
    evaluation_page(judge(hearing, options), hearing, clips, options, origin).write(path)
    return path


def test_the_page_says_what_the_report_says_and_has_plots_and_sound(page: Path) -> None:
    reader = read_page(page)
    assert reader.tags.count("svg") == 2
    # A false alarm, the missed word in three conditions, and the two other texts.
    assert reader.tags.count("audio") == 1 + 3 + 2
    for text in ("beep by tone", "level:-10", "bob & co", "miss <1>.wav", "boop", "0.5 an hour"):
        assert text in reader.said


@needs_browser
def test_a_browser_shows_and_plays_the_page_and_asks_for_nothing(
    page: Path, tmp_path: Path
) -> None:
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        players = browser.players()
        assert len(players) == 6
        assert all(sound for sound, _ in players)
        # The alarm is at about 1.2 s: from 2 s before it to half a second after is all its clip.
        assert players[0][1] == pytest.approx(1.5)
        assert players[1][1] == pytest.approx(0.5 + 0.3 + 0.5, abs=0.1)  # around the word
        assert browser.play_first() == pytest.approx(players[0][1], abs=0.01)
        browser.assert_plots(2)
        browser.assert_alone(page)


def test_a_page_of_nothing_missed_says_so(tmp_path: Path) -> None:
    clips = read_manifest(write_manifest(tmp_path, [beep("a.wav"), hum("b.wav")]))
    options = replace(Options(), keyword="beep")
    hearing = hear(ToneModel(), clips, options)
    origin = Origin("tone", "0" * 64, machine())
    path = tmp_path / "page.html"
    evaluation_page(judge(hearing, options), hearing, clips, options, origin).write(path)
    assert read_page(path).said.count("There were none.") == 2


def test_the_command_writes_the_page(tiny_path: Path, tmp_path: Path) -> None:
    rows = [("a.wav", "tiny", "", "test", tone(1.0, 500)), hum("b.wav")]
    manifest, path = write_manifest(tmp_path, rows), tmp_path / "page.html"
    arguments = ["eval", "--model", str(tiny_path), "--manifest", str(manifest)]
    assert main([*arguments, "--condition", "clean", "--html", str(path)]) == 0
    assert "tiny by tiny" in read_page(path).said


def test_a_page_without_matplotlib_is_refused_before_anything_is_heard(
    tiny_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    arguments = ["eval", "--model", str(tiny_path), "--manifest", "absent.csv"]
    assert main([*arguments, "--html", str(tmp_path / "page.html")]) == 2
    assert "plots need matplotlib: pip install 'kwspot[plot]'" in capsys.readouterr().err
