"""Values through JSON: every kind, and kinds of a user's own, without losing a bit."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from dataclasses import dataclass
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg import errors, values
from initcfg.values import Constant, Formula, Keep, Normal, Sparse, Value, from_json, to_json

NUMBERS = st.floats() | st.sampled_from([math.inf, -math.inf, math.nan, -0.0, 1e-320, 5e-324])
TEXTS = st.text() | st.sampled_from(["inf", "-inf", "nan"])


@dataclass(frozen=True)
class Mixed(Value):
    """A kind of a user's own."""

    scale: float
    label: str
    count: int
    flag: bool
    bounds: tuple[float, float]
    names: tuple[str, ...]
    table: tuple[tuple[float, ...], ...]
    inner: Value
    inners: tuple[Value, ...]
    low: float | None = None
    high: Optional[float] = None  # noqa: UP045
    start: Normal | None = None
    either: int | float = 0


INDICES = st.lists(st.integers(0, 9)).map(tuple)
STEPS = st.just((("narrow", 1, 2), ("transpose",)))
SIMPLE: dict[type[Value], st.SearchStrategy[Value]] = {
    values.Constant: st.builds(values.Constant, NUMBERS),
    values.Uniform: st.builds(values.Uniform, NUMBERS, NUMBERS),
    values.Normal: st.builds(values.Normal, NUMBERS, NUMBERS),
    values.TruncNormal: st.builds(values.TruncNormal, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    values.Orthogonal: st.builds(values.Orthogonal, NUMBERS, INDICES, INDICES),
    values.Sparse: st.builds(values.Sparse, NUMBERS, NUMBERS),
    values.Dirac: st.builds(values.Dirac, st.integers()),
    values.Eye: st.builds(values.Eye, NUMBERS),
    values.Hadamard: st.builds(values.Hadamard, NUMBERS),
    values.Numbers: st.builds(values.Numbers, st.lists(NUMBERS).map(tuple)),
    values.Keep: st.just(values.Keep()),
    values.FromCheckpoint: st.builds(values.FromCheckpoint, TEXTS, TEXTS),
    values.Hooked: st.builds(values.Hooked, TEXTS, TEXTS, STEPS, st.lists(TEXTS).map(tuple), TEXTS, TEXTS),
    values.Adapted: st.builds(values.Adapted, TEXTS, TEXTS, STEPS, st.lists(TEXTS).map(tuple)),
    values.Computed: st.builds(values.Computed, TEXTS),
    values.Formula: st.just(Formula('[["draw","randn.default",[2],0],["result","$0"]]')),
}


def nesting(inner: st.SearchStrategy[Value]) -> dict[type[Value], st.SearchStrategy[Value]]:
    several = st.lists(inner, max_size=3).map(tuple)
    return {
        values.Parts: st.builds(values.Parts, st.integers(0, 3), INDICES, several),
        values.PaddingRow: st.builds(values.PaddingRow, st.integers(0, 9), inner),
        values.Repeat: st.builds(values.Repeat, st.integers(0, 9), st.integers(1, 9), inner),
        values.Scaled: st.builds(values.Scaled, inner, st.lists(NUMBERS).map(tuple), st.integers(0, 9)),
        values.FromBatch: st.builds(values.FromBatch, TEXTS, inner),
        values.CopyOf: st.builds(values.CopyOf, TEXTS, inner),
        values.Seeded: st.builds(values.Seeded, TEXTS, inner, st.integers(0, 2**64 - 1)),
        values.Opaque: st.builds(values.Opaque, TEXTS, inner),
        values.Originals: st.builds(values.Originals, TEXTS, TEXTS, st.lists(inner).map(tuple)),
        Mixed: st.builds(
            Mixed,
            NUMBERS,
            TEXTS,
            st.integers(),
            st.booleans(),
            st.tuples(NUMBERS, NUMBERS),
            st.lists(TEXTS, max_size=2).map(tuple),
            st.lists(st.lists(NUMBERS, max_size=2).map(tuple), max_size=2).map(tuple),
            inner,
            several,
            st.none() | NUMBERS,
            st.none() | NUMBERS,
            st.none() | SIMPLE[Normal],
            st.integers() | NUMBERS,
        ),
    }


NESTED = st.recursive(
    st.one_of(*SIMPLE.values()), lambda inner: st.one_of(*nesting(inner).values()), max_leaves=4
)
BY_KIND = {**SIMPLE, **nesting(NESTED)}


def bits(item: Any) -> Any:
    """What tells two values apart, to the last bit of each float."""
    if isinstance(item, Value):
        return type(item), tuple(bits(each) for each in item.args.values())
    if isinstance(item, tuple):
        return tuple(map(bits, item))
    if isinstance(item, float):
        return "nan" if math.isnan(item) else struct.pack("<d", item)
    return type(item), item


@pytest.mark.parametrize("kind", BY_KIND)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_bit_is_lost(kind: type[Value], data: st.DataObject) -> None:
    value = data.draw(BY_KIND[kind])
    # Strict JSON knows neither NaN nor Infinity.
    text = json.dumps(to_json(value), allow_nan=False)
    assert bits(from_json(json.loads(text))) == bits(value)
    assert json.dumps(to_json(from_json(json.loads(text)))) == text


def test_every_kind_is_among_them() -> None:
    exported = (getattr(values, name) for name in values.__all__)
    kinds = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Value)}
    assert set(BY_KIND) == kinds - {Value} | {Mixed}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Constant(-0.0), '{"kind": "Constant", "val": -0.0}'),
        (Constant(3), '{"kind": "Constant", "val": 3}'),
        (Normal(0.1, math.inf), '{"kind": "Normal", "mean": 0.1, "std": "inf"}'),
        (Sparse(-math.inf, math.nan), '{"kind": "Sparse", "sparsity": "-inf", "std": "nan"}'),
        (
            values.Parts(0, (2, 1), (Keep(), values.Eye(1e-320))),
            '{"kind": "Parts", "dim": 0, "sizes": [2, 1], '
            '"values": [{"kind": "Keep"}, {"kind": "Eye", "gain": 1e-320}]}',
        ),
        (
            values.Adapted("a.pth", "w", (("transpose",),)),
            '{"kind": "Adapted", "source": "a.pth", "key": "w", "steps": [["transpose"]], "others": []}',
        ),
        (Formula('[["initial"]]'), '{"kind": "Formula", "program": [["initial"]]}'),
    ],
)
def test_the_text(value: Value, text: str) -> None:
    assert json.dumps(to_json(value)) == text
    assert bits(from_json(json.loads(text))) == bits(value)


