"""The arithmetic of ``scale``: against Python's own over the same grammar; bounded, whatever is written."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg._rules.scale import SCALE_NAMES, parse_scale
from initcfg.errors import ArgumentValueError, RuleError, RuleTypeError

KNOWN = {"layers": 12.0, "layer": 3.0, "width": 768.0, "fan_in": 48.0, "heads": 7.0}
PYTHON: dict[str, Any] = {"sqrt": math.sqrt, "log": math.log, "min": min, "max": max, "__builtins__": {}}

numbers = st.sampled_from(["2.", "3.5", ".25", "1e-2", "0.", "10.0", "1.5E+1", "7e0"])
names = st.sampled_from(sorted(KNOWN))


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**", " * ", " - "]), inner).map("".join)
    return st.one_of(
        binary,
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-{text}"),
        inner.map(lambda text: f"sqrt({text})"),
        inner.map(lambda text: f"log( {text} )"),
        st.lists(inner, min_size=2, max_size=3).map(lambda texts: f"min({','.join(texts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda texts: f"max({', '.join(texts)})"),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(numbers | names, _larger, max_leaves=12).filter(lambda text: len(text) < 200))
def test_it_is_what_python_computes(text: str) -> None:
    try:
        expected = eval(text, PYTHON, dict(KNOWN))
        if isinstance(expected, complex) or not math.isfinite(expected):
            expected = None
    except (ArithmeticError, ValueError, TypeError):
        expected = None
    try:
        found = parse_scale("scale", text).value(KNOWN)
    except ArgumentValueError as error:
        # What has no value on the way has none, though Python would go on with an infinity.
        assert expected is None or "no finite number" in error.problem or "nests" in error.problem
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/sqrt(2*layers)", 1 / math.sqrt(24)),
        ("-2**2", -4.0),
        ("2**-1", 0.5),
        ("2**3**2", 512.0),
        ("8/4/2", 1.0),
        ("max(layer, 1) - min(2, 3, 1)", 2.0),
        ("+-+2", -2.0),
        ("log(layers)/log(2)", math.log(12) / math.log(2)),
        (0.5, 0.5),
        (3, 3.0),
        ("1.", 1.0),
        (".5e1", 5.0),
    ],
)
def test_values(text: Any, expected: float) -> None:
    assert parse_scale("scale", text).value(KNOWN) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at its end, a number, a name or '(' is missing"),
        ("1/", "at its end, a number, a name or '(' is missing"),
        ("2*layrs", "at character 3, 'layrs' is no name that it knows"),
        ("sqrt 2", "at character 6, sqrt needs '('"),
        ("sqrt(1,2)", "at character 1, sqrt takes one number, and here are 2"),
        ("(1+2", "at its end, ')' is missing"),
        ("1 2", "at character 3, '2' is not expected"),
        ("1)", "at character 2, ')' is not expected"),
        ("2x", "at character 1, '2' is not expected"),
        ("__import__('os')", "'__import__' is no name"),
        ("layers.real", "at character 7, '.' is not expected"),
        ("layers[0]", "'[' is not expected"),
        ("1 if layers else 2", "'if' is not expected"),
        ("lambda: 1", "'lambda' is no name"),
        ("２*layers", "at character 1, '２' is not expected"),
        ("٣", "at character 1, '٣' is not expected"),
        ("1_000", "is not expected"),
        ("0x10", "is not expected"),
        ("1e999", "the number is beyond what a float can hold"),
        ("sqrt", "sqrt needs '('"),
        ("min()", "')' is not expected"),
        ("1\u00a0+1", "is not expected"),
        ("1//2", "at character 3, '/' is not expected"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, says: str) -> None:
    with pytest.raises(ArgumentValueError, match=re.escape(says)) as caught:
        parse_scale("scale", text)
    assert "sqrt(2*layers)" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9**9**9**9", "at character 5 it asks for a number beyond"),
        ("1/(layers-12)", "at character 2 it asks for a division by zero (here layers 12)"),
        ("sqrt(layer-4)", "it asks for sqrt of -1, which has no value"),
        ("log(0)", "log of 0"),
        ("(0-8)**0.5", "-8 ** 0.5, which is no finite number"),
        ("1e300*1e300", "which is no finite number"),
        ("0**(0-1)", "a division by zero"),
    ],
)
def test_what_has_no_value_says_where(text: str, says: str) -> None:
    with pytest.raises(ArgumentValueError, match=re.escape(says)):
        expression = parse_scale("scale", text)
        expression.value({name: KNOWN[name] for name in expression.names})


@pytest.mark.parametrize(
    "hostile", ["(" * 10_000, "-" * 250, "(" * 140 + "1" + ")" * 140, "1" * 301, "2" + "**2" * 90]
)
def test_the_hostile_is_bounded(hostile: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ArgumentValueError):
        parse_scale("scale", hostile).value({})
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("wrong", [True, None, [1], {"a": 1}, b"1", 1j])
def test_only_texts_and_numbers(wrong: Any) -> None:
    with pytest.raises(RuleTypeError, match="must be an expression in a text, or a number"):
        parse_scale("scale", wrong)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 10**400])
def test_only_finite_numbers(wrong: Any) -> None:
    with pytest.raises(RuleError, match="must be finite"):
        parse_scale("scale", wrong)


def test_every_name_is_known() -> None:
    text = "+".join(SCALE_NAMES)
    assert parse_scale("scale", text).value(dict.fromkeys(SCALE_NAMES, 1.0)) == len(SCALE_NAMES)
