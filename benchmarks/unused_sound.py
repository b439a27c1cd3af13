"""Hours of speech that nothing in kwspot was trained or tuned on, from Debian's packages.

```
python benchmarks/unused_sound.py DIR     downloads packages of PACKAGES, writes DIR/unused.csv
```

An adventure game's dialogue is people acting, at any loudness, in English; a drawing program's
stamps are words and short sentences in a dozen languages. None of it leaves DIR. On Debian, or a
relative of it, packages are downloaded with apt-get; elsewhere, unpack each into DIR/NAME first.

The texts of the first are in its data, and hold no wake word of kwspot's; those of the stamps are
in the manifest; the others are not known: tales of vampires, and battle cries.
"""

import argparse
import csv
import struct
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

from kwspot.features import SAMPLE_RATE
from kwspot.manifest import COLUMNS
from kwspot.sources import AudioFile

MANIFEST = "unused.csv"
SHORTEST = 0.3  # seconds; what is shorter are clicks and breaths
DRASCULA_RATE, DRASCULA_HEADER = 11025, 32  # as ScummVM plays it: unsigned 8-bit

Recording = tuple[Path, str]  # and its text, "" where it is not known


def main() -> None:
    """Download what is missing, unpack the games' own archives, and write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    hours = 0.0
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for package, recordings in PACKAGES.items():
            if not (folder / package).is_dir():
                _download(package, folder)
            for path, text in recordings(folder / package):
                seconds = sum(map(len, AudioFile(path))) / SAMPLE_RATE
                if seconds >= SHORTEST:
                    hours += seconds / 3600
                    name = path.relative_to(folder).as_posix()
                    row = (name, f"{seconds:.2f}", text, "", "test", package)
                    writer.writerow(dict(zip(COLUMNS, row, strict=True)))
    print(f"{hours:.2f} h in {folder / MANIFEST}")


def _download(package: str, folder: Path) -> None:
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
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(1)
            file.setframerate(DRASCULA_RATE)
            file.writeframes(raw.read_bytes()[DRASCULA_HEADER:-DRASCULA_HEADER])
        yield path, ""


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


PACKAGES = {
    "flight-of-the-amazon-queen": flight_of_the_amazon_queen,
    "drascula": drascula,
    "hedgewars-data": hedgewars,
    "tuxpaint-stamps-default": tuxpaint,
}


if __name__ == "__main__":
    main()
