"""Listen to the microphone, a file or standard input, and print keywords as they come."""

import argparse
import dataclasses
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from kwspot.action import Action
from kwspot.detector import Detection, KeywordDetector
from kwspot.errors import AudioError, KwspotError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.gate import VOICES
from kwspot.keeper import ClipKeeper
from kwspot.meter import Meter, MeterHandler
from kwspot.microphone import Microphone
from kwspot.modelfile import SENSITIVITIES
from kwspot.pcm import PCM_FORMATS, PcmStream
from kwspot.sources import AudioFile, Source

HELP = "hear keywords in the microphone or a recording"
ENROLLED = ""  # --profiles without a folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot listen`."""
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="model file, or name of an installed model; can be repeated",
    )
    parser.add_argument("--input", metavar="FILE|-", help="a recording, or - for raw PCM on stdin")
    parser.add_argument("--device", help="microphone: index or part of the name (`kwspot devices`)")
    parser.add_argument(
        "--exec",
        metavar="'COMMAND {keyword}'",
        help="run at each detection, without a shell; {keyword}, {score}, {start}, {end} and "
        "{speaker} are filled in",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a detection")
    parser.add_argument(
        "--thresholds", metavar="FILE", help="those of a place, from `kwspot calibrate`"
    )
    keep = parser.add_argument_group("clips of what was heard, and nearly heard, to learn from")
    keep.add_argument("--keep", metavar="DIR", help="keep them, 3 s each, for `kwspot review DIR`")
    keep.add_argument(
        "--keep-limit",
        type=_bytes,
        metavar="SIZE",
        default="200MB",
        help="of all of them; the oldest near misses go first (default: %(default)s)",
    )
    add_voice_arguments(parser)
    add_detector_arguments(parser)
    raw = parser.add_argument_group("raw PCM on stdin (--input -)")
    raw.add_argument("--rate", type=int, default=SAMPLE_RATE, help="Hz (default: %(default)s)")
    raw.add_argument("--channels", type=int, default=1, help="interleaved (default: 1)")
    raw.add_argument("--format", choices=PCM_FORMATS, default="s16le", help="(default: s16le)")


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that replace what the model file says."""
    group = parser.add_argument_group("instead of what the model file says")
    group.add_argument(
        "--threshold",
        action=_ByWord,
        read=_share,
        metavar="[WORD=]SCORE",
        help="score that counts, above 0 to 1; can be repeated for several words",
    )
    group.add_argument(
        "--sensitivity",
        action=_ByWord,
        read=_sensitivity,
        default="medium",
        metavar=f"[WORD=]{{{','.join(SENSITIVITIES)}}}",
        help="can be repeated for several words (default: medium)",
    )
    group.add_argument("--vad", choices=VOICES, default="webrtc", help="gate (default: webrtc)")
    group.add_argument("--refractory", type=_seconds, help="seconds between two detections")
    add_verify_argument(group)


def add_verify_argument(parser: argparse._ActionsContainer) -> None:
    """Declare the option that takes models at their word."""
    parser.add_argument(
        "--no-verify",
        dest="verify",
        action="store_false",
        help="do not let the verifier beside a model file hear its detections again",
    )


def add_voice_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that ask who spoke."""
    group = parser.add_argument_group("who spoke (`kwspot enroll`); a convenience, no security")
    group.add_argument(
        "--profiles",
        metavar="DIR",
        nargs="?",
        const=ENROLLED,
        help="say whose voice it is, of those in the folder, or of those that are enrolled",
    )
    group.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="hear no other voice; can be repeated for several",
    )


def profiles_folder(profiles: str | None) -> str | Path | None:
    """Return the folder that --profiles names, that of all enrolled voices if it names none."""
    if profiles != ENROLLED:
        return profiles
    from kwspot.voices import voices_folder  # few need it

    return voices_folder()


def make_detector(args: argparse.Namespace) -> KeywordDetector:
    """Build the detector that the options ask for."""
    if args.threshold is not None and args.thresholds is not None:
        raise KwspotError("--threshold and --thresholds are given: choose one")
    return KeywordDetector(
        args.model,
        threshold=args.threshold,
        sensitivity=args.sensitivity,
        thresholds=args.thresholds,
        vad=args.vad,
        refractory=args.refractory,
        profiles=profiles_folder(args.profiles),
        only=args.only,
        verify=args.verify,
    )


def run(args: argparse.Namespace) -> int:
    """Listen until the source ends or Ctrl-C."""
    action = Action(args.exec) if args.exec is not None else None
    detector = make_detector(args)
    source = _source(args)
    if source.live and not args.json:
        print("listening; Ctrl-C ends", file=sys.stderr)
    with _keeper(detector, source, args):
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
    line = f"{hit.keyword:<12} {hit.start:8.2f} s to {hit.end:8.2f} s   score {hit.score:.2f}"
    if hit.speaker_score is None:
        return line
    return f"{line}   {hit.speaker or 'unknown voice'} {hit.speaker_score:.2f}"


def _keeper(
    detector: KeywordDetector, source: Source, args: argparse.Namespace
) -> AbstractContextManager[object]:
    if args.keep is None:
        return nullcontext()
    return ClipKeeper(detector, args.keep, args.keep_limit, live=source.live or args.input == "-")


def _source(args: argparse.Namespace) -> Source:
    if args.input is None:
        return Microphone(args.device)
    if args.input == "-":
        if sys.stdin is None:
            raise AudioError("there is no standard input to read samples from: it is closed")
        return PcmStream(sys.stdin.buffer, args.rate, args.channels, args.format)
    return AudioFile(args.input)


class _ByWord(argparse.Action):
    """Keeps one value for all words, or WORD=VALUE of some words by label."""

    def __init__(self, *args: Any, read: Callable[[str], Any], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._read = read

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        text: Any,
        option: str | None = None,
    ) -> None:
        """Take VALUE or WORD=VALUE; raise ArgumentError for what is neither."""
        word, equals, value = text.rpartition("=")
        before = getattr(namespace, self.dest)
        if bool(word) != bool(equals):
            raise argparse.ArgumentError(self, f"{text!r} names no word")
        if before != self.default and isinstance(before, dict) != bool(word):
            raise argparse.ArgumentError(self, "give it for all words or for some, not both")
        try:
            setting = self._read(value)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise argparse.ArgumentError(self, str(error)) from error
        named = before if isinstance(before, dict) else {}
        setattr(namespace, self.dest, named | {word: setting} if word else setting)


def _sensitivity(text: str) -> str:
    if text not in SENSITIVITIES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(SENSITIVITIES)}")
    return text


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d*) ?([kMG]?)B?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 200MB")
    return int(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]]


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to 60 seconds")
    return value
