#!/usr/bin/env python3
"""The API reference, from the docstrings, as HTML: `python scripts/reference.py [DIR]`."""

import sys
from pathlib import Path

import pdoc

import kwspot


def write(folder: Path) -> Path:
    """Write the reference; return its page."""
    for name in kwspot.__all__:
        setattr(kwspot, name, getattr(kwspot, name))  # pdoc sees nothing that is imported later
    pdoc.render.configure(docformat="markdown", show_source=False)
    pdoc.pdoc("kwspot", output_directory=folder)
    return folder / "kwspot.html"


if __name__ == "__main__":
    print(write(Path(sys.argv[1] if len(sys.argv) > 1 else "build/reference")))
