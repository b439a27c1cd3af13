"""A command that is run at each detection, without a shell and without waiting for it."""

import logging
import shlex
import shutil
import subprocess
import threading

from kwspot.detector import Detection
from kwspot.errors import KwspotError

log = logging.getLogger(__name__)

MOST = 8  # commands at once; more only pile up
STDERR = 2  # standard output is for detections alone


class Action:
    """Runs `command` with {keyword}, {score}, {start}, {end} and {speaker} filled in.

    Times are in seconds; the speaker is empty where nobody was recognised.

    It is split into words as a shell would, before anything is filled in: what is filled in is
    never split, and no shell sees it. A command that fails is warned of in the log. Raises
    KwspotError for one that cannot be split, or whose program is not there.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise KwspotError(f"the command {command!r} cannot be read: {error}") from error
        program = self._words[0] if self._words else ""
        if "{" not in program and shutil.which(program) is None:
            raise KwspotError(
                f"there is no program {program!r}: give its path, and no shell syntax"
            )
        self._running: list[threading.Thread] = []

    def __call__(self, hit: Detection) -> None:
        """Start the command for a detection."""
        self._running = [thread for thread in self._running if thread.is_alive()]
        if len(self._running) >= MOST:
            log.warning("%d commands still run: none is started for %s", MOST, hit.keyword)
            return
        values = {
            "{keyword}": hit.keyword,
            "{score}": f"{hit.score:.3f}",
            "{start}": f"{hit.start:.2f}",
            "{end}": f"{hit.end:.2f}",
            "{speaker}": hit.speaker or "",
        }
        thread = threading.Thread(target=_run, args=(_filled(self._words, values),), daemon=True)
        thread.start()
        self._running.append(thread)

    def wait(self) -> None:
        """Wait for the commands that run."""
        for thread in self._running:
            thread.join()


def _filled(words: list[str], values: dict[str, str]) -> list[str]:
    filled = []
    for word in words:
        for name, value in values.items():
            word = word.replace(name, value)
        filled.append(word)
    return filled


def _run(words: list[str]) -> None:
    try:
        status = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=STDERR).returncode
    except OSError as error:
        log.warning("%s cannot be run: %s", words[0], error.strerror)
        return
    if status:
        log.warning("%s ended with status %d", shlex.join(words), status)
