"""The command line: `kwspot COMMAND`. Commands of other distributions join by entry points.

A command is a module with `HELP`, `add_arguments(parser)` and `run(args) -> exit status`. Errors
that kwspot raises on purpose end a command with one sentence and status 2.
"""

import argparse
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from kwspot.errors import KwspotError

COMMANDS = {
    "listen": "kwspot.commands.listen",
    "demo": "kwspot.commands.demo",
    "eval": "kwspot.commands.eval",
    "record": "kwspot.commands.record",
    "review": "kwspot.commands.review",
    "calibrate": "kwspot.commands.calibrate",
    "enroll": "kwspot.commands.enroll",
    "bench": "kwspot.commands.bench",
    "info": "kwspot.commands.info",
    "devices": "kwspot.commands.devices",
    "serve": "kwspot.commands.serve",
    "doctor": "kwspot.commands.doctor",
}
ENTRY_POINTS = "kwspot.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` are those after the program's name. Returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    modules = COMMANDS | {
        entry.name: entry.value for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)
    }
    chosen = next((a for a in arguments if not a.startswith("-")), None)
    parser = _parser(modules, chosen)
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except KwspotError as error:
        print(f"kwspot: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser(modules: dict[str, str], chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kwspot", description="Hear keywords in live audio.")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("kwspot"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, path in modules.items():
        # Only the chosen command is imported, or every start would pay for all of them.
        if chosen in (name, None):
            module = importlib.import_module(path)
            command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
        else:
            commands.add_parser(name)
    return parser
