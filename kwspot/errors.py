"""What can go wrong, in one tree. Messages are one sentence: what, where, and what to do.

```
KwspotError
├── AudioError       samples, files and streams that cannot be used
│   └── DeviceError  microphones that are missing, busy or gone
├── ModelError       files that are no model, or that this runtime cannot run
├── ManifestError    lists of recordings that cannot be used
├── CalibrationError thresholds of a place that cannot be fitted, read or used
└── VoiceError       profiles of voices that cannot be made, read or used
```
"""


class KwspotError(Exception):
    """Base of all errors that kwspot raises on purpose."""


class AudioError(KwspotError, ValueError):
    """Samples, files or streams that cannot be used."""


class DeviceError(AudioError):
    """A microphone that is missing, busy or gone."""


class ModelError(KwspotError, ValueError):
    """A file that is no model, or one that this runtime cannot run."""


class ManifestError(KwspotError, ValueError):
    """A list of recordings that cannot be used."""


class CalibrationError(KwspotError, ValueError):
    """Thresholds of a place that cannot be fitted, read or used."""


class VoiceError(KwspotError, ValueError):
    """Profiles of voices that cannot be made, read or used."""
