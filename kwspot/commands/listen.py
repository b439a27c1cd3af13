"""Listen to the microphone, a file or standard input, and print keywords as they come."""

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Iterator

from kwspot.action import Action
from kwspot.detector import Detection, KeywordDetector
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.gate import VOICES
from kwspot.meter import Meter, MeterHandler
from kwspot.microphone import Microphone
from kwspot.modelfile import SENSITIVITIES
from kwspot.pcm import PCM_FORMATS, PcmStream
from kwspot.sources import AudioFile, Source

HELP = "hear keywords in the microphone or a recording"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot listen`."""
    parser.add_argument("--model", required=True, help="model file, or name of an installed model")
    parser.add_argument("--input", metavar="FILE|-", help="a recording, or - for raw PCM on stdin")
    parser.add_argument("--device", help="microphone: index or part of the name (`kwspot devices`)")
    parser.add_argument(
        "--exec",
        metavar="'COMMAND {keyword}'",
        help="run at each detection, without a shell; {keyword}, {score}, {start} and {end} are "
        "filled in",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a detection")
    add_detector_arguments(parser)
    raw = parser.add_argument_group("raw PCM on stdin (--input -)")
    raw.add_argument("--rate", type=int, default=SAMPLE_RATE, help="Hz (default: %(default)s)")
    raw.add_argument("--channels", type=int, default=1, help="interleaved (default: 1)")
    raw.add_argument("--format", choices=PCM_FORMATS, default="s16le", help="(default: s16le)")


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that replace what the model file says."""
    group = parser.add_argument_group("instead of what the model file says")
    group.add_argument("--threshold", type=_share, help="score that counts, above 0 to 1")
    group.add_argument(
        "--sensitivity", choices=SENSITIVITIES, default="medium", help="(default: medium)"
    )
    group.add_argument("--vad", choices=VOICES, default="webrtc", help="gate (default: webrtc)")
    group.add_argument("--refractory", type=_seconds, help="seconds between two detections")


def make_detector(args: argparse.Namespace) -> KeywordDetector:
    """Build the detector that the options ask for."""
    return KeywordDetector(
        args.model,
        threshold=args.threshold,
        sensitivity=args.sensitivity,
        vad=args.vad,
        refractory=args.refractory,
    )


def run(args: argparse.Namespace) -> int:
    """Listen until the source ends or Ctrl-C."""
    action = Action(args.exec) if args.exec is not None else None
    detector = make_detector(args)
    source = _source(args)
    if source.live and not args.json:
        print("listening; Ctrl-C ends", file=sys.stderr)
    report(detector, source, as_json=args.json, action=action)
    return 0


def report(
    detector: KeywordDetector, source: Source, as_json: bool, action: Action | None = None
) -> None:
    """Print every detection in a source, and a summary at its end or at Ctrl-C.

    The action is run for each, and awaited at the end of the source.
    """
    meter = Meter(detector) if sys.stderr.isatty() and not as_json else None
    handler = MeterHandler(meter)
    logging.getLogger("kwspot").addHandler(handler)
    heard = _Count()
    try:
        for hit in _hits(detector, source, heard, meter):
            heard.detections += 1
            if meter is not None:
                meter.clear()
            print(json.dumps(dataclasses.asdict(hit)) if as_json else _line(hit), flush=True)
            if action is not None:
                action(hit)
        if action is not None:
            action.wait()
    except KeyboardInterrupt:
        pass  # the usual way to end listening
    finally:
        logging.getLogger("kwspot").removeHandler(handler)
        if meter is not None:
            meter.clear()
    if not as_json:
        print(heard.summary(), file=sys.stderr)


@dataclasses.dataclass
class _Count:
    samples: int = 0
    detections: int = 0

    def summary(self) -> str:
        noun = "detection" if self.detections == 1 else "detections"
        return f"heard {self.samples / SAMPLE_RATE:.1f} s of audio, {self.detections} {noun}"


def _hits(
    detector: KeywordDetector, source: Source, heard: _Count, meter: Meter | None
) -> Iterator[Detection]:
    def counted() -> Iterator[FloatArray]:
        for samples in source:
            yield samples
            heard.samples += len(samples)
            if meter is not None:
                meter.update(samples)

    return detector.listen(counted())


def _line(hit: Detection) -> str:
    return f"{hit.keyword:<12} {hit.start:8.2f} s to {hit.end:8.2f} s   score {hit.score:.2f}"


def _source(args: argparse.Namespace) -> Source:
    if args.input is None:
        return Microphone(args.device)
    if args.input == "-":
        return PcmStream(sys.stdin.buffer, args.rate, args.channels, args.format)
    return AudioFile(args.input)


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to 60 seconds")
    return value
