"""Steps: pure data, whose shape is known before the numbers."""

from __future__ import annotations

import json

import pytest
from adapted import numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg import errors
from initcfg._stream.writing.adaptation import carried_out, result_shape
from initcfg.values import Adapted, from_json, own_fault, steps_text, to_json
from initcfg.values.adaptation_steps import step_fault

_STEPS = st.one_of(
    st.just(("transpose",)),
    st.tuples(st.just("narrow"), st.integers(0, 2), st.integers(1, 2)),
    st.tuples(st.just("select"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("grow"), st.sampled_from(["mean", "covariance"]), st.integers(5, 7)),
    st.tuples(st.just("channels"), st.integers(1, 4)),
    st.tuples(st.just("patch"), st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.just("inflate"), st.sampled_from(["mean", "center"]), st.integers(1, 4)),
    st.tuples(st.just("resize_tokens"), st.integers(0, 1), *[st.integers(1, 3)] * 4),
    st.tuples(st.just("resize_table"), st.integers(0, 1), *[st.integers(1, 3)] * 4),
    st.tuples(st.just("resize_grid"), st.sampled_from([1, 2]), st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.just("subset"), st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.sampled_from(["copies", "shared"]), st.integers(0, 1), st.integers(1, 6)),
    st.tuples(st.just("repeat"), st.integers(1, 4)),
    st.tuples(
        st.sampled_from(["pissa", "olora"]),
        st.sampled_from(["A", "B", "rest"]),
        st.integers(1, 3),
        st.floats(0.1, 4),
    ),
    st.just(("no such step",)),
)


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
    steps=st.lists(_STEPS, min_size=1, max_size=3).map(tuple),
)
@settings(max_examples=300, deadline=None)
def test_the_shape_is_known_before_the_numbers(shape, steps):
    try:
        expected = result_shape([shape], steps)
    except errors.PlanError:
        with pytest.raises(errors.PlanError):
            carried_out([numbers(*shape)], steps)
        return
    assert tuple(carried_out([numbers(*shape)], steps).shape) == expected


@given(steps=st.lists(_STEPS, max_size=3).map(tuple), others=st.lists(st.text()).map(tuple))
def test_steps_through_json(steps, others):
    value = Adapted("a.pth", "key", steps, others)
    assert from_json(json.loads(json.dumps(to_json(value)))) == value
    assert hash(value) == hash(Adapted("a.pth", "key", steps, others))
    assert steps_text(steps) in str(value)


@given(steps=st.lists(_STEPS, min_size=1, max_size=3).map(tuple))
def test_steps_that_a_plan_may_hold_are_told_apart(steps):
    named = [step for step in steps if step != ("no such step",)]
    assert [step_fault(step) for step in named] == [None] * len(named)
    assert (own_fault(Adapted("a.pth", "key", steps)) is None) == (len(named) == len(steps))


@pytest.mark.parametrize(
    "steps",
    [
        [("grow", "mean", 1 << 30), ("narrow", 0, 3)],
        [("channels", 1 << 30), ("narrow", 0, 3, 1)],
        [("patch", 1 << 14, 1 << 14), ("narrow", 0, 1, 2)],
        [("inflate", "mean", 1 << 30), ("narrow", 0, 1, 2)],
    ],
)
def test_memory_on_the_way_is_that_of_both_ends(steps):
    with pytest.raises(errors.PlanError, match="numbers on their way, far more than are needed"):
        result_shape([(2, 3, 4, 4)], steps)


def test_large_patches_are_refused_before_their_matrix_is_made():
    with pytest.raises(errors.PlanError, match="patches have at most 4,096 places"):
        carried_out([numbers(1, 1, 200, 200)], [("patch", 16, 16)])
