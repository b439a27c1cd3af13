"""Files of the nets that all words share: a graph, and JSON in its metadata that describes it."""

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

from kwspot.errors import ModelError
from kwspot.model import open_session
from kwspot.records import read_record

FORMAT = 1  # of the descriptions

InfoT = TypeVar("InfoT")


def open_net(path: Path, key: str, kind: type[InfoT], purpose: str) -> tuple[Any, InfoT]:
    """Open a net's file: its session, on one thread, and its description under `key`, a `kind`.

    Raises ModelError for a file that is missing, damaged, or no net for `purpose`.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing, a net that {purpose}: install kwspot again")
    session = open_session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    if key not in metadata:
        raise ModelError(f"{path} is no net that {purpose}")
    try:
        values = json.loads(metadata[key])
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: its metadata is not JSON ({error})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ModelError(f"{path} is a net that this kwspot does not read: install kwspot again")
    return session, read_record(kind, values, f"{path}, metadata", ModelError)


def require_shapes(path: Path, session: Any, stated: list[tuple[str, tuple[int, ...]]]) -> None:
    """Raise ModelError where the graph's input and output, in this order, are not as `stated`."""
    nodes = (*session.get_inputs(), *session.get_outputs())
    found = [(node.name, tuple(node.shape)) for node in nodes]
    if found != stated or any(size < 1 for _, shape in stated for size in shape):
        raise ModelError(f"{path}: the graph has {found}, its metadata says {stated}")


def dump_net(info: Any) -> str:
    """Write a description, a dataclass, as JSON."""
    return json.dumps(dataclasses.asdict(info), separators=(",", ":"), sort_keys=True)
