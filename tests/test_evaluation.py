import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sound import words
from test_streams import silence, tone, write_manifest
from tiny import INFO

from kwspot.cli import main
from kwspot.conditions import Condition, parse_condition
from kwspot.detector import KeywordDetector
from kwspot.errors import AudioError, ManifestError, ModelError
from kwspot.evaluation import Evaluation, Voice, evaluate
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.hearing import Options, hear
from kwspot.hits import assign
from kwspot.intervals import Interval, garwood, wilson
from kwspot.manifest import Clip, read_manifest
from kwspot.material import choose_material
from kwspot.model import ModelState, OnnxModel
from kwspot.modelfile import Decision, Keyword
from kwspot.streams import Place, negative_stream, positive_stream

Row = tuple[str, str, str, str, FloatArray | None]

STEP = INFO.step_samples
UNGATED = Options(keyword="beep", vad="off")


class ToneModel:
    """Scores how loud 1 kHz is: 0 in silence, 0.5 at amplitude 0.01, 0.84 at 0.1, 1 from 0.33 on.

    That is "beep"; "hum", its other keyword, is what is not. Its state counts a stream's steps.
    """

    path = Path("tone.onnx")

    def __init__(self) -> None:
        points = INFO.keywords[0].operating_points
        keywords = (Keyword("hum", points, 0.3), Keyword("beep", points, 0.3))
        decision = Decision(smoothing=1, release=0.5, refractory=0.2)
        self.info = replace(INFO, name="tone", keywords=keywords, decision=decision)
        self.streams = self.longest = 0

    def fresh_state(self) -> ModelState:
        self.streams += 1
        return [np.zeros(1, np.float32)]

    def step(self, features: FloatArray, state: ModelState) -> tuple[FloatArray, ModelState]:
        steps = state[0] + 1
        self.longest = max(self.longest, int(steps[0]))
        loudest = features[:, 12:15].reshape(2, 12).max(axis=1)  # bands around 1 kHz, 4 frames each
        energy = loudest + self.info.front_end.floor  # natural logarithm, as Kaldi has it
        score = np.clip((energy - 12) / 14, 0, 1).astype(np.float32)
        return np.stack([1 - score, score], axis=1), [steps]


def beep(name: str, *sounds: FloatArray, speaker: str = "ann", text: str = "beep") -> Row:
    """Return a clip of 1.02 s or what `sounds` need: the place of 3.52 s is 44 whole steps."""
    sound = np.concatenate([silence(0.2), *(sounds or (tone(0.3, 1000),))])
    rest = -(len(sound) + 40_000) % STEP if len(sound) > 16_320 else 16_320 - len(sound)
    return (name, text, speaker, "test", np.concatenate([sound, np.zeros(rest, np.float32)]))


def hum(name: str, seconds: float = 1.0, hz: float = 3000.0, speaker: str = "") -> Row:
    return (name, "hm", speaker, "test", tone(seconds, hz, 0.03))


Judge = Callable[..., Evaluation]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    def run(*rows: Row, model: ToneModel | None = None, options: Options = UNGATED) -> Evaluation:
        clips = read_manifest(write_manifest(tmp_path, rows))
        return evaluate(model or ToneModel(), clips, options)

    return run


def test_hits_misses_and_latency_are_known_exactly(judge: Judge) -> None:
    result = judge(
        beep("a.wav"),
        beep("b.wav", tone(0.3, 3000, 0.03), speaker="bob"),  # says the word, but nobody hears it
        beep("c.wav", tone(0.04, 1000)),
        beep("d.wav"),
        hum("e.wav"),
    )
    (recall,) = result.recalls
    assert (recall.clips, recall.speakers, recall.hits, recall.recall) == (4, 2, 3, 0.75)
    assert recall.missed == ("b.wav",)
    assert recall.interval == wilson(3, 4)
    assert recall.speaker_interval == Interval(0.0, 1.0)  # one speaker of two always, one never
    assert (recall.repeats, recall.false_alarms) == (0, ())
    # A tone begins 1.70 s after its place does and is heard in the output at 1.72 s, which comes
    # with the step that ends at 1.76 s. Words end at 2.02 s, the short one at 1.76 s.
    assert recall.latency_median_ms == pytest.approx(-260)
    assert recall.latency_p90_ms == pytest.approx(-52)  # of -260, -260 and 0, interpolated


