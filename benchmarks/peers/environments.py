"""An environment for each engine, with what it needs and nothing else."""

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from kwspot.errors import KwspotError

INSTALLER = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")


@dataclass(frozen=True)
class Installation:
    """What pip is given: requirements, and those that are installed without what they ask for."""

    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()


def environment(folder: Path, installation: Installation) -> Path:
    """Make a virtual environment, unless it is there; return its Python.

    Raises KwspotError where pip fails.
    """
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    made_of, wanted = folder / "requirements.txt", repr(installation)
    if not made_of.is_file() or made_of.read_text(encoding="utf-8") != wanted:
        venv.create(folder, clear=True, with_pip=True)
        pip = (str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        for packages in (installation.requirements, ("--no-deps", *installation.alone)):
            if packages[-1] != "--no-deps" and subprocess.run([*pip, *packages]).returncode:
                raise KwspotError(f"could not install {', '.join(packages)}")
        made_of.write_text(wanted, encoding="utf-8")
    return python.absolute()


def installed_bytes(python: Path) -> int:
    """Add up the files that an environment has, without pip and compiled Python."""
    (site,) = python.parents[1].glob("[Ll]ib/**/site-packages")
    return sum(
        file.stat().st_size
        for top in site.iterdir()
        if not top.name.startswith(INSTALLER)
        for file in ([top] if top.is_file() else top.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    )
