"""Frozen dataclasses from parsed JSON or TOML.

Reading is strict: unknown, missing and ill-typed values are errors.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def read_record(kind: type[T], values: object, where: str, error: type[Exception]) -> T:
    """Build `kind` from a mapping, descending into dataclass, tuple, dict and optional fields.

    Raises `error` with one sentence that starts with `where`.
    """
    if not isinstance(values, Mapping):
        raise error(f"{where}: expected a table, found {values!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in fields:
            raise error(f"{where}: unknown setting {name!r}; known are {', '.join(fields)}")
    built = {}
    for name, field in fields.items():
        if name in values:
            built[name] = _value(hints[name], values[name], f"{where}, {name}", error)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise error(f"{where}: the setting {name!r} is missing")
    return kind(**built)


def _value(kind: Any, value: object, where: str, error: type[Exception]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return read_record(typing.cast(type[Any], kind), value, where, error)
    if origin is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        return _value(arguments[0], value, where, error)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], item, where, error) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return {key: _value(arguments[1], item, where, error) for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    is_flag = isinstance(value, bool)  # which Python counts among the integers
    if origin is None and isinstance(value, kind) and is_flag == (kind is bool):
        return value
    raise error(f"{where}: {value!r} is no {getattr(kind, '__name__', kind)}")
