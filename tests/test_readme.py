"""What the README shows works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kwspot
from kwspot.voices import make_profile, voice_teller, write_profile

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md")))]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_first_two_shell_blocks_hold_one_line_each() -> None:
    first, second = (block.strip() for block in blocks("sh")[:2])
    assert "\n" not in first
    assert "kwspot demo" in first
    assert "\n" not in second
    assert "pytest" in second


class ShortMicrophone(kwspot.Samples):
    """Stands in for the microphone: two seconds of nothing."""

    def __init__(self) -> None:
        super().__init__(np.zeros(32_000, np.float32))


def write_scores(path: Path) -> None:
    """Write what `kwspot eval --scores` would of one empty stream."""
    arrays = {"scores_0": np.zeros(5), "clips_0": np.array([]), "places_0": np.zeros((0, 4))}
    np.savez(path, streams=["other sound"], output_samples=640, **arrays)


def write_voices(folder: Path) -> None:
    """Write the profile of somebody."""
    model = kwspot.load_model("alexa")
    size = voice_teller(model).info.embedding
    write_profile(make_profile(model, [np.ones(size, np.float32)]), "ana", folder / "voices")


@pytest.mark.parametrize("snippet", [block for page in PAGES for block in blocks("python", page)])
def test_python_snippets_run(snippet: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kwspot, "Microphone", ShortMicrophone)
    monkeypatch.chdir(tmp_path)
    write_scores(tmp_path / "scores.npz")
    write_voices(tmp_path)
    exec(compile(snippet, "snippet", "exec"), {})


def test_tables_are_those_of_the_result_files() -> None:
    tables = re.findall(r"<!-- (benchmarks/\S+) -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert len(tables) == 2
    for name, table in tables:
        assert table == (ROOT / name).read_text(encoding="utf-8"), f"copy {name} into README.md"


def test_files_that_the_readme_names_exist() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name


def test_the_public_surface_is_this_list() -> None:
    assert kwspot.__all__ == [
        "AudioError",
        "AudioFile",
        "CalibrationError",
        "Chunks",
        "ClipKeeper",
        "Detection",
        "DeviceError",
        "KeywordDetector",
        "KwspotError",
        "ManifestError",
        "Microphone",
        "ModelError",
        "PcmStream",
        "Samples",
        "VoiceError",
        "load_model",
        "shipped_models",
    ]
    assert all(hasattr(kwspot, name) for name in kwspot.__all__)


def test_a_detector_that_is_fed_arrays_starts_without_sources():
    script = (
        "import sys, kwspot; assert not {'kwspot.microphone', 'kwspot.sources'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'Radio'"):
        kwspot.Radio  # noqa: B018