def test_a_kind_that_a_function_defines() -> None:
    @dataclass(frozen=True)
    class Inner(Value):
        std: float

    @dataclass(frozen=True)
    class Outer(Value):
        inner: Inner
        others: tuple[Inner, ...] = ()

    value = Outer(Inner(math.inf), (Inner(-0.0),))
    assert bits(from_json(to_json(value))) == bits(value)


def test_the_later_of_two_kinds_of_one_name_is_meant() -> None:
    first, second = (dataclasses.make_dataclass("Twice", [], bases=(Value,), frozen=True) for _ in range(2))
    assert type(from_json(to_json(first()))) is second


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([], "must be an object"),
        ({"kind": "Norml"}, "is not a kind of value"),
        ({"kind": "Eye", "gain": 1.0, "a": 2}, "but these are given"),
        ({"kind": "Eye", "gain": "much"}, "gain of Eye is 'much', and should be of type float"),
        ({"kind": "Eye", "gain": None}, "should be of type float"),
        ({"kind": "Dirac", "groups": 1.5}, "should be of type int"),
        ({"kind": "Computed", "code": 3}, "should be of type str"),
        ({"kind": "PaddingRow", "index": 0, "value": 3}, "should be of type initcfg.values.Value"),
        ({"kind": "PaddingRow", "index": 0, "value": {"kind": "Eye"}}, "A value of kind Eye has"),
        ({"kind": "Parts", "dim": 0, "sizes": [0.5], "values": []}, "sizes of Parts is 0.5"),
        ({"kind": "Parts", "dim": 0, "sizes": 3, "values": []}, "sizes of Parts is 3"),
    ],
)
def test_what_is_not_a_value(data: Any, problem: str) -> None:
    with pytest.raises(errors.PlanError, match=problem):
        from_json(data)
