"""Hours of speech from Debian's packages: to learn from, to choose thresholds on, and unused.

```
python benchmarks/debian_speech.py DIR      downloads PACKAGES into DIR/debian, writes
                                            DIR/manifest_debian.csv
```

An adventure game's dialogue is people acting, at any loudness; a drawing program's stamps are words
and short sentences in a dozen languages; a telephone's announcements are read with care; toddlers'
games say letters, syllables and words in two dozen more. Each package has a role: one to train on,
three to choose thresholds on, and those that nothing in kwspot was ever trained or tuned on, which
`presets.py` hears. None of it leaves DIR. On Debian, or a relative of it, packages are downloaded
with apt-get; elsewhere, unpack each into DIR/debian/NAME first.

The texts of the fish and of the stamps are in the manifest; those of the queen, of which no text
holds a wake word, are not, and «Beneath a Steel Sky» speaks of computers.
"""

import argparse
import csv
import re
import struct
import subprocess
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import rnc
import soundfile

from kwspot.manifest import COLUMNS

FOLDER, MANIFEST = "debian", "manifest_debian.csv"
SHORTEST = 0.3  # seconds; what is shorter is empty, a click or a breath
RATE = 11025  # of unsigned 8-bit samples, as ScummVM plays them
DRASCULA_HEADER, SKY_HEADER = 32, 22
SKY_SPEECH = range(50_000, 59_000)  # numbers of files; later ones are no speech

Recording = tuple[Path, str]  # and its text, "" where it is not known


def main() -> None:
    """Download what is missing, unpack the games' own archives, and write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    packages = folder / FOLDER
    packages.mkdir(parents=True, exist_ok=True)
    hours = dict.fromkeys((role for role, _ in PACKAGES.values()), 0.0)
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for package, (role, unpack) in PACKAGES.items():
            _download(package, packages)
            for path, text in unpack(packages / package):
                seconds = soundfile.info(path).duration
                if seconds >= SHORTEST:
                    hours[role] += seconds / 3600
                    name = path.relative_to(folder).as_posix()
                    row = (name, f"{seconds:.2f}", text, "", role, package)
                    writer.writerow(dict(zip(COLUMNS, row, strict=True)))
    for role, length in hours.items():
        print(f"{length:.2f} h of role {role} in {folder / MANIFEST}")


def _download(package: str, folder: Path) -> None:
    if (folder / package).is_dir():
        return
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
    (archive,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg", "-x", archive, folder / package], check=True)
    archive.unlink()


def flight_of_the_amazon_queen(package: Path) -> Iterator[Recording]:
    """Unpack the MP3 files of the resource file, as ScummVM's `queen/resource.cpp` reads it."""
    (resource,) = package.rglob("queen.1c")
    data = resource.read_bytes()
    if data[:4] != b"QTBL" or data[12] != 1:
        raise SystemExit(f"{resource} is no resource file with MP3: take Debian's package")
    folder = package / "speech"
    folder.mkdir(exist_ok=True)
    (count,) = struct.unpack_from(">H", data, 13)
    for number in range(count):
        name, begin, size = struct.unpack_from(">12sxII", data, 15 + 21 * number)
        name = name.rstrip(b"\0").decode()
        if name.endswith(".SB"):
            path = folder / f"{name[:-3]}.mp3"
            path.write_bytes(data[begin : begin + size])
            yield path, ""


def drascula(package: Path) -> Iterator[Recording]:
    """Put a header before the samples of each line that is spoken."""
    folder = package / "speech"
    folder.mkdir(exist_ok=True)
    for raw in sorted(package.rglob("*.ALS")):
        path = folder / f"{raw.stem}.wav"
        _write(path, raw.read_bytes()[DRASCULA_HEADER:-DRASCULA_HEADER])
        yield path, ""


def beneath_a_steel_sky(package: Path) -> Iterator[Recording]:
    """Unpack the lines of the disk file, as ScummVM's `sky/disk.cpp` reads it."""
    (index,), (disk,) = package.rglob("sky.dnr"), package.rglob("sky.dsk")
    entries, data = index.read_bytes(), disk.read_bytes()
    folder = package / "speech"
    folder.mkdir(exist_ok=True)
    for at in range(4, len(entries) - 7, 8):
        number = int.from_bytes(entries[at : at + 2], "little")
        place = int.from_bytes(entries[at + 2 : at + 5], "little")
        size = int.from_bytes(entries[at + 5 : at + 8], "little")
        begin = (place & 0x7FFFFF) << (4 if place >> 23 else 0)
        packed = data[begin + SKY_HEADER : begin + (size & 0x3FFFFF)]
        # The two highest bits are set for what has no header, or is not packed: no speech.
        if number in SKY_SPEECH and not size >> 22 and packed.startswith(rnc.MAGIC):
            path = folder / f"{number}.wav"
            _write(path, rnc.unpack(packed))
            yield path, ""


