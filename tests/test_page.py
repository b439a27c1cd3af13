import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kwspot.errors import KwspotError
from kwspot.features import SAMPLE_RATE
from kwspot.page import Page

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Reader(HTMLParser):
    """Reads a page: what is open must be closed in turn. Gathers text, tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.said = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


def read_page(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def test_every_text_is_shown_as_it_is(tmp_path: Path) -> None:
    nasty = "<script>alert('x')</script> & \"quotes\""
    page = Page(nasty)
    page.heading(nasty)
    page.text(nasty)
    page.table([nasty, "b"], [[nasty, page.audio(np.zeros(160, np.float32), nasty)]])
    page.write(tmp_path / "page.html")
    reader = read_page(tmp_path / "page.html")
    assert "script" not in reader.tags
    assert reader.said.count(nasty) == 7  # also in the title


def test_numbers_are_set_to_the_right_and_names_to_the_left(tmp_path: Path) -> None:
    page = Page("t")
    page.table(["what", "much"], [["a1.wav", "-3.5"], ["34 / 256", ""]])
    page.write(tmp_path / "page.html")
    cells = re.findall(r"<td( class=\"number\")?>", (tmp_path / "page.html").read_text())
    assert [bool(cell) for cell in cells] == [False, True, True, False]


def test_sound_comes_back_as_it_went_in() -> None:
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, 4000).astype(np.float32)
    player = Page("t").audio(samples)
    data = re.fullmatch(
        r'<audio controls preload="metadata" src="data:audio/flac;base64,(.*)"></audio>',
        player.markup,
    )
    assert data is not None
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(data[1])), dtype="float32")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(decoded, np.clip(samples, -1, 1), atol=1 / 32768)  # 16 bit


def test_nothing_in_a_page_points_out_of_it(tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="no matplotlib: extra 'plot'")
    page = Page("t")
    for title in ("first <plot>", "second"):
        drawing = figure.Figure()
        axes = drawing.subplots()
        axes.plot([0, 1], [1, 0], marker="o")
        axes.set_title(title)
        page.figure(drawing, "what & why")
    page.table(["clip"], [[page.audio(np.zeros(160, np.float32))]])
    page.write(tmp_path / "page.html")
    reader = read_page(tmp_path / "page.html")
    assert reader.tags.count("svg") == 2
    assert "first <plot>" in reader.said
    assert "what & why" in reader.said
    assert "metadata" not in reader.tags
    for name, value in reader.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value is not None and value.startswith(("data:", "#"))
    assert not re.search("https?:", (tmp_path / "page.html").read_text())
    assert ("http-equiv", "Content-Security-Policy") in reader.attributes


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(KwspotError, match=r"cannot write .*absent/page\.html: No such file"):
        Page("t").write(tmp_path / "absent" / "page.html")
