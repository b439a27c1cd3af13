import base64

import numpy as np
import pytest

from kwspot import ModelError
from kwspot.features import FloatArray
from kwspot.likeness import NEAREST, Likeness, pack, unpack


def voices(count: int, size: int = 16, shared: float = 0.0, seed: int = 0) -> FloatArray:
    """Draw voices (count, size) of length 1, which have `shared` of one direction in common."""
    rows = np.random.default_rng(seed).standard_normal((count, size))
    rows[:, 0] += shared * size**0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_without_strangers_likeness_is_the_cosine() -> None:
    voice, *profiles = voices(4)
    expected = [float(voice @ profile) for profile in profiles]
    for likeness in (Likeness(), Likeness(np.zeros((0, 16), np.float32))):
        assert likeness(voice, np.array(profiles)) == pytest.approx(expected, abs=1e-6)


def test_what_both_have_in_common_with_the_nearest_strangers_is_taken_off() -> None:
    voice, profile = voices(2)
    strangers = voices(50, seed=1)

    def nearest(direction: FloatArray) -> float:
        return float(np.mean(sorted(strangers @ direction)[-NEAREST:]))

    expected = float(voice @ profile) - nearest(voice) / 2 - nearest(profile) / 2
    assert Likeness(strangers)(voice, profile[None]) == pytest.approx([expected], abs=1e-6)


def test_strangers_from_one_place_seem_no_more_alike_than_others() -> None:
    here, there = voices(80, shared=1.5), voices(80, seed=1)
    cohort = np.concatenate([here[40:], there[40:]])

    def apart(likeness: Likeness) -> float:
        """Return how much more alike strangers are here than there."""
        alike = [
            np.mean([likeness(people[n], people[20:40]) for n in range(20)])
            for people in (here, there)
        ]
        return float(alike[0] - alike[1])

    assert apart(Likeness()) > 0.5
    assert abs(apart(Likeness(cohort))) < 0.25


def test_fewer_strangers_than_count_are_all_counted() -> None:
    strangers = voices(3, seed=1)
    voice = voices(1)[0]
    assert Likeness(strangers).common(voice) == pytest.approx(float((strangers @ voice).mean()))


def test_strangers_come_back_from_a_file_to_a_hundredth() -> None:
    strangers = voices(30, size=192)
    again = unpack(pack(strangers), 192, "here")
    assert again.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(again, strangers, atol=0.01)
    assert unpack(pack(again), 192, "here") == pytest.approx(again, abs=1e-3)
    assert unpack("", 192, "here").shape == (0, 192)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("@", "not base64"),
        (base64.b64encode(bytes(5)).decode(), "no embeddings of 4 numbers"),
        (base64.b64encode(bytes(8)).decode(), "is nobody"),
    ],
)
def test_text_that_holds_no_strangers_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ModelError, match=f"net.onnx: .*{reason}") as error:
        unpack(text, 4, "net.onnx")
    assert "\n" not in str(error.value)