def test_false_alarms_are_counted_named_and_two_seconds_apart(judge: Judge) -> None:
    blip = tone(0.2, 1000)
    result = judge(
        beep("a.wav"),
        hum("b.wav", 2.0),
        beep("c.wav", blip, silence(0.8), blip, text="boop"),  # one event: 1 s apart
        hum("d.wav", 2.0),
        beep("e.wav", blip, silence(2.0), blip, text="boop"),  # two events: 2.2 s apart
        hum("f.wav", 2.0),
        beep("g.wav", blip, text=""),
    )
    alarms = result.false_alarms
    assert [event.clip for event in alarms.events] == ["c.wav", "e.wav", "e.wav", "g.wav"]
    assert alarms.fired == (("boop", 3), ("", 1))
    # Within a step's half and the 25 ms of a frame.
    assert [event.offset for event in alarms.events] == pytest.approx(
        [0.2, 0.2, 2.4, 0.2], abs=0.05
    )
    assert alarms.events[0].time == pytest.approx(2.5 + 0.2, abs=0.05)
    samples = 3 * 32_000 + sum(silenced_length(s) - 8_000 for s in (1.4, 2.6, 0.4))
    assert alarms.hours * 3600 * SAMPLE_RATE == pytest.approx(samples)
    assert alarms.per_hour == pytest.approx(4 / alarms.hours)
    assert alarms.interval.high == pytest.approx(garwood(4).high / alarms.hours)


def silenced_length(seconds: float) -> int:
    """Return the samples of a `beep` of so many seconds, with the gap after it."""
    samples = round(seconds * SAMPLE_RATE)
    return (samples + -(samples + 40_000) % STEP if samples > 16_320 else 16_320) + 8_000


def test_a_detection_outside_the_word_is_a_false_alarm_of_its_stream(judge: Judge) -> None:
    early = tone(
        0.1, 1000, 0.9 * 10 ** (-31 / 20)
    )  # too soft to be of the word, loud enough to fire
    (recall,) = judge(
        beep("a.wav", early, silence(0.7), tone(0.3, 1000, 0.9)), hum("b.wav")
    ).recalls
    assert (recall.hits, recall.repeats) == (1, 0)
    (alarm,) = recall.false_alarms
    assert (alarm.clip, alarm.text) == ("a.wav", "beep")
    assert alarm.offset == alarm.time == pytest.approx(1.7, abs=0.05)


def test_a_second_detection_of_a_word_is_a_repeat(judge: Judge) -> None:
    twice = (tone(0.2, 1000), silence(0.3), tone(0.2, 1000))
    (recall,) = judge(beep("a.wav", *twice), hum("b.wav")).recalls
    assert (recall.hits, recall.repeats, recall.false_alarms) == (1, 1, ())


def test_a_hit_is_from_the_start_of_the_word_to_a_second_after_its_end() -> None:
    clip = Clip(Path(), "", 0.0, "", "", "test", "")
    places = [
        Place(clip, 0, 50_000, (20_000, 30_000)),
        Place(clip, 50_000, 99_000, (70_000, 80_000)),
    ]
    inside, elsewhere = assign(places, [19_999, 20_000, 46_000, 46_001, 69_999, 80_000])
    assert inside == [[1, 2], [5]]
    assert elsewhere == [0, 3, 4]


def test_a_stream_is_never_reset_between_clips(judge: Judge) -> None:
    model = ToneModel()
    rows = [beep(f"{n}.wav") for n in range(5)]
    judge(*rows, hum("n.wav"), model=model)
    assert model.longest == 5 * 44  # every step of the stream of positives
    # To know the threshold; a stream is heard for scores, and where other words may win for hits.
    assert model.streams == 1 + 2 * 2


def test_the_detector_runs_with_the_users_gate(judge: Judge) -> None:
    # In 5 s between words the gate closes for longer than it looks back, and the state is fresh.
    model, sounds = ToneModel(), (tone(0.3, 1000), silence(2.5))
    rows = [*(beep(f"{n}.wav", *sounds) for n in range(4)), hum("n.wav")]
    gated = judge(*rows, model=model, options=replace(UNGATED, vad="energy"))
    assert model.streams > 1 + 2 * 2
    assert gated.recalls[0].hits == 4


def test_threshold_sensitivity_and_refractory_are_the_users(judge: Judge) -> None:
    rows = [
        beep("a.wav", tone(0.2, 1000, 0.02), silence(0.3), tone(0.2, 1000, 0.02)),  # score 0.6
        hum("b.wav"),
    ]
    for change, threshold, hits, repeats in (
        ({"threshold": 0.7}, 0.7, 0, 0),
        ({"sensitivity": "low"}, 0.9, 0, 0),
        ({"sensitivity": "high"}, 0.5, 1, 1),
        ({"sensitivity": "high", "refractory": 1.0}, 0.5, 1, 0),
    ):
        result = judge(*rows, options=replace(UNGATED, **change))
        assert result.threshold == threshold
        assert (result.recalls[0].hits, result.recalls[0].repeats) == (hits, repeats)


