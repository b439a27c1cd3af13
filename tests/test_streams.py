import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kwspot.conditions import Condition
from kwspot.convert import MAX_PEAK
from kwspot.endpoints import speech_level
from kwspot.errors import AudioError, ManifestError
from kwspot.features import SAMPLE_RATE, FloatArray
from kwspot.interference import TALKERS, Interference
from kwspot.manifest import COLUMNS, Clip, read_manifest
from kwspot.material import Material, choose_material, read_clip
from kwspot.streams import Stream, negative_stream, positive_stream

CLEAN, BABBLE = Condition("clean"), Condition("babble", 10.0)


def tone(seconds: float, hz: float, level: float = 0.1) -> FloatArray:
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def silence(seconds: float) -> FloatArray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def write_manifest(
    folder: Path, rows: Sequence[tuple[str, str, str, str, FloatArray | None]]
) -> Path:
    """Write (path, text, speaker, role, samples) as files and a manifest; None writes no file."""
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, text, speaker, role, samples in rows:
            if samples is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(folder / name, samples, SAMPLE_RATE, subtype="FLOAT")
            writer.writerow(
                (name, 0.0 if samples is None else len(samples), text, speaker, role, "")
            )
    return path


def voices(count: int, role: str = "test") -> list[tuple[str, str, str, str, FloatArray | None]]:
    """Return other clips of as many speakers, each of whom says tones of one frequency only."""

    def say(voice: int, take: int) -> FloatArray:
        hum = tone(0.4 + 0.1 * take, 300 + 200 * voice, 0.02)
        return np.concatenate([silence(0.3), hum, silence(0.2)])

    return [
        (f"speech/{voice}-{take}.wav", "hum", f"v{voice}", role, say(voice, take))
        for voice in range(count)
        for take in range(2)
    ]


def beeps() -> list[tuple[str, str, str, str, FloatArray | None]]:
    """Return two clips of the keyword at different levels."""
    return [
        (
            f"wake/beep/{level}.wav",
            "Beep!",
            f"s{level}",
            "test",
            np.concatenate([silence(0.2), tone(0.3, 1000, level), silence(0.3)]),
        )
        for level in (0.05, 0.3)
    ]


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return read_manifest(write_manifest(tmp_path, beeps() + voices(8)))


@pytest.fixture
def material(clips: list[Clip]) -> Material:
    return choose_material(clips, "beep", "test")


def whole(stream: Stream) -> FloatArray:
    return np.concatenate([samples for _, samples in stream])


