import io
import os
import struct
import wave
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kwspot.errors import AudioError
from kwspot.pcm import PcmStream
from kwspot.sources import AudioFile, Chunks, Samples, Source, as_source

RATE = 16_000


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)


def listen(source: Iterable[np.ndarray]) -> np.ndarray:
    blocks = list(source)
    assert all(block.dtype == np.float32 and block.ndim == 1 and block.size for block in blocks)
    return np.concatenate(blocks)


def is_tone(audio: np.ndarray, hz: float, level: float, tolerance: float) -> bool:
    middle = audio[RATE // 4 : RATE // 4 + RATE // 2] * np.hanning(RATE // 2)
    spectrum = np.abs(np.fft.rfft(middle)) / (RATE // 8)
    loudest = int(spectrum.argmax())  # 2 Hz a bin
    return 2 * loudest == hz and abs(spectrum[loudest] - level) < tolerance * level


class Pipe(io.RawIOBase):
    """A live pipe: each read gives what one write has put in, and never more."""

    def __init__(self, writes: list[bytes]) -> None:
        self.writes = writes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        if not self.writes:
            return 0
        data = self.writes.pop(0)
        taken = min(len(data), len(buffer))
        buffer[:taken] = data[:taken]
        if taken < len(data):
            self.writes.insert(0, data[taken:])
        return taken


@pytest.mark.parametrize(
    ("extension", "subtype", "rate", "channels"),
    [
        ("wav", "PCM_16", 8_000, 1),
        ("wav", "PCM_16", 16_000, 1),
        ("wav", "PCM_16", 44_100, 1),
        ("wav", "PCM_16", 48_000, 2),
        ("wav", "PCM_U8", 16_000, 1),
        ("wav", "PCM_24", 48_000, 1),
        ("wav", "PCM_32", 44_100, 2),
        ("wav", "FLOAT", 16_000, 1),
        ("wav", "DOUBLE", 96_000, 1),
        ("wav", "ULAW", 8_000, 1),
        ("flac", "PCM_16", 16_000, 1),
        ("flac", "PCM_24", 48_000, 2),
        ("ogg", "OPUS", 16_000, 1),
        ("ogg", "OPUS", 48_000, 2),
        ("ogg", "VORBIS", 44_100, 1),
    ],
)
@pytest.mark.parametrize("hz", [440.0, 1000.0])
def test_a_tone_survives_every_format(
    tmp_path: Path, extension: str, subtype: str, rate: int, channels: int, hz: float
):
    path = tmp_path / f"tone.{extension}"
    audio = np.repeat(tone(rate, hz=hz)[:, None], channels, axis=1)
    soundfile.write(path, audio, rate, subtype=subtype)
    source = AudioFile(path)
    heard = listen(source)
    assert source.seconds == pytest.approx(1.0, abs=0.001)
    assert len(heard) == pytest.approx(RATE, abs=RATE * 0.001)
    # Lossy codecs change the level a little; the others by a rounding step.
    lossy = subtype in ("OPUS", "VORBIS", "ULAW")
    assert is_tone(heard, hz, 0.5, tolerance=0.05 if lossy else 0.01)


def test_the_channels_of_a_file_are_averaged(tmp_path: Path):
    left = tone(RATE)
    soundfile.write(tmp_path / "a.wav", np.stack([left, 0 * left], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(listen(AudioFile(tmp_path / "a.wav")), left / 2, atol=1e-7)


def test_a_16_bit_file_an_array_and_raw_pcm_give_the_same_bits(tmp_path: Path):
    samples = np.random.default_rng(2).integers(-32768, 32768, 5000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    from_file = listen(AudioFile(tmp_path / "a.wav"))
    assert from_file.tobytes() == listen(Samples(samples)).tobytes()
    assert from_file.tobytes() == listen(PcmStream(io.BytesIO(samples.tobytes()))).tobytes()


def test_a_file_can_be_read_again_and_is_not_read_as_a_whole(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", tone(RATE), RATE)
    source = AudioFile(tmp_path / "a.wav")
    first = next(iter(source))
    assert len(first) == RATE // 10
    assert listen(source).tobytes() == listen(source).tobytes()


def test_an_mp3_file_in_blocks_equals_the_file_read_at_once(tmp_path: Path):
    # soundfile seeks after each read, and each seek damages MP3: sources.py keeps it from seeking.
    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile has no MP3")
    soundfile.write(tmp_path / "a.mp3", tone(RATE, hz=1000), RATE)
    at_once, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    # The decoder rounds the last bit by block length; seeks cost 0.5 of full scale.
    np.testing.assert_allclose(listen(AudioFile(tmp_path / "a.mp3")), at_once, atol=1e-5)


def write_text(path: Path) -> None:
    path.write_text("this is no audio\n" * 20)


def write_no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE)


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda path: None, "a.wav", "cannot read .*a.wav: No such file"),
        (lambda path: path.mkdir(), "a.wav", "a.wav is a directory"),
        (lambda path: os.mkfifo(path), "a.wav", "a.wav is no regular file"),
        (lambda path: path.touch(), "a.wav", "a.wav is an empty file"),
        (write_text, "a.wav", "a.wav is no audio that can be read"),
        (write_text, "a.raw", "a.raw is named like raw PCM"),
        (write_no_samples, "a.wav", "a.wav holds no samples"),
    ],
)
def test_files_that_are_no_audio_are_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], name: str, message: str
):
    make(tmp_path / name)
    with pytest.raises(AudioError, match=message) as failure:
        AudioFile(tmp_path / name)
    assert "\n" not in str(failure.value)


