"""benchmarks/unused_sound.py: the archives of games, and a manifest of what they hold."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import unused_sound
from sound import words

from kwspot.manifest import read_manifest

SOUND = words(1.0, seed=3)


def queen(folder: Path, compression: int = 1) -> Path:
    """Write a resource file with one line that is spoken, and something else."""
    soundfile.write(folder / "line.mp3", SOUND, 16_000)
    line = (folder / "line.mp3").read_bytes()
    begin = 15 + 2 * 21
    table = struct.pack(">12sxII", b"LOGO.PCX", begin, 4)
    table += struct.pack(">12sxII", b"020001P2.SB", begin + 4, len(line))
    head = b"QTBLCEM10\0\0\0" + bytes([compression]) + struct.pack(">H", 2)
    package = folder / "flight-of-the-amazon-queen"
    package.mkdir()
    (package / "queen.1c").write_bytes(head + table + b"logo" + line)
    return package


def test_lines_are_taken_out_of_the_resource_file(tmp_path: Path) -> None:
    ((path, text),) = unused_sound.flight_of_the_amazon_queen(queen(tmp_path))
    assert (path.name, text) == ("020001P2.mp3", "")
    assert path.read_bytes() == (tmp_path / "line.mp3").read_bytes()


def test_a_resource_file_without_mp3_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no resource file with MP3"):
        list(unused_sound.flight_of_the_amazon_queen(queen(tmp_path, compression=0)))


def test_a_manifest_lists_what_all_packages_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queen(tmp_path)
    eight_bit = np.round(SOUND[:11_025] * 127 + 128).astype(np.uint8).tobytes()
    files = {
        "drascula/en/L1.ALS": bytes(32) + eight_bit + bytes(32),
        "drascula/en/L2.ALS": bytes(32) + eight_bit[:1000] + bytes(32),  # too short
        "tuxpaint-stamps-default/cow.txt": b"A cow.\nes.utf8=Una vaca.\n",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    voices = tmp_path / "hedgewars-data" / "voices" / "Pirate"
    voices.mkdir(parents=True)
    stamps = tmp_path / "tuxpaint-stamps-default"
    for path in (voices / "Fire.ogg", stamps / "cow_desc_es.ogg", stamps / "pig_desc_xx.ogg"):
        soundfile.write(path, SOUND, 16_000)
    monkeypatch.setattr(sys, "argv", ["unused_sound.py", str(tmp_path)])
    unused_sound.main()
    clips = read_manifest(tmp_path / unused_sound.MANIFEST)
    assert {clip.name: clip.text for clip in clips} == {
        "flight-of-the-amazon-queen/speech/020001P2.mp3": "",
        "drascula/speech/L1.wav": "",
        "hedgewars-data/voices/Pirate/Fire.ogg": "",
        "tuxpaint-stamps-default/cow_desc_es.ogg": "Una vaca. A cow.",
        "tuxpaint-stamps-default/pig_desc_xx.ogg": "",
    }
    assert all(clip.role == "test" for clip in clips)
    assert [clip.seconds for clip in clips] == pytest.approx([1.0] * 5, abs=0.1)
    assert "h in" in capsys.readouterr().out
