"""Types of settings with their bounds, and the check of settings that come from a file.

@dataclass(frozen=True)
class Config:
    width: Width = 64
    gain_db: Annotated[float, Bounds(-60, 20)] = 0.0

config = parse(Config, json.loads(text), "config")
"""

from __future__ import annotations

import dataclasses
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from timbrel.errors import InputError, ModelError

MAX_ITEMS = 1000  # of a tuple

Parsed = TypeVar("Parsed")


class Bounds(NamedTuple):
    """The least and the greatest value; of a tuple, the fewest and the most values."""

    low: float
    high: float


Width = Annotated[int, Bounds(1, 8192)]  # of a layer
Depth = Annotated[int, Bounds(0, 64)]  # of a network, in layers
Widths = Annotated[tuple[Width, ...], Bounds(1, 16)]  # of the levels of a network
Dilations = Annotated[tuple[Annotated[int, Bounds(1, 256)], ...], Bounds(0, 64)]  # of its layers
Floor = Annotated[float, Bounds(-300, -1)]  # dB of full scale
Timesteps = Annotated[int, Bounds(2, 100_000)]


def parse(kind: type[Parsed], value: Any, name: str) -> Parsed:
    """A value from JSON as a value of type `kind`.

    Args:
        kind: int, float, bool, str or a dataclass; also `X | None`, `tuple[X, ...]`, `Literal`, and `Annotated` with
            `Bounds`.
        value: as `json.loads` gives it.
        name: what messages call the value.

    Raises:
        ModelError: the value is of another type or out of bounds; a field is missing or unknown.

    >>> parse(tuple[int, ...], [1, 2], "dilations")
    (1, 2)
    >>> parse(Annotated[int, Bounds(1, 8)], 9, "width")
    Traceback (most recent call last):
    timbrel.errors.ModelError: width is 9; expected 1 to 8
    """
    return _parse(kind, value, name)


def _parse(kind: Any, value: Any, name: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_fields(kind, value, name)
    if origin is Annotated:
        return _within(_parse(arguments[0], value, name), arguments[1], name)
    if origin is Literal:
        return value if value in arguments else _refuse(value, f"one of {', '.join(map(repr, arguments))}", name)
    if origin in (Union, UnionType):
        present = next(argument for argument in arguments if argument is not NoneType)
        return None if value is None else _parse(present, value, name)
    if origin is tuple:
        if type(value) is not list or len(value) > MAX_ITEMS:
            _refuse(value, f"a list of at most {MAX_ITEMS} values", name)
        return tuple(_parse(arguments[0], one, f"{name}[{i}]") for i, one in enumerate(value))
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    return value if type(value) is kind else _refuse(value, f"a value of type {kind.__name__}", name)


def _parse_fields(kind: Any, value: Any, name: str) -> Any:
    if type(value) is not dict:
        _refuse(value, "an object", name)
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := value.keys() - fields.keys():
        raise ModelError(f"{name} has the setting {min(unknown)!r:.60}; expected {', '.join(fields)}")
    for field in fields.values():
        if field.name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise ModelError(f"{name} has no {field.name!r}; expected {', '.join(fields)}")
    settings = {key: _parse(hints[key], one, f"{name}.{key}") for key, one in value.items()}
    try:
        return kind(**settings)
    except InputError as error:
        raise ModelError(f"{name}: {error}") from error


def _within(value: Any, bounds: Bounds, name: str) -> Any:
    many = type(value) is tuple
    if not bounds.low <= (len(value) if many else value) <= bounds.high:
        _refuse(value, f"{bounds.low:g} to {bounds.high:g}{' values' if many else ''}", name)
    return value


def _refuse(value: Any, expected: str, name: str) -> Any:
    shown = repr(value)
    raise ModelError(f"{name} is {shown if len(shown) <= 60 else shown[:57] + '...'}; expected {expected}")