def test_a_truncated_wav_file_is_delivered_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(RATE, seconds=2), RATE)
    path.write_bytes(path.read_bytes()[: 44 + RATE * 2])
    heard = listen(AudioFile(path))
    np.testing.assert_allclose(heard, tone(RATE), atol=1e-4)
    assert [record.message for record in caplog.records] == [
        f"{path} breaks off: its header promises 2.00 s, but only 1.00 s are there"
    ]


@pytest.mark.parametrize("promise", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F000])
def test_a_wav_file_written_through_a_pipe_is_not_called_truncated(
    tmp_path: Path, promise: int, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "a.wav").write_bytes(wav(tone(RATE), promise))
    assert len(listen(AudioFile(tmp_path / "a.wav"))) == RATE
    assert not caplog.records


def test_a_truncated_flac_file_is_delivered_up_to_the_break(tmp_path: Path):
    path = tmp_path / "a.flac"
    audio = np.random.default_rng(3).normal(0, 0.1, 2 * RATE).astype(np.float32)
    soundfile.write(path, audio, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    heard = []
    with pytest.raises(AudioError, match=r"a.flac: cannot be decoded after 0\.\d+ s"):
        heard.extend(AudioFile(path))
    heard = np.concatenate(heard)
    # FLAC is decoded in blocks of 4096 samples; at most one is lost.
    assert len(heard) > RATE - 4096
    np.testing.assert_allclose(heard, audio[: len(heard)], atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_a_file_is_an_error_that_names_the_second(tmp_path: Path, bad: float):
    audio = tone(8_000)
    audio[6_000] = bad
    soundfile.write(tmp_path / "a.wav", audio, 8_000, subtype="DOUBLE")
    with pytest.raises(AudioError, match=r"a.wav: the sample at 0\.75 s is (nan|inf)"):
        list(AudioFile(tmp_path / "a.wav"))


@pytest.mark.parametrize(
    ("sample_format", "encode"),
    [
        ("u8", lambda audio: (audio * 128 + 128).astype("u1")),
        ("s16le", lambda audio: (audio * 2**15).astype("<i2")),
        ("s32le", lambda audio: (audio * 2**31).astype("<i4")),
        ("f32le", lambda audio: audio.astype("<f4")),
    ],
)
def test_raw_pcm_of_every_format_is_read(
    sample_format: str, encode: Callable[[np.ndarray], np.ndarray]
):
    stereo = np.repeat(tone(48_000)[:, None], 2, axis=1)
    file = io.BytesIO(encode(stereo).tobytes())
    heard = listen(PcmStream(file, rate=48_000, channels=2, sample_format=sample_format))
    assert len(heard) == RATE
    assert is_tone(heard, 440.0, 0.5, tolerance=0.02)  # 8 bits are that coarse


@pytest.mark.parametrize("channels", [1, 2])
def test_pcm_in_odd_pieces_equals_the_whole(channels: int):
    rng = np.random.default_rng(4)
    data = rng.integers(-9999, 9999, 6000).astype("<i2").tobytes()
    whole = listen(PcmStream(io.BytesIO(data), channels=channels))
    edges = [0, *sorted(rng.integers(0, len(data), 200)), len(data)]
    writes = [data[a:b] for a, b in pairwise(edges) if a < b]
    for pipe in (Pipe(list(writes)), io.BufferedReader(Pipe(list(writes)))):
        assert listen(PcmStream(pipe, channels=channels)).tobytes() == whole.tobytes()
    assert len(whole) == 6000 // channels


def test_a_live_pipe_is_delivered_as_it_comes():
    pipe = Pipe([tone(RATE, 0.02).astype("<f4").tobytes()] * 3)
    blocks = iter(PcmStream(io.BufferedReader(pipe), sample_format="f32le"))
    assert len(next(blocks)) + len(next(blocks)) == 320  # the header check takes the first 4 bytes
    assert len(pipe.writes) == 2


def test_half_a_sample_at_the_end_is_ignored_with_a_warning(caplog: pytest.LogCaptureFixture):
    assert len(listen(PcmStream(io.BytesIO(b"\1\0\2\0\3\0\4")))) == 3
    assert "its last 1 bytes are ignored" in caplog.text


def test_two_samples_are_a_stream():
    assert len(listen(PcmStream(io.BytesIO(b"\1\0\2\0")))) == 2


@pytest.mark.parametrize("data", [b"", b"\1"])
def test_a_stream_without_a_sample_is_an_error(data: bytes):
    with pytest.raises(AudioError, match="ended before its first sample"):
        list(PcmStream(io.BytesIO(data)))


def wav(
    audio: np.ndarray, promise: int, rate: int = RATE, tag: int = 1, extensible: bool = False
) -> bytes:
    data = (audio * 32767).astype("<i2").tobytes()
    fmt = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, 1, rate, 2 * rate, 2, 16)
    if extensible:
        fmt += struct.pack("<HHIH14x", 22, 16, 4, tag)
    chunks = b"WAVE" + b"fmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"LIST" + struct.pack("<I", 3) + b"abc\0"  # odd chunks are padded
    chunks += b"data" + struct.pack("<I", promise) + data
    return b"RIFF" + struct.pack("<I", min(promise + 60, 0xFFFF_FFFF)) + chunks


@pytest.mark.parametrize("promise", [0, 0x7FFF_FFFF, 0xFFFF_FFFF, 2 * 8_000])
@pytest.mark.parametrize("extensible", [False, True])
def test_a_wav_header_on_the_stream_is_followed(promise: int, extensible: bool):
    data = wav(tone(8_000), promise, rate=8_000, extensible=extensible)
    heard = listen(PcmStream(Pipe([data[:3], data[3:50], data[50:]])))
    assert len(heard) == RATE
    assert is_tone(heard, 440.0, 0.5, tolerance=0.01)


def test_what_comes_after_the_audio_of_a_wav_stream_is_not_heard():
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes(b"\0\0" * 1000)
    trailing = file.getvalue() + b"LIST" + struct.pack("<I", 400) + b"\x7f" * 400
    heard = listen(PcmStream(io.BytesIO(trailing)))
    assert len(heard) == 1000 and not heard.any()


def test_unknown_and_broken_wav_headers_are_refused():
    with pytest.raises(AudioError, match="format 6 with 16 bits"):
        list(PcmStream(io.BytesIO(wav(tone(RATE), 0, tag=6))))
    with pytest.raises(AudioError, match="ends in its WAV header"):
        list(PcmStream(io.BytesIO(wav(tone(RATE), 0)[:30])))


def test_impossible_pcm_is_refused_before_reading():
    with pytest.raises(AudioError, match="'s16' is no sample format: use one of u8, s16le"):
        PcmStream(io.BytesIO(), sample_format="s16")
    with pytest.raises(AudioError, match="0 Hz"):
        PcmStream(io.BytesIO(), rate=0)
    with pytest.raises(AudioError, match=r"sys\.stdin\.buffer"):
        PcmStream(io.StringIO())


def test_nan_in_raw_pcm_is_an_error_that_names_the_second():
    audio = tone(RATE).astype("<f4")
    audio[8000] = np.nan
    with pytest.raises(AudioError, match=r"at 0\.50 s is nan"):
        list(PcmStream(io.BytesIO(audio.tobytes()), sample_format="f32le"))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_an_array_and_its_chunks_sound_the_same(rate: int):
    audio = np.stack([tone(rate), tone(rate)], axis=1).astype(np.float32)
    chunks = [audio[:100], audio[100:101], audio[101:101], audio[101:]]
    array, chunked = Samples(audio, rate), Chunks(iter(chunks), rate, channels=2)
    heard = listen(array)
    assert heard.tobytes() == listen(array).tobytes() == listen(chunked).tobytes()
    assert len(heard) == RATE and is_tone(heard, 440.0, 0.5, tolerance=0.01)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 16_000), np.int16), "16000 channels.*shape"),
        (np.zeros((2, 2, 2), np.int16), r"shape \(2, 2, 2\)"),
        (np.zeros(10, np.int64), "int64"),
        (np.array([0.0, np.nan]), r"at 0\.00 s is nan"),
        ([0.0, 0.1], "list"),
    ],
)
def test_arrays_that_are_no_audio_are_refused_at_once(array: object, message: str):
    with pytest.raises(AudioError, match=message):
        Samples(array)


def test_chunks_that_are_no_audio_are_refused():
    with pytest.raises(AudioError, match="float, but a numpy array"):
        list(Chunks([0.0, 0.1]))
    with pytest.raises(AudioError, match="channels"):
        Chunks([], channels=0)


def test_paths_arrays_and_iterables_become_sources(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", tone(RATE), RATE)
    audio = tone(RATE)
    for thing, kind in (
        (tmp_path / "a.wav", AudioFile),
        (str(tmp_path / "a.wav"), AudioFile),
        (audio, Samples),
        ([audio[:100], audio[100:]], Chunks),
        (iter([audio]), Chunks),
    ):
        source = as_source(thing)
        assert isinstance(source, kind) and isinstance(source, Source) and source.live is False
        assert len(listen(source)) == RATE
        assert as_source(source) is source


@pytest.mark.parametrize("thing", [b"\0\0", io.BytesIO(), 3, None])
def test_other_things_are_no_source(thing: object):
    with pytest.raises(AudioError, match="is no source of audio"):
        as_source(thing)
