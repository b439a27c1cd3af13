"""What may keep kwspot from hearing on this machine: each check says what it found, and what to do.

```
runtimes -> models -> speed -> gate -> microphone -> recording
```
"""

import importlib
import itertools
import platform
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter

import numpy as np

from kwspot.detector import KeywordDetector
from kwspot.errors import AudioError, KwspotError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.gate import Gate
from kwspot.loader import load_model
from kwspot.microphone import SILENCE_PEAK, STALL_SECONDS, Microphone, input_devices
from kwspot.model import LITERT
from kwspot.scenes import scene
from kwspot.selftest import judge
from kwspot.sources import AudioFile

OK, WARN, FAIL = "ok", "warn", "fail"
BAD_ONNXRUNTIME = ("1.27.0",)  # computes convolutions wrongly on arm64
ARM64 = ("aarch64", "arm64")
RECORD_SECONDS = 2.0
STEPS = 100  # timed; 8 s of audio
BUSY = 0.5  # of the time that a step lasts; above it, other programs make kwspot late
CLIPPED = 1e-3  # share of samples at full scale; a door that slams has fewer
FAINT_DB = -45.0  # dBFS of the loudest tenth of a second; speech at a metre is some -30
FRAME = SAMPLE_RATE // 10


@dataclass(frozen=True)
class Finding:
    """What a check found: `state` is OK, WARN or FAIL; `advice` says what to do unless it is OK."""

    state: str
    subject: str
    text: str
    advice: str = ""


def examine(
    models: Iterable[str], *, device: str | None = None, file: str | None = None
) -> Iterator[Finding]:
    """Run all checks, with a recording instead of the microphone if `file` is given."""
    yield from runtimes()
    for name in models:
        yield from model(name)
    yield gate()
    yield from recording(file) if file is not None else microphone(device)


def runtimes() -> Iterator[Finding]:
    """Find what runs models."""
    try:
        version = str(importlib.import_module("onnxruntime").__version__)
    except ImportError as error:
        yield Finding(FAIL, "ONNX Runtime", f"missing ({error})", "pip install onnxruntime")
    else:
        if version in BAD_ONNXRUNTIME and platform.machine() in ARM64:
            advice = f"pip install 'onnxruntime!={version}'"
            yield Finding(FAIL, "ONNX Runtime", f"{version} computes wrongly on arm64", advice)
        else:
            yield Finding(OK, "ONNX Runtime", version)
    for package, name in LITERT.items():
        try:
            yield Finding(OK, name, str(importlib.import_module(package).__version__))
            return
        except ImportError:
            continue
    yield Finding(OK, "LiteRT", "not installed; it would save memory: pip install 'kwspot[tflite]'")


def model(name: str) -> Iterator[Finding]:
    """Check that a model loads, is computed rightly, and is fast enough."""
    try:
        loaded = load_model(name)
        verdict = judge(loaded)
        detector = KeywordDetector(loaded, vad="off")
    except KwspotError as error:
        yield Finding(FAIL, f"model {name}", str(error), "install kwspot again, or name another")
        return
    text = f"{loaded.runtime}, self-test differs by {verdict.difference:.2g}"
    if verdict.right:
        yield Finding(OK, f"model {name}", text)
    else:
        advice = f"install another version of what runs it; {verdict.allowed:g} is allowed"
        yield Finding(FAIL, f"model {name}", text, advice)
    yield speed(name, detector)


def speed(name: str, detector: KeywordDetector) -> Finding:
    """Time the steps of a model, front end and decision included, against how long they last."""
    size = detector.info.step_samples
    noise = np.random.default_rng(0).normal(0, 0.01, (STEPS, size)).astype(np.float32)
    times = []
    for step in noise:
        began = perf_counter()
        detector.process(step)
        times.append(perf_counter() - began)
    lasts = size / SAMPLE_RATE
    usual, slow = np.quantile(times, (0.5, 0.95))
    text = f"{1000 * usual:.2f} ms for a step of {1000 * lasts:.0f} ms, 5 % over {1000 * slow:.2f}"
    subject = f"speed of {name}"
    if usual >= lasts:
        return Finding(FAIL, subject, text, "the CPU is too slow or busy: take a smaller model")
    if slow > BUSY * lasts:
        return Finding(WARN, subject, text, "the CPU is busy: see what else runs (`top`)")
    return Finding(OK, subject, text)


