import numpy as np
import pytest
import torch
from kwspot_export.frontend import NO_WARP, WARPS, LogMel
from toy import other_words

from kwspot.features import SAMPLE_RATE, FloatArray, FrontEnd
from kwspot.features import LogMel as RuntimeLogMel

# Both work in float32, where a quiet band beside a loud one keeps few digits. 0.002 is a hundredth
# of 1 dB (0.23 in the logarithm of power).
TOLERANCE = 2e-3

FRONT_END = FrontEnd()
LOG_MEL = LogMel(FRONT_END)


def waveforms(rows: int) -> FloatArray:
    """Words at levels from loud to faint, with a hiss: (rows, 1 s)."""
    rng = np.random.default_rng(2)
    words = [other_words(rng, 6)[:SAMPLE_RATE] * 10.0**-row for row in range(rows)]
    hiss = rng.standard_normal((rows, SAMPLE_RATE), np.float32) * np.float32(1e-4)
    return np.stack(words).astype(np.float32) + hiss


def test_a_batch_equals_the_runtime_row_by_row() -> None:
    audio = waveforms(3)
    runtime = RuntimeLogMel(FRONT_END)
    features = LOG_MEL(torch.from_numpy(audio)).numpy()
    assert features.shape == (3, 1 + (SAMPLE_RATE - FRONT_END.window) // FRONT_END.hop, 40)
    for row, samples in zip(features, audio, strict=True):
        np.testing.assert_allclose(row, runtime(samples), atol=TOLERANCE, rtol=0)


def test_digital_silence_is_zero_as_in_the_runtime() -> None:
    silence = np.zeros(FRONT_END.window, np.float32)
    for features in (
        LOG_MEL(torch.from_numpy(silence)[None])[0],
        RuntimeLogMel(FRONT_END)(silence),
    ):
        np.testing.assert_array_equal(features, np.zeros((1, FRONT_END.mels)))


def test_rows_do_not_depend_on_their_neighbours() -> None:
    audio = torch.from_numpy(waveforms(3)).repeat(7, 1)  # more than go through the cache at once
    warp = torch.arange(21)
    together = LOG_MEL(audio, warp)
    for row in range(21):
        alone = LOG_MEL(audio[row : row + 1], warp[row : row + 1])[0]
        # Matrix products of another size may add in another order.
        torch.testing.assert_close(together[row], alone, atol=TOLERANCE, rtol=0)


def test_a_warp_of_one_is_none() -> None:
    audio = torch.from_numpy(waveforms(2))
    assert WARPS[NO_WARP] == 1.0
    assert torch.equal(LOG_MEL(audio, torch.full((2,), NO_WARP)), LOG_MEL(audio))


@pytest.mark.parametrize("hz", [500, 1000, 2500])
def test_a_warp_moves_a_tone_as_a_shorter_or_longer_vocal_tract_does(hz: int) -> None:
    tone = 0.1 * torch.sin(2 * torch.pi * hz * torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE)
    features = LOG_MEL(tone.repeat(len(WARPS), 1), torch.arange(len(WARPS))).mean(dim=1)
    bands = features.argmax(dim=1).tolist()
    assert bands == sorted(bands)
    assert bands[0] < bands[NO_WARP] < bands[-1]
