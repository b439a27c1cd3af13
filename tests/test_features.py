import kaldi_native_fbank as knf
import numpy as np
import pytest
from sound import words

from kwspot.features import FrontEnd, LogMel, mel_filters


def kaldi(samples: np.ndarray, front_end: FrontEnd) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = front_end.sample_rate
    options.mel_opts.num_bins = front_end.mels
    options.mel_opts.low_freq = front_end.low_hz
    options.mel_opts.high_freq = front_end.high_hz
    oracle = knf.OnlineFbank(options)
    oracle.accept_waveform(front_end.sample_rate, (samples * 32768).tolist())
    return np.stack([oracle.get_frame(i) for i in range(oracle.num_frames_ready)])


@pytest.mark.parametrize("mels", [40, 80])
@pytest.mark.parametrize("level_db", [0, -40])
@pytest.mark.parametrize("floor", [5.0, np.log(1.1920929e-07)])  # the second is Kaldi's own
def test_log_mel_equals_kaldi_above_the_floor(mels: int, level_db: int, floor: float) -> None:
    front_end = FrontEnd(mels=mels, floor=float(floor))
    samples = words(1.0, seed=2) * np.float32(10 ** (level_db / 20))
    theirs = np.maximum(kaldi(samples, front_end), floor) - floor
    # Sums in another order of float32; where a band holds next to nothing, logs differ more.
    np.testing.assert_allclose(LogMel(front_end)(samples), theirs, atol=2e-3)


def test_silence_is_zero() -> None:
    assert not LogMel(FrontEnd())(np.zeros(1520, np.float32)).any()


def test_blocks_of_one_length_do_not_disturb_each_other() -> None:
    log_mel, first, second = LogMel(FrontEnd()), words(0.1, seed=1), words(0.1, seed=2)
    alone = log_mel(first)
    log_mel(second)
    np.testing.assert_array_equal(log_mel(first), alone)


def test_shapes_and_type() -> None:
    features = LogMel(FrontEnd())(np.zeros(400 + 7 * 160, np.float32))
    assert features.shape == (8, 40)
    assert features.dtype == np.float32


def test_the_input_is_left_as_it_was() -> None:
    samples = words(0.2, seed=1)
    before = samples.copy()
    LogMel(FrontEnd())(samples)
    np.testing.assert_array_equal(samples, before)


def test_filters_warped_upwards_hear_a_tone_in_a_higher_band() -> None:
    front_end = FrontEnd()
    tone = np.zeros(front_end.fft // 2 + 1, np.float32)
    tone[64] = 1.0  # 2 kHz
    bands = [(tone @ mel_filters(front_end, warp)).argmax() for warp in (0.85, 1.0, 1.15)]
    assert bands == sorted(set(bands))
