"""Examine what kwspot needs on this machine, and say what to do about what is wrong.

Records two seconds from the microphone: speak. The exit status is 1 where something fails.
"""

import argparse
import sys

from kwspot import doctor
from kwspot.loader import shipped_models

HELP = "find out why nothing is heard: microphone, level, speed, runtimes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot doctor`."""
    parser.add_argument(
        "--model", action="append", help="model file or name; can be repeated (default: installed)"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--device", help="microphone: index or part of its name (`kwspot devices`)")
    source.add_argument("--file", help="a recording with speech, instead of the microphone")


def run(args: argparse.Namespace) -> int:
    """Print a line a finding, with advice where it is needed; return the exit status."""
    if args.file is None:
        print(f"speak while I record, {doctor.RECORD_SECONDS:.0f} s in a moment", file=sys.stderr)
    states = []
    for found in doctor.examine(args.model or shipped_models(), device=args.device, file=args.file):
        print(f"{found.state:<5} {found.subject}: {found.text}", flush=True)
        if found.advice:
            print(f"      -> {found.advice}", flush=True)
        states.append(found.state)
    fails, warnings = states.count(doctor.FAIL), states.count(doctor.WARN)
    print(f"checks {len(states)}, warnings {warnings}, failures {fails}")
    return 1 if fails else 0
