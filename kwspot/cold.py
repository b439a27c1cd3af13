"""Makes the next start a cold one, as after power-up: files leave the memory they are cached in."""

import importlib.util
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from kwspot.errors import KwspotError

PACKAGES = ("kwspot", "numpy", "onnxruntime", "ai_edge_litert")


def drop() -> None:
    """Drop the files of Python's library, kwspot and its dependencies from the page cache.

    What running programs hold mapped stays, such as part of numpy in this one: a start after
    power-up is no faster than what is measured. Raises KwspotError where the system cannot do it.
    """
    if not hasattr(os, "posix_fadvise"):
        raise KwspotError("cold starts can be measured on Linux only: leave --cold out")
    for path in _files():
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # gone, or not ours to read
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _files() -> Iterator[Path]:
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        if "site-packages" in folders:
            folders.remove("site-packages")
        yield from (Path(folder, name) for name in names)
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for home in spec.submodule_search_locations or () if spec else ():
            for root in (Path(home), Path(f"{home}.libs")):  # shared libraries of a wheel
                yield from (path for path in root.rglob("*") if path.is_file())
