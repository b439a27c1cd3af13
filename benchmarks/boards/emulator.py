"""Runs the Python of an arm64 folder under qemu's user-mode emulation, and counts instructions.

qemu translates blocks of arm64 code; a plugin (count.c) notes where each lies and how often it
runs. Where the process had its libraries tells which of them the instructions belong to.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arm64 import Arm64

from kwspot.errors import KwspotError

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Core:
    """A CPU core as qemu calls it, and as Linux describes it: its part number and features."""

    name: str
    part: str
    features: str


_V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
CORES = (
    Core("cortex-a53", "0xd03", "fp asimd evtstrm crc32 cpuid"),
    Core("cortex-a72", "0xd08", "fp asimd evtstrm crc32 cpuid"),
    Core("cortex-a76", "0xd0b", f"{_V8_0} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
)


# What a file that instructions come from belongs to; the first that fits.
PARTS = (
    ("Python", r"/bin/python3|/lib-dynload/|/_cffi"),
    ("numpy", r"/numpy"),
    ("ONNX Runtime", r"/onnxruntime"),
    ("LiteRT", r"/ai_edge_litert"),
    ("voice detector", r"webrtcvad"),
    ("C library", r"/lib(c|m|stdc\+\+|gcc_s|pthread)\b|/ld-linux"),
)
OTHER = "other"


class Emulator:
    """qemu with an arm64 folder. Raises KwspotError where qemu is missing."""

    def __init__(self, arm64: Arm64) -> None:
        self._arm64 = arm64
        found = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
        if found is None:
            raise KwspotError("there is no qemu-aarch64: install qemu-user")
        self._qemu = found
        self._plugin: Path | None = None

    @property
    def version(self) -> str:
        """What qemu says of itself."""
        done = subprocess.run((self._qemu, "--version"), capture_output=True, text=True)
        return done.stdout.partition("\n")[0]

    def run(self, core: Core, arguments: Sequence[str], plugin: str | None = None) -> str:
        """Run Python with arguments as on `core`; return what it printed."""
        # Without a description of an ARM core, ONNX Runtime's detection of its features crashes
        # on the host's.
        proc = self._arm64.root / "proc"
        proc.mkdir(exist_ok=True)
        (proc / "cpuinfo").write_text(describe(core), encoding="utf-8")
        command = [self._qemu, "-cpu", core.name, "-L", str(self._arm64.root)]
        if plugin:
            command += ["-plugin", plugin]
        environment = ONE_THREAD | {
            "PATH": "/usr/bin",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(map(str, self._arm64.path)),
        }
        done = subprocess.run(
            [*command, str(self._arm64.python), "-s", "-P", *arguments],
            capture_output=True,
            text=True,
            env=environment,
        )
        if done.returncode == 2:
            raise KwspotError(done.stderr.strip())
        if done.returncode:
            raise RuntimeError(
                f"{core.name}: {arguments[0]} ended badly:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def count(self, core: Core, arguments: Sequence[str]) -> Counter[str]:
        """Run as `run` does, and return how many instructions ran between its markers, by part.

        The program must print its /proc/self/maps. Raises KwspotError where the plugin
        cannot be built or loaded.
        """
        plugin = self._plugin or self._build()
        blocks = plugin.with_suffix(".txt")
        blocks.unlink(missing_ok=True)
        maps = self.run(core, arguments, f"{plugin},out={blocks}")
        if not blocks.is_file():
            raise KwspotError(f"{self.version} loads no plugins: install a build that does")
        with blocks.open(encoding="ascii") as lines:
            return count_by_part(lines, maps)

    def _build(self) -> Path:
        compiler = shutil.which("cc")
        if compiler is None:
            raise KwspotError("there is no C compiler to build count.c with: install gcc")
        major = int(re.search(r"version (\d+)", self.version)[1])  # type: ignore[index]
        plugin = self._arm64.root.parent / "count.so"
        api = f"-DAPI_VERSION={1 if major < 9 else 2}"
        command = (compiler, "-O2", "-shared", "-fPIC", api, "-o", str(plugin), HERE / "count.c")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise KwspotError(f"could not build count.c: {done.stderr.strip().splitlines()[0]}")
        self._plugin = plugin
        return plugin


def describe(core: Core, cores: int = 4) -> str:
    """Write /proc/cpuinfo as Linux on a board does."""
    lines = []
    for number in range(cores):
        lines += [
            f"processor\t: {number}",
            f"Features\t: {core.features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x0",
            f"CPU part\t: {core.part}",
            "CPU revision\t: 4",
            "",
        ]
    return "\n".join(lines) + "\n"


def count_by_part(blocks: Iterable[str], maps: str) -> Counter[str]:
    """Add up what the plugin wrote, `address instructions` a line, by the part that owns them."""
    spans = []
    for line in maps.splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[5].startswith("/"):
            start, end = (int(address, 16) for address in fields[0].split("-"))
            spans.append((start, end, _part(fields[5])))
    counts: Counter[str] = Counter()
    for line in blocks:
        address_hex, instructions = line.split()
        address = int(address_hex, 16)
        owner = next((part for start, end, part in spans if start <= address < end), OTHER)
        counts[owner] += int(instructions)
    return counts


def _part(path: str) -> str:
    return next((part for part, pattern in PARTS if re.search(pattern, path)), OTHER)
