from pathlib import Path

import numpy as np
import pytest
import torch
from kwspot_export.prunable import PruningError
from kwspot_export.prune_teacher import prune_teacher
from kwspot_export.segments import Segments
from kwspot_export.teachers import Hidden, open_teacher
from toy import assert_one_sentence, corpus_of, other_words
from toy_distill import write_teachers

RNG = np.random.default_rng(0)
CORPUS = corpus_of(*((f"speech/{i}", other_words(RNG, 8)) for i in range(3)))
SEGMENTS = Segments(CORPUS, np.arange(12) % 3, np.arange(12) * 300)


@pytest.mark.parametrize("kind", ["whisper", "hubert"])
def test_a_pruned_teacher_is_smaller_and_teaches(kind: str, tmp_path: Path) -> None:
    teacher = open_teacher(write_teachers(tmp_path) / kind)
    folder = tmp_path / "pruned"
    result = prune_teacher(teacher, SEGMENTS, folder, 0.1, ((0,), (1,)), steps=4, seed=0)
    assert result.parameters_after < result.parameters_before
    smaller = open_teacher(folder)
    assert smaller.fingerprint != teacher.fingerprint and smaller.widths == teacher.widths
    audio = torch.from_numpy(SEGMENTS.audio(np.arange(2)))
    whole, pruned = teacher(audio), smaller(audio)
    assert [x.shape for x in whole.layers] == [x.shape for x in pruned.layers]
    assert all(layer.isfinite().all() for layer in pruned.layers)


def test_a_teacher_without_a_transformers_model_is_refused(tmp_path: Path) -> None:
    class Plain:
        name = "plain"

        def __call__(self, audio: torch.Tensor) -> Hidden:
            return Hidden((audio[:, :, None],), None)

    with pytest.raises(PruningError, match="plain") as caught:
        prune_teacher(Plain(), SEGMENTS, tmp_path, 0.5, 2, 4, 0)
    assert_one_sentence(caught.value)