def _write(path: Path, samples: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE)
        file.writeframes(samples)


def hedgewars(package: Path) -> Iterator[Recording]:
    """Take the voices of hedgehogs, some of them foreign, one a robot."""
    for path in sorted(package.rglob("voices/*/*.ogg")):
        yield path, ""


def tuxpaint(package: Path) -> Iterator[Recording]:
    """Take what each stamp shows, as said in the language that the file's name ends in."""
    for path in sorted(package.rglob("*_desc*.ogg")):
        stamp, _, language = path.stem.partition("_desc")
        described = path.with_name(f"{stamp}.txt")
        known = described.is_file()
        lines = described.read_text("utf-8", errors="replace").splitlines() if known else []
        texts = dict(line.split(".utf8=", 1) for line in lines if ".utf8=" in line)
        said = texts.get(language.lstrip("_").partition(".")[0], "")
        # In English, too: a word may be the same in the other language, and spelt otherwise.
        yield path, " ".join(filter(None, (said, *lines[:1])))


def fillets(package: Path) -> Iterator[Recording]:
    """Take what two fishes, and others, say, with its text from the package of all languages."""
    scripts = package.with_name("fillets-ng-data")
    _download(scripts.name, scripts.parent)
    language = package.name.rpartition("-")[2]
    said = re.compile(r'dialogId\("([^"]*)", *"[^"]*", *"(.*)"\)\s*dialogStr\("(.*)"\)')
    for level in sorted(scripts.rglob(f"script/*/dialogs_{language}.lua")):
        texts = {
            name: f"{text} {english}"
            for name, english, text in said.findall(level.read_text("utf-8"))
        }
        for path in sorted(package.rglob(f"sound/{level.parent.name}/{language}/*.ogg")):
            if path.stem in texts:  # what is not is bubbles and bumps
                yield path, texts[path.stem]


def asterisk(package: Path) -> Iterator[Recording]:
    """Take a telephone exchange's announcements, but not its tones."""
    for path in sorted(package.rglob("*.wav")):
        if "silence" not in path.parts:
            yield path, ""


def asterisk_gsm(package: Path) -> Iterator[Recording]:
    """Put headers before announcements that are bare GSM 06.10, as telephones send it."""
    for raw in sorted(package.rglob("*.gsm")):
        samples, rate = soundfile.read(
            raw, samplerate=8000, channels=1, format="RAW", subtype="GSM610", dtype="int16"
        )
        soundfile.write(raw.with_suffix(".wav"), samples, rate)
    yield from asterisk(package)


def recordings(package: Path) -> Iterator[Recording]:
    """Take letters, syllables or words in two dozen languages."""
    for path in sorted(p for p in package.rglob("*") if p.suffix in (".ogg", ".wav")):
        if "tn" not in path.parts:  # many of klettres's Setswana decode to 10 times full scale
            yield path, ""


PACKAGES: dict[str, tuple[str, Callable[[Path], Iterator[Recording]]]] = {
    "flight-of-the-amazon-queen": ("train", flight_of_the_amazon_queen),
    "drascula": ("validation", drascula),
    "hedgewars-data": ("validation", hedgewars),
    "tuxpaint-stamps-default": ("validation", tuxpaint),
    "beneath-a-steel-sky": ("test", beneath_a_steel_sky),
    "fillets-ng-data-cs": ("test", fillets),
    "fillets-ng-data-nl": ("test", fillets),
    "asterisk-core-sounds-en-wav": ("test", asterisk),
    "asterisk-core-sounds-es-wav": ("test", asterisk),
    "asterisk-core-sounds-fr-wav": ("test", asterisk),
    "asterisk-core-sounds-it-wav": ("test", asterisk),
    "asterisk-core-sounds-ru-wav": ("test", asterisk),
    "asterisk-prompt-es-co": ("test", asterisk_gsm),
    "asterisk-prompt-fr-armelle": ("test", asterisk_gsm),
    "asterisk-prompt-it-menardi-wav": ("test", asterisk),
    "klettres-data": ("test", recordings),
    "ktuberling-data": ("test", recordings),
}


if __name__ == "__main__":
    main()
