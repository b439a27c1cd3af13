"""The API reference shows all that is public, with its docstring."""

import html
import re
import runpy
from pathlib import Path

import kwspot

SCRIPT = Path(__file__).parent.parent / "scripts" / "reference.py"


def test_every_public_name_is_explained(tmp_path: Path) -> None:
    page = runpy.run_path(str(SCRIPT))["write"](tmp_path)
    source = page.read_text(encoding="utf-8")
    text = html.unescape(re.sub(r"<[^>]+>", "", source))
    for name in kwspot.__all__:
        assert f'id="{name}"' in source, name
        first = (getattr(kwspot, name).__doc__ or "").split("\n")[0].replace("`", "")
        assert first and first in text, name
    for method in ("process", "listen", "alisten", "reset"):
        assert f'id="KeywordDetector.{method}"' in source, method
