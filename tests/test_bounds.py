from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from timbrel.bounds import Bounds, parse
from timbrel.errors import InputError, ModelError


@dataclass(frozen=True)
class Inner:
    ratio: Annotated[float, Bounds(0, 1)] = 0.5

    def __post_init__(self):
        if self.ratio == 0.25:
            raise InputError("ratio is 0.25; expected another")


@dataclass(frozen=True)
class Outer:
    name: str
    sizes: tuple[Annotated[int, Bounds(1, 9)], ...] = ()
    limit: Annotated[int, Bounds(1, 9)] | None = None
    mode: Literal["slow", "fast"] = "slow"
    inner: Inner = field(default_factory=Inner)


def test_values_get_their_types():
    given = {"name": "a", "sizes": [1, 9], "limit": 3, "mode": "fast", "inner": {"ratio": 1}}
    parsed = parse(Outer, given, "outer")
    assert parsed == Outer("a", (1, 9), 3, "fast", Inner(1.0))
    assert type(parsed.inner.ratio) is float
    assert parse(Outer, {"name": "a", "limit": None}, "outer") == Outer("a")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], r"outer is \[\]; expected an object"),
        ({}, "outer has no 'name'; expected name, sizes"),
        ({"name": "a", "colour": 1}, "outer has the setting 'colour'; expected name, sizes"),
        ({"name": 1}, "outer.name is 1; expected a value of type str"),
        ({"name": "a", "sizes": 3}, "outer.sizes is 3; expected a list"),
        ({"name": "a", "sizes": [1, 10]}, r"outer.sizes\[1\] is 10; expected 1 to 9"),
        ({"name": "a", "limit": True}, "outer.limit is True; expected a value of type int"),
        ({"name": "a", "limit": 0}, "outer.limit is 0; expected 1 to 9"),
        ({"name": "a", "mode": ["fast"]}, r"outer.mode is \['fast'\]; expected one of 'slow', 'fast'"),
        ({"name": "a", "inner": {"ratio": float("nan")}}, "outer.inner.ratio is nan; expected 0 to 1"),
        (
            {"name": "a", "inner": {"ratio": 10**400}},
            r"outer.inner.ratio is 10{56}\.\.\.; expected a value of type float",
        ),
        ({"name": "a", "inner": {"ratio": 0.25}}, "outer.inner: ratio is 0.25"),
    ],
)
def test_a_wrong_value_is_said_with_its_place(given, said):
    with pytest.raises(ModelError, match=said):
        parse(Outer, given, "outer")
