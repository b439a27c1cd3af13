"""List the microphones that kwspot can open."""

import argparse

from kwspot.microphone import input_devices

HELP = "list the microphones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot devices`: none."""


def run(args: argparse.Namespace) -> int:
    """Print a line a microphone, the default one marked."""
    devices = input_devices()
    if not devices:
        print("no microphone found: is one plugged in, and may this user open it (group audio)?")
        return 2
    for device in devices:
        mark = "*" if device.default else " "
        print(
            f"{mark} {device.index:3d}  {device.name}  {device.channels} ch, {device.rate:.0f} Hz"
        )
    print("* is the default; another one: kwspot listen --device INDEX or part of its name")
    return 0
