"""Licences that a user states: of the weights, and of each source of recordings."""

from dataclasses import dataclass, field
from pathlib import Path

from kwspot.records import read_record
from kwspot_export.recipe import RecipeError, read_table

UNSTATED = "not stated"


@dataclass(frozen=True)
class Licences:
    """`sources` are licences by the name that manifests give a source."""

    weights: str = UNSTATED
    sources: dict[str, str] = field(default_factory=dict)


def read_licences(path: Path) -> Licences:
    """Read a TOML file of licences; raise RecipeError for one that is missing or says more."""
    return read_record(Licences, read_table(path), str(path), RecipeError)
