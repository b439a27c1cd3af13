"""Makes a folder that holds Debian's Python for arm64, and kwspot with its dependencies beside it.

```
Debian's packages (apt, its own state) -> root/        wheels for aarch64 (pip) -> packages/
                                          checkout -> wheel -> kwspot/
```

Nothing outside the folder is changed and nothing needs root: apt works on lists of its own, and
packages are unpacked, not installed. What has been made stays until what it is made of changes.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kwspot.errors import KwspotError

ROOT = Path(__file__).parents[2]
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# numpy's wheel leaves libstdc++ to the system; on a board apt itself brings it.
DEBIAN_PACKAGES = ("python3", "libstdc++6")


@dataclass(frozen=True)
class Suite:
    """A Debian release, and so Raspberry Pi OS's: its Python, and its C library 2.`libc`."""

    python: str
    libc: int


SUITES = {"bookworm": Suite("3.11", 36), "trixie": Suite("3.13", 41)}


@dataclass(frozen=True)
class Arm64:
    """A folder to run arm64 programs from: `root` is theirs, `path` is Python's search path."""

    root: Path
    python: Path
    path: tuple[Path, ...]

    @property
    def models(self) -> Path:
        """The installed models."""
        return self.path[-1] / "kwspot" / "models"


def make_arm64(folder: Path, suite: str, mirror: str | None, requirements: Sequence[str]) -> Arm64:
    """Make or complete `folder`, and install this checkout's kwspot into it.

    `requirements` come beside kwspot's own dependencies. `mirror` is a mirror of Debian, that of
    this machine if None. Raises KwspotError for what cannot be had.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    root, packages, kwspot = folder / "root", folder / "packages", folder / "kwspot"
    release = SUITES[suite]
    made_of = "\n".join((suite, *DEBIAN_PACKAGES))
    if _is_new(root, made_of):
        _unpack_debian(folder, root, suite, mirror or _own_mirror())
        _stamp(root, made_of)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *requirements]
    made_of = "\n".join((suite, *wanted))
    if _is_new(packages, made_of):
        _install_wheels(packages, release, wanted)
        _stamp(packages, made_of)
    _install_checkout(folder, kwspot)
    return Arm64(root, root / "usr" / "bin" / f"python{release.python}", (packages, kwspot))


def _is_new(folder: Path, made_of: str) -> bool:
    """Tell whether `folder` is yet to be made; if so, remove what is left of another one."""
    stamp = folder.with_suffix(".made-of")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == made_of:
        return False
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _stamp(folder: Path, made_of: str) -> None:
    folder.with_suffix(".made-of").write_text(made_of, encoding="utf-8")


def _own_mirror() -> str:
    """Return the mirror that this machine's apt uses for Debian."""
    ask = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian")
    lines = _run(ask, "ask apt for a mirror of Debian").split()
    if not lines:
        raise KwspotError("apt on this machine knows no mirror of Debian: name one with --mirror")
    return lines[0]


def _unpack_debian(folder: Path, root: Path, suite: str, mirror: str) -> None:
    if not KEYRING.is_file():
        raise KwspotError(f"there is no {KEYRING}: install debian-archive-keyring")
    apt = folder / "apt"
    for name in ("etc", "state/lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "state" / "status").write_text("")
    source = f"deb [arch=arm64 signed-by={KEYRING}] {mirror} {suite} main\n"
    (apt / "etc" / "sources.list").write_text(source, encoding="utf-8")
    config = apt / "apt.conf"
    config.write_text(_apt_conf(apt), encoding="utf-8")
    environment = os.environ | {"APT_CONFIG": str(config)}
    _run(("apt-get", "-qq", "update"), "read Debian's lists", environment)
    for old in (apt / "cache" / "archives").glob("*.deb"):
        old.unlink()
    get = ("apt-get", "-qq", "-y", "--download-only", "install", *DEBIAN_PACKAGES)
    _run(get, "download Debian's packages", environment)
    (root / "usr").mkdir(parents=True)
    for name in ("bin", "lib", "sbin"):  # one tree under usr, as Debian has it
        (root / "usr" / name).mkdir()
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        with subprocess.Popen(
            ("dpkg-deb", "--fsys-tarfile", str(package)), stdout=subprocess.PIPE
        ) as unpacked:
            tar = ("tar", "-x", "--keep-directory-symlink", "-C", str(root))
            done = subprocess.run(tar, stdin=unpacked.stdout)
        if done.returncode or unpacked.returncode:
            raise KwspotError(f"could not unpack {package.name}")


def _apt_conf(apt: Path) -> str:
    return f"""Dir "{apt}";
Dir::Etc "{apt}/etc";
Dir::State "{apt}/state";
Dir::State::status "{apt}/state/status";
Dir::Cache "{apt}/cache";
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
"""


def _install_wheels(folder: Path, release: Suite, requirements: Sequence[str]) -> None:
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(release.libc, 16, -1)]
    platforms = [f"--platform={tag}" for tag in (*tags, "manylinux2014_aarch64")]
    choice = ("--only-binary=:all:", f"--python-version={release.python}", *platforms)
    _pip(("install", *choice, f"--target={folder}", *requirements), "install wheels for aarch64")


def _install_checkout(folder: Path, target: Path) -> None:
    """Build kwspot's wheel from a copy, which the build litters, and install it into `target`."""
    source, wheels = folder / "source", folder / "wheel"
    for old in (source, wheels, target):
        shutil.rmtree(old, ignore_errors=True)
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("kwspot", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    _pip(("wheel", "--no-deps", f"--wheel-dir={wheels}", str(source)), "build kwspot's wheel")
    (wheel,) = wheels.glob("*.whl")
    _pip(("install", "--no-deps", "--no-index", f"--target={target}", str(wheel)), "install kwspot")


def _pip(arguments: Iterable[str], what: str) -> None:
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run((*pip, *arguments), what)


def _run(command: Sequence[str], what: str, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError as error:
        raise KwspotError(f"could not {what}: there is no {command[0]}, install it") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise KwspotError(f"could not {what}: {reason[-1] if reason else command}")
    return done.stdout
