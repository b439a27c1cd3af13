"""kwspot hears keywords in live audio on small CPUs.

```python
from kwspot import KeywordDetector, Microphone

detector = KeywordDetector("alexa")
for hit in detector.listen(Microphone()):
    print(hit.keyword, hit.score, hit.start, hit.end)
```
"""

from kwspot.detector import Detection, KeywordDetector
from kwspot.errors import AudioError, DeviceError, KwspotError, ManifestError, ModelError
from kwspot.microphone import Microphone
from kwspot.model import load_model, shipped_models
from kwspot.pcm import PcmStream
from kwspot.sources import AudioFile, Chunks, Samples

__all__ = [
    "AudioError",
    "AudioFile",
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
