from dataclasses import replace

import numpy as np
import pytest
from kwspot_export.augment import Conditions
from kwspot_export.batches import (
    EARLY,
    IGNORED,
    LATE,
    Batch,
    Composer,
    Hard,
    Pools,
    keyword_spot,
)
from kwspot_export.corpus import Corpus
from kwspot_export.student import OUTPUT_HOP
from kwspot_export.train import Batches, Run
from numpy.random import default_rng
from torch.utils.data import DataLoader
from toy import (
    KEYWORD,
    PAD_SECONDS,
    PLAIN,
    WORD_SECONDS,
    clip,
    corpus_of,
    keyword,
    other_words,
    silence,
)

from kwspot.features import SAMPLE_RATE, FloatArray, FrontEnd

# Speech is found in frames of 10 ms smoothed over 50 ms, so its edges may be off by this much.
ENDPOINT = 0.035
HOP = OUTPUT_HOP / SAMPLE_RATE
SPEEDS = {"as recorded": PLAIN, "faster and slower": replace(PLAIN, speed_share=1.0)}

any_speed = pytest.mark.parametrize("conditions", SPEEDS.values(), ids=SPEEDS.keys())


def spoken_clips(text: str, *parts: FloatArray) -> tuple[str, FloatArray]:
    return text, clip(default_rng(4), *parts)


WORD = spoken_clips("Beep, boop!", keyword(default_rng(1)))
SENTENCE_START = spoken_clips(
    "beep boop turn it up", keyword(default_rng(1)), silence(0.12), other_words(default_rng(2), 3)
)
SENTENCE_END = spoken_clips(
    "Turn it up, beep boop.", other_words(default_rng(2), 3), silence(0.12), keyword(default_rng(1))
)
SENTENCE_PAUSE = spoken_clips(
    "Beep boop. Turn it up!", keyword(default_rng(1)), silence(0.35), other_words(default_rng(2), 3)
)
SILENT = ("silence", silence(1.0))


def composer_of(
    positive: tuple[str, FloatArray], conditions: Conditions, *others: tuple[str, FloatArray]
) -> Composer:
    """Compose from one clip with the keyword and a silent one; `others` are only in the corpus."""
    corpus = corpus_of(positive, SILENT, *others)
    none = np.zeros(0, np.int64)
    pools = Pools(
        positives=[keyword_spot(corpus, 0, KEYWORD)],
        positive_weights=np.ones(1),
        negatives=np.array([1]),
        negative_weights=np.ones(1),
        confusables=none,
        noises=none,
        room_indices=none,
        rooms=[],
        babble=np.zeros(SAMPLE_RATE, np.float32),
    )
    return Composer(corpus, pools, FrontEnd(), conditions)


def windows(composer: Composer, batch: Batch) -> FloatArray:
    """The part of the audio that the targets are about."""
    return batch.audio[:, composer.lead :]


def loud_seconds(window: FloatArray) -> FloatArray:
    """Seconds at which the window is not silent."""
    return np.flatnonzero(np.abs(window) > 0.05 * np.abs(window).max()) / SAMPLE_RATE


def heard(batch: Batch) -> FloatArray:
    """When each output has just been heard, in seconds of the window."""
    return (np.arange(batch.target.shape[1]) + 1) * HOP


def assert_same_bits(left: Batch, right: Batch) -> None:
    for name in ("audio", "warp", "target", "certain"):
        a, b = np.asarray(getattr(left, name)), np.asarray(getattr(right, name))
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_batch_is_a_function_of_seed_and_number(finished: Run) -> None:
    composer = finished.composer
    assert composer.pools.hard, "hard negatives take part"
    batch = composer.batch(8, default_rng([5, 3]))
    assert_same_bits(batch, composer.batch(8, default_rng([5, 3])))
    for other in ([5, 4], [6, 3]):
        assert not np.array_equal(batch.audio, composer.batch(8, default_rng(other)).audio)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_worker_processes_or_on_where_a_run_starts(
    finished: Run, workers: int
) -> None:
    batches = Batches(finished.composer, seed=5, size=4, start=3, stop=8)
    loaded = list(DataLoader(batches, batch_size=None, num_workers=workers))
    assert len(loaded) == 5
    for number, batch in enumerate(loaded, start=3):
        assert_same_bits(batch, finished.composer.batch(4, default_rng([5, number])))


