"""What the pages in docs/ show exists."""

import re
import shlex
from pathlib import Path

import pytest

from kwspot.cli import main

DOCS = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of every `kwspot` that a line of a code block runs."""
    blocks = re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    found = (re.match(r"(?:\$ )?(?:\S*/)?kwspot (.*)", line) for line in lines)
    return [shlex.split(match[1]) for match in found if match]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_its_commands_have_the_options_that_it_shows(page, capsys):
    shown = commands(page)
    assert shown
    for command, *arguments in shown:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        for option in arguments:
            if option.startswith("--"):
                assert option in text, f"kwspot {command} {option}"
