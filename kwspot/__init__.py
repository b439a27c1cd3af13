"""kwspot hears keywords in live audio on small CPUs.

```python
from kwspot import KeywordDetector, Microphone

detector = KeywordDetector("alexa")
for hit in detector.listen(Microphone()):
    print(hit.keyword, hit.score, hit.start, hit.end)
```
"""

import importlib
from typing import TYPE_CHECKING, Any

from kwspot.detector import Detection, KeywordDetector
from kwspot.errors import (
    AudioError,
    CalibrationError,
    DeviceError,
    KwspotError,
    ManifestError,
    ModelError,
)
from kwspot.loader import load_model, shipped_models

if TYPE_CHECKING:
    from kwspot.microphone import Microphone
    from kwspot.pcm import PcmStream
    from kwspot.sources import AudioFile, Chunks, Samples

__all__ = [
    "AudioError",
    "AudioFile",
    "CalibrationError",
    "Chunks",
    "Detection",
    "DeviceError",
    "KeywordDetector",
    "KwspotError",
    "ManifestError",
    "Microphone",
    "ModelError",
    "PcmStream",
    "Samples",
    "load_model",
    "shipped_models",
]

# Who feeds the detector arrays needs no source: these are imported when first asked for.
_SOURCES = {
    "AudioFile": "kwspot.sources",
    "Chunks": "kwspot.sources",
    "Microphone": "kwspot.microphone",
    "PcmStream": "kwspot.pcm",
    "Samples": "kwspot.sources",
}


def __getattr__(name: str) -> Any:
    """Import a source (PEP 562)."""
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_SOURCES[name]), name)
