"""kwspot as a wake-word plugin of Open Voice OS and Neon: `ovos-ww-plugin-kwspot`.

```json
"hotwords": {"alexa": {"module": "ovos-ww-plugin-kwspot", "model": "alexa", "listen": true}}
```

Only the plugin manager imports this module; kwspot does not depend on it.
"""

from typing import Any

import numpy as np
from ovos_plugin_manager.templates.hotwords import HotWordEngine

from kwspot.detector import KeywordDetector

OPTIONS = ("threshold", "sensitivity", "vad", "refractory")  # of KeywordDetector


class KwspotEngine(HotWordEngine):  # type: ignore[misc]  # the plugin manager has no types
    """Hears the keywords of one model in the chunks that the listener passes on.

    Of the block in `hotwords` it takes `model` (a path, or the name of an installed model; without
    it, that of the wake word), `threshold`, `sensitivity` ("low", "medium", "high"), `vad` and
    `refractory`. Raises ModelError and ValueError as KeywordDetector does.
    """

    def __init__(
        self, key_phrase: str, config: dict[str, Any] | None = None, lang: str | None = None
    ) -> None:
        # Versions of the plugin manager before 1.0 pass a language, which a model has no need of.
        super().__init__(key_phrase, config)
        options = {name: self.config[name] for name in OPTIONS if name in self.config}
        self._detector = KeywordDetector(self.config.get("model", self.key_phrase), **options)
        self._found = False

    def update(self, chunk: bytes) -> None:
        """Hear the next chunk: int16 at 16 kHz, mono, as the listener records."""
        if self._detector.process(np.frombuffer(chunk, "<i2")):
            self._found = True

    def found_wake_word(self, frame_data: bytes | None = None) -> bool:
        """Tell whether a keyword was heard since the last call; early versions pass audio, too."""
        found, self._found = self._found, False
        return found

    def reset(self) -> None:
        """Start a new stream."""
        self._detector.reset()
        self._found = False
