"""The service file and the container's start `kwspot serve` with options that it has."""

import argparse
import configparser
import json
import re
import shlex
from pathlib import Path

from kwspot.commands import serve

DEPLOY = Path(__file__).parents[1] / "deploy"


def parsed(command: list[str]) -> argparse.Namespace:
    program, name, *arguments = command
    assert (Path(program).name, name) == ("kwspot", "serve")
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_unit_starts_the_service() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "kwspot-wyoming.service")
    args = parsed(shlex.split(unit["Service"]["ExecStart"]))
    assert (args.model, args.uri) == (["alexa"], serve.DEFAULT_URI)


def test_the_container_starts_the_service() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    entry, command = (
        json.loads(re.search(rf"^{word} (.*)$", text, re.M)[1]) for word in ("ENTRYPOINT", "CMD")
    )
    args = parsed(entry + command)
    assert (args.model, args.uri) == (["alexa"], serve.DEFAULT_URI)
    assert f"EXPOSE {args.uri.rpartition(':')[2]}" in text
