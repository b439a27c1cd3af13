"""The peers' scores are turned into results as kwspot's own are. Engines are fakes."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from kwspot.errors import KwspotError
from kwspot.streams import Place

FOLDER = Path(__file__).parents[1] / "benchmarks" / "peers"
sys.path.append(str(FOLDER))

import accuracy  # noqa: E402
import environments  # noqa: E402

_spec = importlib.util.spec_from_file_location("peers_run", FOLDER / "run.py")
peers = importlib.util.module_from_spec(_spec)  # there are other programs called run.py
sys.modules["peers_run"] = peers
_spec.loader.exec_module(peers)

HOP = 1280
FAKE = """
from adapter import Heard, main

def load(sweep):
    return Heard(lambda hop: hop[0] / 100, hop=1280, hops=1, threshold=0.5, files=[__file__])

main(load)
"""


@pytest.fixture
def adapter(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "fake.py"
    path.write_text(f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n{FAKE}")
    return sys.executable, str(path)


def audio(tmp_path: Path, name: str, scores: list[int], places: list[Place]) -> accuracy.Audio:
    pcm = tmp_path / f"{name.replace(':', '-')}.pcm"
    pcm.write_bytes(b"".join(bytes([score]) + bytes(2 * HOP - 1) for score in scores))
    return accuracy.Audio(name, pcm, tuple(places), "digest")


def word(at: int) -> Place:
    """Place a word of 10 hops."""
    return Place(None, at * HOP, (at + 40) * HOP, (at * HOP, (at + 10) * HOP))


def judged(tmp_path: Path, adapter: tuple[str, ...]) -> accuracy.Accuracy:
    # Two words, the second with a low score; an hour of other sound with peaks of 0.6 and 0.3.
    hits = [0] * 12 + [90] + [0] * 37 + [0] * 8 + [40] + [0] * 41
    other = [0] * 45_000
    other[10_000], other[20_000] = 60, 30
    hour = Place(None, 0, 45_000 * HOP, (0, 45_000 * HOP))
    audios = [audio(tmp_path, c, hits, [word(0), word(50)]) for c in accuracy.CONDITIONS]
    audios.append(audio(tmp_path, accuracy.NEGATIVES, other, [hour]))
    scores = [accuracy.scores_of(adapter, {}, a, tmp_path / "cache", "fake") for a in audios]
    return accuracy.judge(audios, scores, HOP, 0.5)


def test_recall_is_taken_at_thresholds_with_the_same_false_alarms(tmp_path, adapter):
    result = judged(tmp_path, adapter)
    assert (result.clips, result.hours) == (2, 1.0)
    assert (result.default.hits, result.default.false_alarms) == ((1, 1, 1), 1)
    found = {f.per_hour: (f.hits[0], f.false_alarms) for f in result.matched}
    assert found == {0.0: (1, 0), 0.1: (1, 0), 0.5: (1, 0), 1.0: (2, 1), 2.0: (2, 2)}
    at_none = result.matched[0]
    assert at_none.threshold == pytest.approx(0.6, abs=1e-6)
    assert at_none.latency_median_ms == 3 * 80  # told at the end of the hop


def test_what_has_been_scored_is_not_scored_again(tmp_path, adapter):
    first = judged(tmp_path, adapter)
    Path(adapter[1]).write_text("raise SystemExit('heard twice')")
    assert judged(tmp_path, adapter) == first


def test_a_failing_engine_is_named_with_its_last_words(tmp_path, adapter):
    Path(adapter[1]).write_text("raise SystemExit('no such model')")
    with pytest.raises(KwspotError, match=r"^fake: no such model$"):
        judged(tmp_path, adapter)
    assert not list((tmp_path / "cache").rglob("*.f32"))


def test_an_adapter_measures_cost_and_describes_itself(tmp_path, adapter):
    pcm = audio(tmp_path, "clean", [1] * 20, []).pcm
    for arguments, word_of_it in (
        (("cost", str(pcm), "0"), "cpu_ms_per_s"),
        (("describe",), "hop"),
    ):
        done = subprocess.run([*adapter, *arguments], capture_output=True, text=True)
        assert word_of_it in done.stdout, done.stderr


def test_every_adapter_in_the_folder_belongs_to_a_peer():
    adapters = {path.name for path in FOLDER.glob("*.py") if "main(load)" in path.read_text()}
    of_peers = {peer.adapter for peer in peers.PEERS.values()}
    assert adapters - {"adapter.py"} == of_peers | {"ours.py"}


def test_installed_files_are_added_up_without_pip(tmp_path):
    site = tmp_path / "lib" / "python3" / "site-packages"
    for name, size in (("engine/a.so", 1000), ("b.py", 10), ("pip/c.py", 5), ("engine/d.pyc", 7)):
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    assert environments.installed_bytes(tmp_path / "bin" / "python") == 1010


def test_the_table_and_the_plot_hold_every_engine(tmp_path, adapter):
    row = peers.Row("fake 1", 56_000, 120_000_000, judged(tmp_path, adapter))
    case = peers.Case(peers.Engine("fake 1", (*adapter, "cost"), {}), "silence")
    cost = peers.benchmark([case], seconds=0.5, runs=1)
    comparison = peers.Comparison(cost, (row,))
    table = peers.render(comparison)
    assert "| fake 1 | 50.0 (9.5-90.5) |" in table
    assert "| 56 | 120 |" in table
    peers.draw(comparison, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