def gate() -> Finding:
    """Check that the voice detector opens for what sounds like speech and closes in silence."""
    try:
        opened = any(map(Gate("webrtc", FRAME).hear, _steps("speech")))
        # Not from the start: the voice detector must get used to the noise.
        stays_open = list(map(Gate("webrtc", FRAME).hear, _steps("silence")))[-1]
    except ImportError as error:
        advice = "pip install webrtcvad-wheels, or use --vad energy"
        return Finding(FAIL, "gate", f"WebRTC's voice detector is missing ({error})", advice)
    if not opened:
        return Finding(FAIL, "gate", "does not open for speech", "use --vad energy or --vad off")
    if stays_open:
        return Finding(WARN, "gate", "open in silence", "saves nothing: use --vad energy")
    return Finding(OK, "gate", "opens for speech, closes in silence")


def _steps(name: str) -> Iterator[FloatArray]:
    """Cut ten seconds of a synthetic sound into frames."""
    for second in itertools.islice(scene(name), 10):
        yield from second.reshape(-1, FRAME)


def microphone(device: str | None) -> Iterator[Finding]:
    """Record from a microphone and judge what it delivers."""
    try:
        with Microphone(device) as mic:
            rate = next(d.rate for d in input_devices() if d.name == mic.name)
            yield Finding(OK, "microphone", f'"{mic.name}", {rate} Hz by default')
            samples, seconds = _record(mic)
    except AudioError as error:
        yield Finding(
            FAIL, "microphone", str(error), "docs/raspberry-pi.md helps; --file judges a recording"
        )
        return
    heard = len(samples) / SAMPLE_RATE
    if heard < RECORD_SECONDS:
        yield Finding(
            FAIL,
            "recording",
            f"{heard:.1f} s of audio came in {seconds:.1f} s",
            "close what else records, plug the microphone in again, or choose another --device",
        )
        return
    if seconds > 1.5 * RECORD_SECONDS:
        text = f"{heard:.1f} s of audio took {seconds:.1f} s"
        yield Finding(WARN, "recording", text, "audio comes slowly: is the device shared?")
    yield from levels(samples)


def _record(mic: Microphone) -> tuple[FloatArray, float]:
    """Record at most RECORD_SECONDS; return the samples and how long it took."""
    # One that stalls is waited for until it is back, which here nobody wants.
    alarm = threading.Timer(RECORD_SECONDS + 2 * STALL_SECONDS, mic.close)
    alarm.start()
    began = monotonic()
    wanted, blocks = round(RECORD_SECONDS * SAMPLE_RATE), [np.zeros(0, np.float32)]
    for block in mic:
        blocks.append(block)
        if sum(map(len, blocks)) >= wanted:
            break
    alarm.cancel()
    return np.concatenate(blocks), monotonic() - began


def recording(file: str) -> Iterator[Finding]:
    """Judge a recording instead of a microphone."""
    try:
        samples = np.concatenate(list(AudioFile(file)))
    except AudioError as error:
        yield Finding(FAIL, "recording", str(error), "record it again, as WAV")
        return
    import soundfile

    rate = soundfile.info(Path(file)).samplerate
    text = f"{len(samples) / SAMPLE_RATE:.1f} s at {rate} Hz"
    if rate < SAMPLE_RATE:
        advice = f"models hear up to 8 kHz: record at {SAMPLE_RATE} Hz or more"
        yield Finding(WARN, "recording", text, advice)
    else:
        yield Finding(OK, "recording", text)
    yield from levels(samples)


def levels(samples: FloatArray) -> Iterator[Finding]:
    """Judge samples (n,) in which somebody has spoken: silence, clipping, level."""
    size = np.abs(samples)
    peak = float(size.max())
    if peak < SILENCE_PEAK or samples.min() == samples.max():
        advice = "is it muted (`alsamixer`, F4), or the wrong one (`kwspot devices`)?"
        yield Finding(FAIL, "silence", "nothing but digital silence", advice)
        return
    clipped = float(np.mean(size >= 0.999))
    if clipped > CLIPPED:
        text = f"{100 * clipped:.1f} % of the samples are at full scale"
        yield Finding(WARN, "clipping", text, "lower the microphone's gain, or step back")
    else:
        yield Finding(OK, "clipping", f"peak {_decibels(peak):.0f} dBFS")
    frames = samples[: max(len(samples) // FRAME, 1) * FRAME]
    power = np.mean(frames.reshape(-1, min(FRAME, len(frames))) ** 2, axis=1)
    loudest = _decibels(float(np.sqrt(power.max())))
    text = f"the loudest tenth of a second has {loudest:.0f} dBFS"
    if loudest < FAINT_DB:
        advice = "did you speak? if so, raise the gain (`alsamixer`, F4) or come nearer"
        yield Finding(WARN, "level", text, advice)
    else:
        yield Finding(OK, "level", text)


def _decibels(amplitude: float) -> float:
    return 20 * float(np.log10(max(amplitude, 1e-9)))
