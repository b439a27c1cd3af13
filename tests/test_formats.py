"""benchmarks/formats.py: all formats of a model hear the streams of `kwspot eval` at once."""

from dataclasses import replace
from pathlib import Path

import pytest
from formats import CONDITIONS, hear
from test_evaluation import ToneModel, beep, hum
from test_streams import silence, tone, voices, write_manifest

from kwspot.detector import KeywordDetector
from kwspot.evaluation import evaluate
from kwspot.features import FloatArray
from kwspot.hearing import Options
from kwspot.manifest import Clip, read_manifest
from kwspot.model import ModelState

BLIP = tone(0.2, 1000)


class BeepModel(ToneModel):
    """Hears "beep" alone."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, keywords=self.info.keywords[1:])

    def step(self, features: FloatArray, state: ModelState) -> tuple[FloatArray, ModelState]:
        posteriors, state = super().step(features, state)
        return posteriors[:, 1:], state


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    rows = [
        beep("a.wav"),
        beep("b.wav", tone(0.3, 3000, 0.03)),  # says the word, but nobody hears it
        beep("c.wav", BLIP, silence(2.0), BLIP, text="boop"),
        hum("d.wav"),
        ("e.wav", "hum", "", "test", tone(1.0, 3000, 0.03)),
        *[(name, "ah", *rest) for name, _, *rest in voices(6)],
        ("noise/hiss.wav", "", "", "test", tone(1.0, 5000, 0.02)),
    ]
    return read_manifest(write_manifest(tmp_path, rows))


def test_detectors_at_once_count_what_an_evaluation_counts(clips: list[Clip]) -> None:
    model = BeepModel()
    options = Options(keyword="beep", vad="off", threshold=0.5, conditions=CONDITIONS)
    found = evaluate(model, clips, options)
    heard, deaf = hear([KeywordDetector(model, vad="off", threshold=t) for t in (0.5, 1.0)], clips)
    assert heard.hits["clean"] == found.recalls[0].hits == 1
    assert heard.hits == {recall.condition: recall.hits for recall in found.recalls}
    assert heard.false_alarms == len(found.false_alarms.events) == 4
    assert heard.hours == pytest.approx(found.false_alarms.hours)
    assert (set(deaf.hits.values()), deaf.false_alarms) == ({0}, 0)


def test_clips_of_every_word_count_and_none_of_them_is_other_sound(clips: list[Clip]) -> None:
    (heard,) = hear([KeywordDetector(ToneModel(), vad="off", threshold=0.5)], clips)
    says = {word: [clip for clip in clips if clip.says(word)] for word in ("beep", "hum")}
    assert heard.clips == sum(map(len, says.values())) == 3
    others = [clip for clip in clips if not any(clip in some for some in says.values())]
    assert heard.hours * 3600 * 16_000 == pytest.approx(sum(clip.seconds for clip in others))
