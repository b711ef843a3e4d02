"""Values that are made field by field are those that their class makes."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import FrozenInstanceError, astuple, dataclass, fields, replace
from typing import Any

import pytest

from costguard.ledger.columnar import from_rows
from costguard.ledger.figures import Sum

Row = tuple[Any, ...]


@pytest.fixture(autouse=True)
def search_for_cycles() -> Iterator[None]:
    """As other tests expect it."""
    yield
    gc.enable()


def row(number: int) -> Row:
    return {"user": f"user-{number}"}, *[number * 100 + place for place in range(len(fields(Sum)) - 1)]


def columns(rows: Sequence[Row]) -> Iterable[Iterable[Any]]:
    return zip(*rows, strict=True)


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_each_row_is_what_its_class_makes_of_it(count: int) -> None:
    rows = [row(number) for number in range(count)]
    assert from_rows(Sum, rows, columns) == [Sum(*one) for one in rows]


def test_a_value_from_a_row_is_as_frozen_as_any_other() -> None:
    (one,) = from_rows(Sum, [row(1)], columns)
    with pytest.raises(FrozenInstanceError):
        one.cost = 0  # type: ignore[misc]
    assert repr(one) == repr(Sum(*row(1)))
    assert astuple(one) == astuple(Sum(*row(1)))
    assert replace(one, cost=7) == replace(Sum(*row(1)), cost=7)
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_value_from_a_row_can_be_a_key() -> None:
    @dataclass(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 0

    (one,) = from_rows(Point, [(1, 2)], columns)
    assert {one: "here"}[Point(1, 2)] == "here"


def test_a_field_without_a_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        from_rows(Sum, [(1, 2)], columns)


@pytest.mark.parametrize("searches", [True, False])
@pytest.mark.parametrize("count", [10, 2500])
def test_the_search_for_cycles_is_left_as_it_was(count: int, *, searches: bool) -> None:
    rows = [row(number) for number in range(count)]
    if not searches:
        gc.disable()
    from_rows(Sum, rows, columns)
    assert gc.isenabled() == searches


def test_the_search_for_cycles_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        from_rows(Sum, [(1, 2)] * 2500, columns)
    assert gc.isenabled()
