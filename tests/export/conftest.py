"""What the tests of the export side share: a toy data folder, and what is made from it once."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import pytest
import torch
from kwspot_export.onnx_export import export_onnx
from kwspot_export.recipe import Recipe, read_recipe
from kwspot_export.train import Run
from toy import RECIPE, Commanded, Exported, describe, random_net, start_run, write_data

from kwspot.cli import main

# The study's modules are commands, not a package: they find each other in their own folder.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "distillation"))

torch.set_num_threads(1)  # the nets are tiny, and other threads would only wait for each other


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "toy.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def recipe(recipe_path: Path) -> Recipe:
    return read_recipe(recipe_path)


@pytest.fixture(scope="session")
def finished(recipe: Recipe, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the toy recipe from start to end, in one process."""
    run = start_run(recipe, data, tmp_path_factory.mktemp("finished"))
    run.fit(lambda progress: None)
    return run


@pytest.fixture(scope="session")
def commanded(recipe_path: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Commanded:
    """The same run once more by the command line, with two workers, to a model file."""
    base = tmp_path_factory.mktemp("commanded")
    model, folder = base / "models" / "toy.onnx", base / "runs" / "toy"
    arguments = ["train", "--recipe", recipe_path, "--data", data, "--output", model]
    arguments += ["--run", folder, "--workers", 2]
    with redirect_stderr(io.StringIO()) as said:
        status = main([str(argument) for argument in arguments])
    return Commanded(status, model, folder, said.getvalue())


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    net = random_net()
    info = describe(net, ("hey",))
    path = tmp_path_factory.mktemp("exported") / "random.onnx"
    with _records_of("torch.onnx") as said:
        difference = export_onnx(net, info, path)
    return Exported(net, info, path, difference, said)


@contextmanager
def _records_of(name: str) -> Iterator[list[logging.LogRecord]]:
    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    records: list[logging.LogRecord] = []
    handler, logger = Keep(), logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