def test_matched_recall_is_at_the_threshold_that_the_negatives_allow(judge: Judge) -> None:
    result = judge(
        beep("loud.wav", tone(0.3, 1000, 0.2)),
        beep("soft.wav", tone(0.3, 1000, 0.05)),
        beep("other.wav", tone(0.3, 1000, 0.1), text="boop"),
    )
    assert result.recalls[0].hits == 2
    for matched in result.matched:  # no rate allows one event in 1.5 s
        assert matched.threshold == pytest.approx(0.84, abs=0.01)
        assert (matched.false_alarms, matched.hits) == (0, (1,))
    assert [matched.per_hour for matched in result.matched] == [0.0, 0.1, 0.5, 1.0, 2.0]


def test_scores_of_one_in_the_negatives_leave_no_threshold(judge: Judge) -> None:
    loud = tone(0.3, 1000, 0.8)
    matched = judge(beep("a.wav", loud), beep("b.wav", loud, text="boop")).matched[0]
    assert (matched.threshold, matched.false_alarms, matched.hits) == (None, 0, (0,))


def test_the_seed_decides_all_that_is_drawn(judge: Judge) -> None:
    rows = [beep(f"{n}.wav", tone(0.3, 1000, 0.03), speaker=f"s{n}") for n in range(3)]
    rows += [hum(f"h{n}.wav", 0.7, 2000.0 + 500 * n, speaker=f"h{n}") for n in range(7)]
    options = replace(UNGATED, conditions=tuple(map(parse_condition, ("clean", "babble:-10"))))
    first, again = (judge(*rows, options=options) for _ in range(2))
    assert first == again
    assert [recall.condition for recall in first.recalls] == ["clean", "babble:-10"]
    assert judge(*rows, options=replace(options, seed=1)) != first


def test_what_cannot_be_judged_is_refused(judge: Judge, tmp_path: Path) -> None:
    rows = (beep("a.wav"), hum("b.wav"))
    with pytest.raises(ModelError, match="tone has no keyword 'boop': it has hum, beep"):
        judge(*rows, options=replace(UNGATED, keyword="boop"))
    with pytest.raises(ManifestError, match="role 'validation'"):
        judge(*rows, options=replace(UNGATED, role="validation"))
    with pytest.raises(ManifestError, match="needs 6 talkers"):
        judge(*rows, options=replace(UNGATED, conditions=(Condition("babble", 5.0),)))
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"b\.wav"):
        judge(*rows[:1], ("b.wav", "hm", "", "test", None))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows: list[Row] = [(f"t{n}.wav", "Tiny", f"s{n}", "test", words(1.0, n)) for n in range(3)]
    rows += [(f"n{n}.wav", "other", f"n{n}", "test", words(2.0, 9 + n)) for n in range(6)]
    return write_manifest(tmp_path, rows)


