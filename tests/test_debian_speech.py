"""benchmarks/debian_speech.py: the archives of games, and a manifest of what they hold."""

import struct
import sys
from pathlib import Path

import debian_speech
import numpy as np
import pytest
import soundfile
from sound import words
from test_rnc import TEXT, pack

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
    ((path, text),) = debian_speech.flight_of_the_amazon_queen(queen(tmp_path))
    assert (path.name, text) == ("020001P2.mp3", "")
    assert path.read_bytes() == (tmp_path / "line.mp3").read_bytes()


def test_a_resource_file_without_mp3_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no resource file with MP3"):
        list(debian_speech.flight_of_the_amazon_queen(queen(tmp_path, compression=0)))


def test_lines_are_taken_out_of_the_disk_file(tmp_path: Path) -> None:
    line, header = pack(), bytes(22)
    files = [
        (50_001, header + line, 0),
        (50_002, header + b"RNC\x02" + line, 0),  # not packed so
        (50_003, header + line, 1),  # no speech, its highest bits say
        (60_001, header + line, 0),  # nor this, its number says
    ]
    index, disk = struct.pack("<I", len(files)), b""
    for number, data, kind in files:
        disk += bytes(-len(disk) % 16)
        place = len(disk) >> 4 | 1 << 23  # in sixteens
        size = len(data) | kind << 22
        index += struct.pack("<H", number) + (place | size << 24).to_bytes(6, "little")
        disk += data
    (tmp_path / "sky.dnr").write_bytes(index)
    (tmp_path / "sky.dsk").write_bytes(disk)
    ((path, text),) = debian_speech.beneath_a_steel_sky(tmp_path)
    assert (path.name, text) == ("50001.wav", "")
    heard, rate = soundfile.read(path, dtype="int16")
    assert rate == 11_025
    assert heard.tolist() == [(sample - 128) << 8 for sample in TEXT]


def test_fish_say_what_their_scripts_say(tmp_path: Path) -> None:
    script = tmp_path / "fillets-ng-data" / "script" / "city"
    script.mkdir(parents=True)
    (script / "dialogs_nl.lua").write_text(
        'dialogId("vit-m-hi", "font_small", "A \\"computer\\".")\ndialogStr("Een computer.")\n\n'
        'dialogId("vit-v-no", "font_big", "No.")\ndialogStr("Nee.")\n'
    )
    spoken = tmp_path / "fillets-ng-data-nl" / "sound" / "city" / "nl"
    spoken.mkdir(parents=True)
    for name in ("vit-m-hi", "bubbles"):
        (spoken / f"{name}.ogg").touch()
    ((path, text),) = debian_speech.fillets(tmp_path / "fillets-ng-data-nl")
    assert path.name == "vit-m-hi.ogg"
    assert text == 'Een computer. A \\"computer\\".'


def test_bare_gsm_is_given_a_header(tmp_path: Path) -> None:
    (tmp_path / "fr").mkdir()
    soundfile.write(tmp_path / "fr" / "hello.gsm", SOUND[::2], 8000, format="RAW", subtype="GSM610")
    ((path, text),) = debian_speech.asterisk_gsm(tmp_path)
    assert (path.name, text) == ("hello.wav", "")
    heard, rate = soundfile.read(path)
    assert rate == 8000
    assert np.corrcoef(heard[: len(SOUND[::2])], SOUND[::2])[0, 1] > 0.9


def test_a_manifest_lists_what_all_packages_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = tmp_path / "debian"
    packages.mkdir()
    queen(packages)
    eight_bit = np.round(SOUND[:11_025] * 127 + 128).astype(np.uint8).tobytes()
    files = {
        "drascula/en/L1.ALS": bytes(32) + eight_bit + bytes(32),
        "drascula/en/L2.ALS": bytes(32) + eight_bit[:1000] + bytes(32),  # too short
        "tuxpaint-stamps-default/cow.txt": b"A cow.\nes.utf8=Una vaca.\n",
    }
    for name, data in files.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_bytes(data)
    voices, stamps = packages / "hedgewars-data/voices/Pirate", packages / "tuxpaint-stamps-default"
    calls, letters = packages / "asterisk-core-sounds-en-wav", packages / "klettres-data"
    for folder in (voices, calls / "en", calls / "en" / "silence", letters / "da"):
        folder.mkdir(parents=True)
    for path in (
        voices / "Fire.ogg",
        stamps / "cow_desc_es.ogg",
        stamps / "pig_desc_xx.ogg",
        calls / "en" / "goodbye.wav",
        calls / "en" / "silence" / "1.wav",
        letters / "da" / "a.ogg",
    ):
        soundfile.write(path, SOUND, 16_000)
    (letters / "da" / "a.png").touch()
    used = ("flight-of-the-amazon-queen", "drascula", "hedgewars-data")
    used += (stamps.name, calls.name, letters.name)
    monkeypatch.setattr(
        debian_speech, "PACKAGES", {name: debian_speech.PACKAGES[name] for name in used}
    )
    monkeypatch.setattr(sys, "argv", ["debian_speech.py", str(tmp_path)])
    debian_speech.main()
    clips = read_manifest(tmp_path / debian_speech.MANIFEST)
    assert {clip.name.removeprefix("debian/"): (clip.text, clip.role) for clip in clips} == {
        "flight-of-the-amazon-queen/speech/020001P2.mp3": ("", "train"),
        "drascula/speech/L1.wav": ("", "validation"),
        "hedgewars-data/voices/Pirate/Fire.ogg": ("", "validation"),
        "tuxpaint-stamps-default/cow_desc_es.ogg": ("Una vaca. A cow.", "validation"),
        "tuxpaint-stamps-default/pig_desc_xx.ogg": ("", "validation"),
        "asterisk-core-sounds-en-wav/en/goodbye.wav": ("", "test"),
        "klettres-data/da/a.ogg": ("", "test"),
    }
    assert [clip.seconds for clip in clips] == pytest.approx([1.0] * 7, abs=0.1)
    assert "0.00 h of role test in" in capsys.readouterr().out
