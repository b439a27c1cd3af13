from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export import bank as bank_module
from kwspot_export.acoustics import Acoustics
from kwspot_export.bank import Bank
from kwspot_export.frontend import LogMel
from kwspot_export.segments import Segments
from toy import PLAIN, corpus_of, other_words

from kwspot.features import FrontEnd

FRONT_END = FrontEnd()
RNG = np.random.default_rng(0)
CORPUS = corpus_of(*((f"speech/{i}", other_words(RNG, 6)) for i in range(3)))


@pytest.fixture
def acoustics() -> Acoustics:
    ones = np.array([0], np.int64)
    return Acoustics(CORPUS, [], np.zeros(16000, np.float32), ones, ones, np.ones(1), PLAIN)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "SHARD", 4)


def segments(count: int) -> Segments:
    return Segments(CORPUS, np.arange(count) % 3, np.arange(count) * 100)


def open_bank(folder: Path, acoustics: Acoustics, count: int = 6, workers: int = 0) -> Bank:
    return Bank.open(segments(count), acoustics, FRONT_END, 2, 5, folder, workers)


def test_features_are_those_of_the_segment_in_its_place(
    tmp_path: Path, acoustics: Acoustics
) -> None:
    bank = open_bank(tmp_path, acoustics)
    rows, variants = np.array([5, 0, 3]), np.array([1, 0, 1])
    features = bank.features(rows, variants)
    assert features.shape == (3, 160, 40) and features.dtype == torch.float32
    for found, row, variant in zip(features, rows, variants, strict=True):
        dry = segments(6).audio(np.array([row]))[0]
        worse = acoustics.worsen(dry, np.random.default_rng([5, row, variant]))
        lead = FRONT_END.window - FRONT_END.hop
        expected = LogMel(FRONT_END)(torch.from_numpy(np.pad(worse, (lead, 0)))[None])[0]
        assert torch.allclose(found, expected, atol=0.01)  # float16 of up to 17


def test_warped_places_are_heard_from_several_vocal_tracts(
    tmp_path: Path, acoustics: Acoustics
) -> None:
    def features(warped: bool, seed: int) -> torch.Tensor:
        bank = Bank.open(segments(2), acoustics, FRONT_END, 6, seed, tmp_path, warped=warped)
        return bank.features(np.zeros(6, np.int64), np.arange(6))

    plain, warped = features(False, 5), features(True, 5)
    changed = [not torch.equal(a, b) for a, b in zip(plain, warped, strict=True)]
    assert sum(changed) >= 3
    assert torch.equal(warped, features(True, 5))


def test_an_interrupted_bank_goes_on_and_is_the_same(tmp_path: Path, acoustics: Acoustics) -> None:
    rows, variants = np.arange(6), np.array([0, 1] * 3)
    whole = open_bank(tmp_path, acoustics).features(rows, variants)
    (place,) = tmp_path.iterdir()
    files = sorted(place.iterdir())
    assert len(files) == 2
    kept = files[0].stat().st_mtime_ns
    files[1].unlink()
    again = open_bank(tmp_path, acoustics).features(rows, variants)
    assert torch.equal(whole, again) and files[0].stat().st_mtime_ns == kept


def test_other_segments_make_another_bank(tmp_path: Path, acoustics: Acoustics) -> None:
    open_bank(tmp_path, acoustics)
    open_bank(tmp_path, acoustics, count=5)
    assert len(list(tmp_path.iterdir())) == 2
