"""What several tests share: one tiny model file, written once."""

import sys
from pathlib import Path

import pytest
from tiny import write_model

from kwspot.model import OnnxModel

# Scripts of their own, not a package.
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path += [str(BENCHMARKS), str(BENCHMARKS / "boards"), str(BENCHMARKS / "roofline")]


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="session")
def tiny_model(tiny_path: Path) -> OnnxModel:
    return OnnxModel(tiny_path)
