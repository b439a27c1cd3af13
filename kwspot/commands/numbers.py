"""Numbers on the command line, for argparse's `type`: refused before anything is loaded."""

import argparse
import math


def count(text: str) -> int:
    """Read a whole number from 1 up."""
    return _whole(text, 1)


def whole(text: str) -> int:
    """Read a whole number from 0 up."""
    return _whole(text, 0)


def positive(text: str) -> float:
    """Read a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
    return int(text)
