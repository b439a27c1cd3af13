import pytest
import torch
from kwspot_export.objectives.ensemble import average, concatenation, heads

ONE = [torch.full((1, 2, 3), 1.0), torch.full((1, 2, 3), 2.0)]
TWO = [torch.full((1, 2, 3), 3.0), torch.full((1, 2, 3), 6.0)]


def test_average_is_by_layer() -> None:
    targets = average([ONE, TWO])
    assert [float(t.mean()) for t in targets] == [2.0, 4.0]


def test_concatenation_lays_teachers_side_by_side() -> None:
    targets = concatenation([ONE, TWO])
    assert [t.shape[-1] for t in targets] == [6, 6]
    assert targets[0][0, 0].tolist() == [1, 1, 1, 3, 3, 3]


def test_heads_keep_every_teacher_and_layer() -> None:
    assert [float(t.mean()) for t in heads([ONE, TWO])] == [1.0, 2.0, 3.0, 6.0]


def test_teachers_of_unequal_layers_fit_heads_alone() -> None:
    assert len(heads([ONE, TWO[:1]])) == 3
    for combine in (average, concatenation):
        with pytest.raises(ValueError):
            combine([ONE, TWO[:1]])
