"""What a network of the study can do, measured on clips of role test: four tasks, one record.

```
Study.open(clips, cache)       decodes and computes features, or takes them from the cache
study.measure(network)         -> Measured
```

A network is two functions of features, so anything that has hidden vectors can be measured. Nothing
is trained or tuned here.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matching import FiveShot, Speakers
from network import Network
from spotting import KEYWORD, Alexa, SpeechCommands

from kwspot.manifest import Clip


@dataclass(frozen=True)
class Measured:
    """All results in %, None for what a network cannot do.

    `sc12_*`: accuracy, 12 labels, clean and in noise at an SNR. `alexa_frr_*`: keywords missed at
    the threshold with so many false alarms an hour, clean and in babble. `eer_*`: verification of
    speakers of Speech Commands and of Arabic. `five_shot_*`: words never trained, from five clips.
    """

    sc12_clean: float | None = None
    sc12_10db: float | None = None
    sc12_5db: float | None = None
    sc12_0db: float | None = None
    alexa_frr_clean_05fah: float | None = None
    alexa_frr_clean_1fah: float | None = None
    alexa_frr_clean_2fah: float | None = None
    alexa_frr_10db_05fah: float | None = None
    alexa_frr_10db_1fah: float | None = None
    alexa_frr_10db_2fah: float | None = None
    alexa_frr_5db_05fah: float | None = None
    alexa_frr_5db_1fah: float | None = None
    alexa_frr_5db_2fah: float | None = None
    eer_sc: float | None = None
    eer_arabic: float | None = None
    five_shot_recall_1pct: float | None = None
    five_shot_eer: float | None = None


@dataclass(frozen=True)
class Study:
    """All four tasks."""

    speech_commands: SpeechCommands
    alexa: Alexa
    speakers: Speakers
    five_shot: FiveShot

    @classmethod
    def open(cls, clips: Sequence[Clip], cache: Path) -> "Study":
        """Prepare all tasks; minutes at first, a second once `cache` has their features."""
        return cls(
            SpeechCommands.open(clips, cache),
            Alexa.open(clips, cache),
            Speakers.open(clips, cache),
            FiveShot.open(clips, cache),
        )

    def measure(self, network: Network) -> Measured:
        """Measure a network in evaluation mode at all that it has functions and labels for."""
        measured = Measured()
        with torch.inference_mode():
            if network.logits is not None:
                measured = _named(measured, "sc12", self.speech_commands.measure(network))
                if KEYWORD in network.labels:
                    missed = [rate for rates in self.alexa.measure(network) for rate in rates]
                    measured = _named(measured, f"{KEYWORD}_frr", missed)
            if network.voice is not None:
                measured = _named(measured, "eer", self.speakers.measure(network))
            if network.embed is not None:
                measured = _named(measured, "five_shot", self.five_shot.measure(network))
        return measured


def _named(measured: Measured, prefix: str, values: Sequence[float]) -> Measured:
    """Fill in the fields that begin with `prefix`, in their order."""
    names = [f.name for f in dataclasses.fields(Measured) if f.name.startswith(f"{prefix}_")]
    return dataclasses.replace(measured, **dict(zip(names, values, strict=True)))
