"""`benchmarks/speakers.py` on a model that tells dark voices from bright ones."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from sound import voice
from tiny import write_model

from kwspot.errors import KwspotError, VoiceError
from kwspot.features import SAMPLE_RATE
from kwspot.loader import load_model
from kwspot.manifest import Clip

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import speakers
from inputs import AFTER, window_at
from speakers import ANY_WORDS, ONE_WORD, WAKE, draw_enrolments, read_enrolments, write_enrolments
from trials import ARABIC, COMMANDS, Trial


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Seven clips of each of two people, one dark and one bright, in each folder."""
    base, found = tmp_path_factory.mktemp("people"), []
    for folder, text in (("wake/loud/", "loud"), (COMMANDS, "go"), (ARABIC, "go")):
        for person, bright in (("dark", False), ("bright", True)):
            for number in range(7):
                name = f"{folder}{person}{number}.wav"
                (base / name).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(base / name, voice(bright, number), SAMPLE_RATE)
                speaker = f"{folder}{person}"
                found.append(Clip(base / name, name, 0.8, text, speaker, "test", "toy"))
    return found


def test_lists_are_drawn_alike_and_come_back_as_they_were_written(
    clips: list[Clip], tmp_path: Path
) -> None:
    voices = draw_enrolments(clips)
    assert voices == draw_enrolments(clips)
    assert [voice.list for voice in voices] == [WAKE] * 2 + [ONE_WORD] * 4 + [ANY_WORDS] * 2
    by_name = {clip.name: clip for clip in clips}
    for listed in voices:
        speakers_of = [{by_name[n].speaker for n in names} for names in (listed.enrol, listed.own)]
        assert speakers_of[0] == speakers_of[1] and len(speakers_of[0]) == 1
        assert not speakers_of[0] & {by_name[name].speaker for name in listed.others}
        assert (len(listed.enrol), len(listed.own)) == (5, 2)
        assert not {*listed.enrol} & {*listed.own}
    path = tmp_path / "list.csv"
    write_enrolments(voices, path)
    assert read_enrolments(path) == voices
    path.write_text("a,b\n")
    with pytest.raises(KwspotError, match="is no list of enrolments"):
        read_enrolments(path)


def test_voices_that_differ_are_told_apart_and_the_table_says_so(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_path: Path
) -> None:
    trials = [
        Trial(a == b, f"{folder}{a}0.wav", f"{folder}{b}1.wav")
        for folder in (COMMANDS, ARABIC)
        for a in ("dark", "bright")
        for b in ("dark", "bright")
    ]
    # Of one word, strangers from the other folder would have the same tone.
    voices = [v for v in draw_enrolments(clips) if v.list != ONE_WORD]
    # The tiny model remembers nothing: it is asked at a clip's last sample.
    monkeypatch.setattr(speakers, "window_at", lambda clip, end: window_at(clip, end - AFTER))
    monkeypatch.setattr(speakers, "read_trials", lambda: trials)
    monkeypatch.setattr(speakers, "read_enrolments", lambda: voices)
    model = load_model(write_model(tmp_path / "voice.onnx", tells_voices=True))
    report = speakers.measure([model], clips)
    assert [(pairs.same, pairs.different, pairs.eer) for pairs in report.pairs] == [(2, 2, 0)] * 2
    _, several, wake = report.enrolled
    assert (several.voices, several.own, several.rejected, several.accepted) == (2, 4, 0, 0)
    assert wake.list == "wake word loud"
    assert (wake.own, wake.own_heard, wake.rejected, wake.accepted) == (4, 4, 0, 0)
    text = speakers.table(report)
    assert "| wake word loud | 2 | 0 | 0.0 |" in text and "no security" in text
    assert "together" not in text
    rows = speakers.Enrolled("wake word a", 2, 1, 10, 8, 1, 20, 20, 3), replace(wake, rejected=1)
    text = speakers.table(replace(report, enrolled=rows))
    # One of 8 + 4 heard is rejected each, three of the strangers accepted.
    share = f"{100 * 3 / (20 + wake.others_heard):.1f}"
    assert f"| wake words together | 4 | 1 | {share} |" in text and "| 16.7 |" in text
    with pytest.raises(VoiceError, match="told apart by different nets"):
        speakers.measure([model, load_model(tiny_path)], clips)
