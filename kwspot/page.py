"""A report as one web page: headings, text, tables, figures and sound, all within the file.

Nothing is fetched and no script runs: a policy in the page's head forbids both to the browser.
"""

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE, FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBER = re.compile(r"[-+−\d.,:/% ]+")  # cells of these alone are set to the right
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)  # XML declaration and document type
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_NAMESPACE = re.compile(r' xmlns(:\w+)?="[^"]*"')  # which SVG within HTML does without

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; media-src data:; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; }}
h2 {{ font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #8888; }}
p {{ max-width: 48rem; }}
.scroll {{ overflow-x: auto; margin: 1rem 0; }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #8884; }}
th {{ vertical-align: bottom; }}
td.number {{ text-align: right; white-space: nowrap; }}
figure {{ margin: 1rem 0; }}
figure svg {{ display: block; max-width: 100%; height: auto; background: #fff; }}
figcaption, .caption {{ font-size: .85rem; opacity: .75; }}
audio {{ height: 2rem; width: 16rem; vertical-align: middle; }}
</style>
</head>
<body>
"""


@dataclass(frozen=True)
class Html:
    """A piece of a page that is markup already, as `Page.audio` makes it: not to be escaped."""

    markup: str


Cell = str | Html


class Page:
    """A page that grows from the top; every text given to it is shown as it is."""

    def __init__(self, title: str) -> None:
        safe = html.escape(title)
        self._parts = [_HEAD.format(title=safe), f"<h1>{safe}</h1>"]

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def table(self, header: Sequence[Cell], rows: Sequence[Sequence[Cell]]) -> None:
        """Add a table; cells of digits and their punctuation are set to the right."""
        lines = ["<tr>" + "".join(f"<th>{_markup(cell)}</th>" for cell in header) + "</tr>"]
        lines += ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows]
        self._parts.append('<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>")

    def figure(self, figure: "Figure", caption: str) -> None:
        """Add a figure of matplotlib as SVG, on white in light and dark."""
        import matplotlib

        drawn = io.StringIO()
        # Text as text is small and can be searched; a fixed salt gives equal plots equal names.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kwspot"}):
            figure.savefig(drawn, format="svg", facecolor="white", metadata={"Date": None})
        svg = _METADATA.sub("", _PROLOGUE.sub("", drawn.getvalue()))
        svg = _NAMESPACE.sub("", svg)
        safe = html.escape(caption)
        self._parts.append(f"<figure>\n{svg}<figcaption>{safe}</figcaption></figure>")

    def audio(self, samples: FloatArray, caption: str = "") -> Html:
        """Return a player for float32 (N,), to be a cell of a table: FLAC, which is lossless.

        Samples beyond full scale are clipped.
        """
        file = io.BytesIO()
        soundfile.write(file, np.clip(samples, -1, 1), SAMPLE_RATE, format="FLAC")
        data = base64.b64encode(file.getvalue()).decode("ascii")
        player = f'<audio controls preload="metadata" src="data:audio/flac;base64,{data}"></audio>'
        return Html(
            player + (f' <span class="caption">{html.escape(caption)}</span>' if caption else "")
        )

    def write(self, path: Path) -> None:
        """Write the page so far. Raises KwspotError where that fails."""
        try:
            path.write_text("\n".join([*self._parts, "</body>\n</html>\n"]), encoding="utf-8")
        except OSError as error:
            raise KwspotError(f"cannot write {path}: {error.strerror}") from error


def _markup(cell: Cell) -> str:
    return cell.markup if isinstance(cell, Html) else html.escape(cell)


def _cell(cell: Cell) -> str:
    number = isinstance(cell, str) and _NUMBER.fullmatch(cell)
    return f'<td class="number">{_markup(cell)}</td>' if number else f"<td>{_markup(cell)}</td>"
