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
    VoiceError,
)
from kwspot.loader import load_model, shipped_models

if TYPE_CHECKING:
    from kwspot.keeper import ClipKeeper
    from kwspot.microphone import Microphone
    from kwspot.pcm import PcmStream
    from kwspot.sources import AudioFile, Chunks, Samples

__all__ = [
    "AudioError",
    "AudioFile",
    "CalibrationError",
    "Chunks",
    "ClipKeeper",
    "Detection",
    "DeviceError",
    "KeywordDetector",
    "KwspotError",
    "ManifestError",
    "Microphone",
    "ModelError",
    "PcmStream",
    "Samples",
    "VoiceError",
    "load_model",
    "shipped_models",
]

# Who feeds the detector arrays needs none of these: they are imported when first asked for.
_LATER = {
    "AudioFile": "kwspot.sources",
    "Chunks": "kwspot.sources",
    "ClipKeeper": "kwspot.keeper",
    "Microphone": "kwspot.microphone",
    "PcmStream": "kwspot.pcm",
    "Samples": "kwspot.sources",
}


def __getattr__(name: str) -> Any:
    """Import what few need (PEP 562)."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
