"""Listen in a thread that calls back, while the program does something else.

    python examples/in_a_thread.py [RECORDING]

Without a recording it hears the microphone, until Ctrl-C.
"""

import sys
import threading
import time
from collections.abc import Callable

from kwspot import Detection, KeywordDetector, Microphone


class Ears:
    """Calls `on_hit`, in a thread of its own, for every detection in a source."""

    def __init__(self, source: object, on_hit: Callable[[Detection], None]) -> None:
        self._source, self._on_hit = source, on_hit
        self._detector = KeywordDetector("alexa")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for hit in self._detector.listen(self._source):
            self._on_hit(hit)

    @property
    def listening(self) -> bool:
        """False once the source has ended."""
        return self._thread.is_alive()


def main() -> None:
    source = sys.argv[1] if len(sys.argv) > 1 else Microphone()
    ears = Ears(source, lambda hit: print(f"{hit.keyword} at {hit.end:.2f} s", flush=True))
    while ears.listening:  # here your program does its own work
        time.sleep(0.1)


if __name__ == "__main__":
    main()
