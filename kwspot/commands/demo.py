"""Hear «alexa» three times in a recording that comes with kwspot, between words that resemble it."""

import argparse
import importlib.resources

from kwspot.commands.listen import report
from kwspot.detector import KeywordDetector
from kwspot.sources import AudioFile

HELP = "hear keywords in the recording that comes with kwspot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot demo`: none."""


def run(args: argparse.Namespace) -> int:
    """Listen to the bundled recording."""
    recording = importlib.resources.files("kwspot") / "demo.flac"
    with importlib.resources.as_file(recording) as path:
        report(KeywordDetector("alexa"), AudioFile(path), as_json=False)
    print("Now with your microphone: kwspot listen --model alexa")
    return 0