def test_a_batch_has_the_shapes_and_ranges_it_promises(finished: Run) -> None:
    composer = finished.composer
    batch = composer.batch(16, default_rng(1))
    assert batch.audio.shape == (16, composer.lead + composer.length)
    assert batch.audio.dtype == np.float32
    assert np.abs(batch.audio).max() <= 1.0
    assert not batch.audio[:, : composer.lead].any()
    assert batch.warp.shape == (16,) and batch.warp.dtype == np.int64
    assert batch.target.shape == (16, composer.outputs) and batch.target.dtype == np.int8
    assert composer.outputs == 60
    # The front end makes as many whole frames as the outputs need, and no more.
    front_end = composer.front_end
    frames = 1 + (batch.audio.shape[1] - front_end.window) // front_end.hop
    assert frames == 4 * composer.outputs


def test_the_keyword_is_in_the_first_quarter_of_a_batch_only(finished: Run) -> None:
    for number in range(4):
        batch = finished.composer.batch(16, default_rng(number))
        asked = (batch.target == 1).any(axis=1)
        assert asked.tolist() == [True] * 4 + [False] * 12
        assert not batch.target[4:].any(), "every frame of the others is negative"
        assert batch.certain[4:].all()


@any_speed
@pytest.mark.parametrize("positive", [WORD, SENTENCE_END], ids=["word", "end of sentence"])
def test_the_target_sits_where_the_word_ends(
    positive: tuple[str, FloatArray], conditions: Conditions
) -> None:
    composer = composer_of(positive, conditions)
    batch = composer.batch(64, default_rng(0))
    times = heard(batch)
    for window, target in list(zip(windows(composer, batch), batch.target, strict=True))[:16]:
        end = loud_seconds(window)[-1]
        asked = times[target == 1]
        assert asked[0] == pytest.approx(end - EARLY + HOP / 2, abs=HOP / 2 + ENDPOINT)
        last = min(end + LATE, times[-1])
        assert asked[-1] == pytest.approx(last - HOP / 2, abs=HOP / 2 + ENDPOINT)
        assert len(asked) == round((asked[-1] - asked[0]) / HOP) + 1, "without a gap"
        ignored = times[target == -1]
        near = (ignored > end - EARLY - IGNORED - ENDPOINT) & (
            ignored < end + LATE + IGNORED + ENDPOINT
        )
        assert near.all()
    assert batch.certain.all()


def test_words_end_all_over_the_window() -> None:
    composer = composer_of(WORD, PLAIN)
    batch = composer.batch(160, default_rng(0))
    ends = [loud_seconds(window)[-1] for window in windows(composer, batch)[:40]]
    assert min(ends) < 1.25 and max(ends) > 1.95
    assert np.std(ends) == pytest.approx(1.0 / np.sqrt(12), abs=0.08)  # uniform over 1 s, 40 draws


@any_speed
def test_an_uncertain_end_is_somewhere_in_the_target(conditions: Conditions) -> None:
    composer = composer_of(SENTENCE_START, conditions)
    batch = composer.batch(64, default_rng(0))
    assert not batch.certain[:16].any()
    sentence = len(SENTENCE_START[1]) / SAMPLE_RATE - 2 * PAD_SECONDS
    for window, target in list(zip(windows(composer, batch), batch.target, strict=True))[:16]:
        loud = loud_seconds(window)
        if loud[-1] > 2.39:
            continue  # the sentence sticks out, and with it what tells its speed
        slower = (loud[-1] - loud[0]) / sentence
        end = loud[0] + slower * WORD_SECONDS
        assert target[int(end / HOP)] == 1


def test_a_part_of_the_keyword_is_not_the_keyword() -> None:
    # Other speech is silent here, so what sounds in a negative is a part of the keyword.
    composer = composer_of(WORD, PLAIN)
    batch = composer.batch(240, default_rng(3))
    negatives = windows(composer, batch)[60:]
    parts = [window for window in negatives if np.abs(window).max() > 0.05]
    assert len(parts) > 8  # 9 % of 180 are 16, give or take 4
    assert not batch.target[60:].any()
    word = WORD[1][int(PAD_SECONDS * SAMPLE_RATE) : -int(PAD_SECONDS * SAMPLE_RATE)]
    size = composer.length + len(word)
    template = np.fft.rfft(word / np.linalg.norm(word), size).conj()
    lengths = []
    for window in parts:
        loud = loud_seconds(window)
        lengths.append(loud[-1] - loud[0])
        likeness = np.fft.irfft(np.fft.rfft(window / np.linalg.norm(window), size) * template)
        assert likeness.max() < 0.9, "the keyword itself is in a negative"
    assert min(lengths) < 0.7 * WORD_SECONDS, "some are the head or the tail"
    assert max(lengths) > 0.9 * WORD_SECONDS, "some are both in the wrong order"