def rms_db(samples: FloatArray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_positives_follow_each_other_with_their_silence(material: Material) -> None:
    end = 0
    for (place, samples), clip in zip(
        positive_stream(material, CLEAN, 0), material.positives, strict=True
    ):
        assert (place.clip, place.begin, place.end) == (clip, end, end + len(samples))
        assert np.array_equal(samples[24_000:-16_000], read_clip(clip))
        assert abs(rms_db(samples[:24_000]) + 72) < 0.2  # 24,000 values: 0.04 dB at one sigma
        assert abs(rms_db(samples[-16_000:]) + 72) < 0.2
        # The tone is 0.2 to 0.5 s; smoothing over 50 ms widens its span by 20 ms on either side.
        assert place.word == (end + 24_000 + 3_200 - 320, end + 24_000 + 8_000 + 320)
        end = place.end


def test_negatives_are_joined_end_to_end_with_short_gaps(material: Material) -> None:
    end = 0
    for (place, samples), clip in zip(
        negative_stream(material, 0), material.negatives, strict=True
    ):
        sound = read_clip(clip)
        assert (place.begin, place.end) == (end, end + len(sound) + 8_000)
        assert np.array_equal(samples[: len(sound)], sound)
        assert abs(rms_db(samples[len(sound) :]) + 72) < 0.3
        end = place.end


@pytest.mark.parametrize("snr_db", [10.0, 5.0, -3.0])
def test_babble_has_the_snr_that_is_asked_for(material: Material, snr_db: float) -> None:
    clean = positive_stream(material, CLEAN, 0)
    noisy = positive_stream(material, Condition("babble", snr_db), 0)
    for (place, speech), (_, mixed) in zip(clean, noisy, strict=True):
        level_db = 20 * np.log10(speech_level(read_clip(place.clip)))
        assert abs(level_db - rms_db(mixed - speech) - snr_db) < 0.01  # float32 sums


def test_every_snr_has_the_same_babble(material: Material) -> None:
    clean = whole(positive_stream(material, CLEAN, 0))
    loud = whole(positive_stream(material, Condition("babble", 0.0), 0)) - clean
    soft = whole(positive_stream(material, Condition("babble", 20.0), 0)) - clean
    np.testing.assert_allclose(soft, loud / 10, atol=1e-6)


def test_six_different_talkers_speak_all_the_time_equally_loud(material: Material) -> None:
    babble = Interference(material, "babble", 0).take(5 * SAMPLE_RATE)
    window = SAMPLE_RATE // 10  # 10 Hz a bin, all tones are in the middle of one
    for start in range(0, len(babble) - window, window):
        spectrum = np.abs(np.fft.rfft(babble[start : start + window])) / (window / 2)
        lines = spectrum[[(300 + 200 * n) // 10 for n in range(8)]] / np.sqrt(2)
        # Eight voices on six lanes: in two of them, one voice follows the other.
        assert np.sum(lines > 0.4) >= TALKERS
        assert np.all(lines < 1.1)


def test_the_seed_alone_decides_the_streams(material: Material) -> None:
    for compose in (
        lambda seed: whole(positive_stream(material, CLEAN, seed)),
        lambda seed: whole(positive_stream(material, BABBLE, seed)),
        lambda seed: Interference(material, "babble", seed).take(1000),
        lambda seed: whole(negative_stream(material, seed)),
    ):
        assert np.array_equal(compose(3), compose(3))
        assert not np.array_equal(compose(3), compose(4))


def test_clips_are_chosen_by_text_role_and_folder(tmp_path: Path) -> None:
    hum = tone(0.1, 300)
    rows = [
        ("a.wav", "Beep.", "", "test", hum),
        ("b.wav", "a beep, please", "", "test", hum),  # neither the keyword nor free of it
        ("c.wav", "beeper", "", "test", hum),
        ("words/_silence_/d.wav", "_silence_", "", "test", hum),
        ("noise/rain/e.wav", "rain", "", "test", hum),
        ("room_responses/f.wav", "", "", "test", hum),
        ("g.wav", "beep", "", "train", None),  # other roles are not even looked for on the disk
        ("h.wav", "hum", "", "validation", None),
    ]
    chosen = choose_material(read_manifest(write_manifest(tmp_path, rows)), "beep", "test")
    names = [
        [Path(clip.name).stem for clip in group]
        for group in (chosen.positives, chosen.negatives, chosen.talkers, chosen.noises)
    ]
    assert names == [["a"], ["c", "d", "e"], ["c"], ["e"]]


def test_noise_is_bounded_to_what_a_detector_takes(tmp_path: Path) -> None:
    rows = [*beeps(), ("noise/n.wav", "", "", "test", tone(0.5, 2000))]
    material = choose_material(read_manifest(write_manifest(tmp_path, rows)), "beep", "test")
    assert np.abs(whole(positive_stream(material, Condition("noise", -60.0), 0))).max() == MAX_PEAK


@pytest.mark.parametrize("kind", ["noise", "music"])
def test_noise_and_music_come_from_their_folders(tmp_path: Path, kind: str) -> None:
    rows = [*beeps(), (f"{kind}/n.wav", "", "", "test", tone(0.5, 2000)), *voices(1)]
    material = choose_material(read_manifest(write_manifest(tmp_path, rows)), "beep", "test")
    noisy = whole(positive_stream(material, Condition(kind, 0.0), 0))
    added = noisy - whole(positive_stream(material, CLEAN, 0))
    spectrum = np.abs(np.fft.rfft(added[:16_000]))
    assert spectrum.argmax() == 2000
    assert [clip.speaker for clip in material.talkers] == ["v0", "v0"]


def test_what_is_missing_is_said_before_anything_is_heard(tmp_path: Path) -> None:
    clips = read_manifest(write_manifest(tmp_path, beeps() + voices(TALKERS - 1)))
    with pytest.raises(ManifestError, match="no clip that says 'boop' in the role 'test'"):
        choose_material(clips, "boop", "test")
    with pytest.raises(ManifestError, match="no other clip in the role 'test'"):
        choose_material(clips[:2], "beep", "test")
    material = choose_material(clips, "beep", "test")
    with pytest.raises(ManifestError, match="needs 6 talkers, the role has 5"):
        positive_stream(material, BABBLE, 0)
    for kind in ("noise", "music"):
        with pytest.raises(ManifestError, match=f"no clips in a folder {kind}/: leave {kind}:SNR"):
            positive_stream(material, Condition(kind, 3.0), 0)
    clips[0].path.unlink()
    with pytest.raises(ManifestError, match=r"0\.05\.wav is in the manifest, but"):
        choose_material(clips, "beep", "test")


def test_an_unreadable_clip_is_named(material: Material) -> None:
    material.positives[1].path.write_bytes(b"no audio at all")
    with pytest.raises(AudioError, match=r"0\.3\.wav"):
        whole(positive_stream(material, CLEAN, 0))