def test_the_command_prints_tables_and_writes_all_there_is(
    tiny_path: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_json, as_markdown = tmp_path / "out.json", tmp_path / "out.md"
    arguments = ["eval", "--model", str(tiny_path), "--manifest", str(manifest), "--seed", "7"]
    arguments += ["--output", str(as_json), "--markdown", str(as_markdown)]
    assert main([*arguments, "--condition", "clean", "--condition", "babble:3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # progress is for terminals
    report = json.loads(as_json.read_text())
    assert report["origin"]["sha256"] == hashlib.sha256(tiny_path.read_bytes()).hexdigest()
    assert report["origin"]["machine"]["onnxruntime"]
    assert report["settings"]["conditions"] == ["clean", "babble:3"]
    assert (report["settings"]["seed"], report["protocol"]["silence_before_s"]) == (7, 1.5)
    clean = report["result"]["recalls"][0]
    assert clean["clips"] == 3
    assert clean["hits"] + len(clean["missed"]) == 3
    events = report["result"]["false_alarms"]["events"]
    for text in (out, as_markdown.read_text()):
        assert "babble:3" in text
        assert f"{len(events)} false alarm" in text
        assert "chosen on this very stream: for comparing engines only" in text
        assert "what the model file promises, and what it does here" in text.replace("W", "w")
    assert "| condition | clips | speakers | recall, % |" in as_markdown.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--role", "train"], "no clip that says 'tiny' in the role 'train'"),
        (["--keyword", "huge"], "no keyword 'huge'"),
        (["--condition", "rain"], "'rain' is no condition"),
        (["--condition", "noise:3"], "no clips in a folder noise/"),
        (["--manifest", "absent.csv"], "cannot read the manifest absent.csv"),
        (["--condition", "music:3"], "no clips in a folder music/"),
        (["--condition", "room"], "no clips in a folder room_responses/"),
        (["--output", "absent/out.json"], "there is no folder absent"),
        (["--html", "absent/out.html"], "there is no folder absent"),
        (["--scores", "."], "cannot write .: it is a folder"),
    ],
)
def test_the_command_ends_with_one_sentence(
    tiny_path: Path,
    manifest: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    common = ["eval", "--model", str(tiny_path), "--manifest", str(manifest)]
    assert main(common + arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kwspot: ")
    assert sentence in err
    assert err.count("\n") == 1


def test_without_a_gate_the_scores_tell_the_detections(
    tiny_model: OnnxModel, manifest: Path
) -> None:
    clips, options = read_manifest(manifest), Options(vad="off")
    hearing = hear(tiny_model, clips, options)
    detector = KeywordDetector(tiny_model, vad="off")
    for stream, heard in (
        (
            positive_stream(choose_material(clips, "tiny", "test"), Condition(), 0),
            hearing.positives[0],
        ),
        (negative_stream(choose_material(clips, "tiny", "test"), 0), hearing.negatives),
    ):
        detector.reset()
        hits = [hit for _, samples in stream for hit in detector.process(samples)]
        assert list(heard.detections) == hits != []


def test_speakers_and_groups_begin_with_the_one_that_is_heard_least(judge: Judge) -> None:
    soft = tone(0.3, 1000, 0.03)
    rows = [beep("a.wav"), beep("b.wav", soft, speaker="bob"), beep("c.wav", speaker="bob")]
    options = replace(UNGATED, threshold=0.8)
    result = judge(*rows, beep("d.wav", speaker=""), hum("e.wav"), options=options)
    assert result.speakers == (Voice("bob", 2, (1,)), Voice("ann", 1, (1,)))
    assert result.groups == ()  # the manifest has no such column


def test_groups_are_those_of_the_manifest(tmp_path: Path) -> None:
    rows = [beep("a.wav"), beep("b.wav", tone(0.3, 1000, 0.03)), hum("c.wav")]
    path = write_manifest(tmp_path, rows)
    lines = path.read_text().splitlines()
    groups = ["group", "adult", "child", ""]
    path.write_text("".join(f"{a},{b}\n" for a, b in zip(lines, groups, strict=True)))
    result = evaluate(ToneModel(), read_manifest(path), replace(UNGATED, threshold=0.8))
    assert result.groups == (Voice("child", 1, (0,)), Voice("adult", 1, (1,)))


def test_every_score_is_written_with_its_places(
    tiny_path: Path, tiny_model: OnnxModel, manifest: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scores.of.tiny"
    arguments = ["eval", "--model", str(tiny_path), "--manifest", str(manifest)]
    assert main([*arguments, "--condition", "level:-20", "--scores", str(path)]) == 0
    with np.load(path) as file:
        assert file["streams"].tolist() == ["level:-20", "other sound"]
        assert file["keyword"] == "tiny"
        clips = read_manifest(manifest)
        material = choose_material(clips, "tiny", "test")
        for number, stream in enumerate(
            (
                positive_stream(material, parse_condition("level:-20"), 0),
                negative_stream(material, 0),
            )
        ):
            places, sounds = zip(*stream, strict=True)
            expected = KeywordDetector(tiny_model, vad="off").score(np.concatenate(sounds))[:, 0]
            assert np.array_equal(file[f"scores_{number}"], expected)
            assert file[f"clips_{number}"].tolist() == [place.clip.name for place in places]
            assert file[f"places_{number}"].tolist() == [[p.begin, p.end, *p.word] for p in places]
        assert file["output_samples"] == INFO.output_samples


def test_all_conditions_are_those_that_the_recordings_allow(
    tiny_path: Path, manifest: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out.json"
    arguments = ["eval", "--model", str(tiny_path), "--manifest", str(manifest)]
    assert main([*arguments, "--conditions", "all", "--output", str(path)]) == 0
    conditions = json.loads(path.read_text())["settings"]["conditions"]
    assert conditions[:5] == ["clean", "babble:20", "babble:10", "babble:5", "babble:0"]
    assert conditions[5:7] == ["speed:0.85", "speed:1.15"]  # no noise, music or rooms there