def test_hard_negatives_are_placed_so_that_the_fooling_moment_counts() -> None:
    fooling = silence(3.0)
    fooling[40_000:40_800] = keyword(default_rng(1))[:800]
    composer = composer_of(WORD, PLAIN, ("fooling", fooling))
    composer.pools.hard = [Hard(index=2, sample=40_800, score=0.9)]
    batch = composer.batch(80, default_rng(0))
    sounds = [loud_seconds(window) for window in windows(composer, batch)[20:]]
    # Parts of the keyword, the only other sound here, are at least 140 ms long.
    ends = [loud[-1] for loud in sounds if loud[-1] - loud[0] < 0.051]
    assert len(ends) >= 6  # 22 % of 60 are 13, give or take 3
    # The moment lies where the whole receptive field before it is in the window.
    assert all(1.19 <= end <= 2.21 for end in ends)


@pytest.mark.parametrize(
    ("sentence", "begin", "end", "certain"),
    [
        (WORD, PAD_SECONDS, PAD_SECONDS + WORD_SECONDS, True),
        (SENTENCE_START, PAD_SECONDS, PAD_SECONDS + WORD_SECONDS, False),
        (SENTENCE_PAUSE, PAD_SECONDS, PAD_SECONDS + WORD_SECONDS, True),
        (SENTENCE_END, PAD_SECONDS, len(SENTENCE_END[1]) / SAMPLE_RATE - PAD_SECONDS, True),
    ],
    ids=["word", "start of sentence", "before a pause", "end of sentence"],
)
def test_the_keyword_is_found_in_its_clip(
    sentence: tuple[str, FloatArray], begin: float, end: float, certain: bool
) -> None:
    spot = keyword_spot(corpus_of(SILENT, sentence), 1, KEYWORD)
    first, last = (sample / SAMPLE_RATE for sample in spot.end_range)
    assert spot.index == 1
    assert spot.certain == certain
    assert spot.alone == (sentence is WORD)
    assert spot.start / SAMPLE_RATE == pytest.approx(begin, abs=ENDPOINT)
    assert first - ENDPOINT < end < last + ENDPOINT
    if certain:
        assert first == last == pytest.approx(end, abs=ENDPOINT)


def test_worsening_sets_the_level_and_keeps_the_length(finished: Run) -> None:
    composer = finished.composer
    dry = other_words(default_rng(0), 10)
    for seed in range(12):
        worse = composer.acoustics.worsen(dry, default_rng(seed))
        level_db = 20 * np.log10(np.sqrt(np.mean(worse**2)))
        low, high = composer.conditions.level_db
        assert len(worse) == len(dry) and worse.dtype == np.float32
        assert low - 1 < level_db < high + 1  # dB; the hiss adds, and clipping takes away


def test_hiss_stays_below_faint_sound(finished: Run) -> None:
    faint = replace(PLAIN, level_db=(-58.0, -58.0), floor_db=(-30.0, -30.0))
    acoustics = replace(finished.composer.acoustics, conditions=faint)
    worse = acoustics.worsen(other_words(default_rng(0), 10), default_rng(0))
    # Hiss 10 dB below adds 0.4 dB; that of -30 dBFS would add 28.
    assert 20 * np.log10(np.sqrt(np.mean(worse**2))) == pytest.approx(-57.6, abs=0.2)


def test_worsened_silence_is_a_faint_hiss_or_noise(finished: Run) -> None:
    composer = Composer(finished.corpus, finished.composer.pools, FrontEnd(), PLAIN)
    worse = composer.acoustics.worsen(silence(1.0), default_rng(0))
    assert 20 * np.log10(np.std(worse)) == pytest.approx(-90.0, abs=0.5)  # dB, a random sequence


def test_the_corpus_is_only_read(finished: Run) -> None:
    corpus: Corpus = finished.corpus
    before = [corpus.audio(index) for index in range(len(corpus))]
    for number in range(3):
        finished.composer.batch(8, default_rng(number))
    for index, samples in enumerate(before):
        np.testing.assert_array_equal(corpus.audio(index), samples)
