"""Hear «alexa» three times in a recording that comes with kwspot, between similar words."""

import argparse
from pathlib import Path

from kwspot.commands.listen import report
from kwspot.detector import KeywordDetector
from kwspot.sources import AudioFile

RECORDING = Path(__file__).parent.parent / "demo.flac"
HELP = "hear keywords in the recording that comes with kwspot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot demo`: none."""


def run(args: argparse.Namespace) -> int:
    """Listen to the bundled recording."""
    report(KeywordDetector("alexa"), AudioFile(RECORDING), as_json=False)
    print("Now with your microphone: kwspot listen --model alexa")
    return 0
