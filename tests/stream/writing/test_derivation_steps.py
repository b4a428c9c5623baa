"""Steps that make another model's weights: elements, copies, parts of low rank."""

from __future__ import annotations

import math

import pytest
import torch
from adapted import numbers

from initcfg import errors
from initcfg._stream.writing.adaptation import carried_out, result_shape
from initcfg.values.adaptation_steps import step_fault


@pytest.mark.parametrize(("many", "few"), [(12, 4), (12, 5), (768, 192), (768, 320), (10, 1), (7, 7), (9, 8)])
def test_elements_at_even_distances(many, few):
    chosen = carried_out([torch.arange(float(many))], [("subset", few)]).long()
    if many % few == 0:
        expected = torch.arange(few) * (many // few)
    else:
        expected = torch.round(torch.linspace(0, many - 1, few)).long()
    assert torch.equal(chosen, expected)


def test_elements_along_every_axis():
    tensor = numbers(6, 5, 3, 3)
    made = carried_out([tensor], [("subset", 3, 2, 3, 3)])
    assert torch.equal(made, tensor[[0, 2, 4]][:, [0, 4]])


def test_copies_in_turn_and_shared():
    tensor = numbers(2, 3)
    copied = carried_out([tensor], [("copies", 1, 7)])
    assert torch.equal(copied, tensor[:, [0, 1, 2, 0, 1, 2, 0]])
    shared = carried_out([tensor], [("shared", 1, 7)])
    assert torch.equal(shared, copied / torch.tensor([3, 2, 2, 3, 2, 2, 3]))
    torch.testing.assert_close(shared.sum(1), tensor.sum(1))


def test_copies_under_a_new_axis_take_no_memory():
    tensor = numbers(3, 2)
    made = carried_out([tensor], [("repeat", 5)])
    assert made.shape == (5, 3, 2)
    assert made.data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (5, 5)])
@pytest.mark.parametrize("kind", ["pissa", "olora"])
def test_parts_of_low_rank_give_the_whole(kind, shape, dtype):
    weight = numbers(*shape).to(dtype)
    down, up, rest = (carried_out([weight], [(kind, part, 3, 2.5)]) for part in ("A", "B", "rest"))
    assert (down.shape, up.shape, rest.shape) == ((3, shape[1]), (shape[0], 3), shape)
    bound = 1e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(
        rest.double() + 2.5 * (up @ down).double(), weight.double(), atol=bound, rtol=0
    )


def test_pissa_is_of_the_first_singular_vectors():
    weight = numbers(8, 6)
    left, singular, right = torch.linalg.svd(weight, full_matrices=False)
    down, up, rest = (carried_out([weight], [("pissa", part, 2, 0.5)]) for part in ("A", "B", "rest"))
    assert torch.equal(down, (singular[:2] / 0.5).sqrt()[:, None] * right[:2])
    assert torch.equal(up, left[:, :2] * (singular[:2] / 0.5).sqrt())
    torch.testing.assert_close(torch.linalg.svdvals(rest)[:4], singular[2:], atol=1e-5, rtol=0)


def test_olora_is_of_the_first_columns_of_q():
    weight = numbers(8, 6)
    left, right = torch.linalg.qr(weight)
    assert torch.equal(carried_out([weight], [("olora", "A", 2, 4.0)]), right[:2])
    assert torch.equal(carried_out([weight], [("olora", "B", 2, 4.0)]), left[:, :2])


@pytest.mark.parametrize("part", ["A", "B", "rest"])
def test_what_is_not_finite_has_no_parts(part):
    weight = numbers(4, 3)
    weight[1, 1] = math.inf
    assert carried_out([weight], [("pissa", part, 2, 1.0)]).isnan().all()


@pytest.mark.parametrize(
    ("shape", "step"),
    [
        ((4,), ("subset", 5)),
        ((4, 4), ("subset", 4)),
        ((4,), ("copies", 0, 3)),
        ((0,), ("copies", 0, 3)),
        ((4,), ("copies", 1, 8)),
        ((4,), ("pissa", "A", 1, 1.0)),
        ((4, 2), ("olora", "rest", 3, 1.0)),
        ((4,), ("copies", 0, (1 << 31) - 1)),
    ],
)
def test_steps_without_a_meaning_are_told_before_the_numbers(shape, step):
    if step[-1] == (1 << 31) - 1:
        # It is known without the numbers, and takes no memory until then.
        assert result_shape([shape], [step]) == ((1 << 31) - 1,)
        return
    with pytest.raises(errors.PlanError, match="no meaning"):
        result_shape([shape], [step])


@pytest.mark.parametrize(
    ("step", "place"),
    [
        (("pissa", "C", 1, 1.0), (1,)),
        (("pissa", "A", 0, 1.0), (2,)),
        (("pissa", "A", 1, 0.0), (3,)),
        (("pissa", "A", 1, math.nan), (3,)),
        (("olora", "A", 1, math.inf), (3,)),
        (("olora", "A", 1, True), (3,)),
        (("olora", "A", 1, 10**400), (3,)),
        (("copies", -1, 4), (1,)),
        (("repeat", 1.0), (1,)),
        (("subset", 1, -2), (2,)),
        (("repeat",), ()),
    ],
)
def test_steps_that_no_plan_may_hold(step, place):
    fault = step_fault(step)
    assert fault is not None
    assert fault[0] == place
