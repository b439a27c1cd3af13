"""Measure kwspot on a Raspberry Pi, or another board, and write one JSON file to send back.

```
.venv/bin/python benchmarks/boards/pi.py pi.json
```

The file holds the board's name, its system, clock, temperature and throttling before and after,
what `kwspot bench` measures with the gate off and on, and what every model hears in the recording
that comes with kwspot. It holds no serial number, no name of a user or of the network.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from report import Heard, read_heard

from kwspot.errors import KwspotError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORDING = ROOT / "kwspot" / "demo.flac"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Bits of the firmware's get_throttled; the same 16 bits up: since it was started.
THROTTLING = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_START = 16


@dataclass(frozen=True)
class Board:
    """A board and its system; None for what it does not tell."""

    model: str | None
    system: str | None
    memory_mib: int | None
    cores: int


@dataclass(frozen=True)
class Condition:
    """How a board is at one moment: temperature in degrees Celsius, clocks in MHz.

    `throttling` lists what the firmware holds back now or has held back since it was started; None
    where it cannot be asked.
    """

    temperature: float | None
    governor: str | None
    clock: int | None
    highest_clock: int | None
    throttling: tuple[str, ...] | None


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--seconds", default="60", help="audio to hear a run (default: 60)")
    parser.add_argument("--runs", default="5", help="processes a model (default: 5)")
    args = parser.parse_args()
    models = sorted(p for p in (ROOT / "models").iterdir() if p.suffix in (".onnx", ".tflite"))
    try:
        heard = {model: found for model in models if (found := _hear(model))}
        if not heard:
            raise KwspotError("no model can be loaded: install kwspot with scripts/setup first")
        before = read_condition()
        bench = {vad: _bench(heard, vad, args.seconds, args.runs) for vad in ("off", "webrtc")}
        report = {
            "board": asdict(read_board()),
            "before": asdict(before),
            "after": asdict(read_condition()),
            "bench": bench,
            "heard": {model.name: asdict(found) for model, found in heard.items()},
        }
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except (KwspotError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    print(f"{args.output} is written: please attach it to an issue of kwspot")


def read_board(root: Path = Path("/")) -> Board:
    """Describe the board; `root` is where its files are."""
    release = dict(
        line.split("=", 1) for line in (_read(root / "etc/os-release") or "").splitlines() if line
    )
    memory = [
        int(line.split()[1]) // 1024
        for line in (_read(root / "proc/meminfo") or "").splitlines()
        if line.startswith("MemTotal:")
    ]
    return Board(
        model=_read(root / "proc/device-tree/model"),
        system=release.get("PRETTY_NAME", "").strip('"') or None,
        memory_mib=memory[0] if memory else None,
        cores=os.cpu_count() or 1,
    )


def read_condition(root: Path = Path("/")) -> Condition:
    """Tell how the board is now; `root` is where its files are."""
    thermal = _read(root / "sys/class/thermal/thermal_zone0/temp")
    scaling = root / "sys/devices/system/cpu/cpu0/cpufreq"
    clock, highest = (_read(scaling / f"{name}_freq") for name in ("scaling_cur", "cpuinfo_max"))
    firmware = next((root / "sys/devices/platform").glob("soc*/*firmware/get_throttled"), None)
    flags = _read(firmware) if firmware else _ask_firmware()
    return Condition(
        temperature=int(thermal) / 1000 if thermal else None,
        governor=_read(scaling / "scaling_governor"),
        clock=int(clock) // 1000 if clock else None,
        highest_clock=int(highest) // 1000 if highest else None,
        throttling=None if flags is None else throttling(flags),
    )


def throttling(flags: str) -> tuple[str, ...]:
    """Spell out what the firmware says, `50000` or `throttled=0x50000`."""
    bits = int(flags.rpartition("=")[2], 16)
    now = [name for bit, name in THROTTLING.items() if bits >> bit & 1]
    earlier = [
        f"{name} since start" for bit, name in THROTTLING.items() if bits >> bit + SINCE_START & 1
    ]
    return (*now, *earlier)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").strip("\0\n ")
    except OSError:
        return None


def _ask_firmware() -> str | None:
    if shutil.which("vcgencmd") is None:
        return None
    done = subprocess.run(("vcgencmd", "get_throttled"), capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _bench(models: Iterable[Path], vad: str, seconds: str, runs: str) -> Any:
    # Relative paths: a report holds them, and a home folder's name is nobody's business.
    options = [f"--model={model.relative_to(ROOT)}" for model in models]
    options += [f"--vad={vad}", f"--seconds={seconds}", f"--runs={runs}", "--json"]
    return json.loads(_python("-m", "kwspot", "bench", *options))


def _hear(model: Path) -> Heard | None:
    """Let a model hear the recording; None, and a word about it, where it cannot be loaded."""
    try:
        return read_heard(_python(str(HERE / "hear.py"), str(model), str(RECORDING)), model.name)
    except KwspotError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None


def _python(*arguments: str) -> str:
    done = subprocess.run(
        (sys.executable, "-P", *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise KwspotError(reason[-1] if reason else f"{arguments[0]} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
