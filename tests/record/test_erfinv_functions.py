"""Truncated normals of libraries, recorded as one write: what their operations say, one by one."""

from __future__ import annotations

import itertools
import math
import sys
import types

import pytest
import torch
from torch import nn

import initcfg
from initcfg._record.recording.erfinv_functions import erfinv_functions
from initcfg.values import TruncNormal

MEANS, STDS, ENDS = (0, -0.5), (0.02, 3), ((-2, 2), (-0.04, 0.04), (-1.0, 3.0), (0, 0))


def library(text: str) -> types.ModuleType:
    """A module of this name with a function as the libraries have it."""
    module = types.ModuleType("mmengine.model.weight_init")
    exec(compile(text, f"{module.__name__}.py", "exec"), vars(module))
    return module


FUNCTION = """
import math, torch
def _no_grad_trunc_normal_(tensor, mean, std, a, b):
    def norm_cdf(x):
        return (1. + math.erf(x / math.sqrt(2.))) / 2.
    with torch.no_grad():
        lower = norm_cdf((a - mean) / std)
        upper = norm_cdf((b - mean) / std)
        tensor.uniform_(2 * lower - 1, 2 * upper - 1)
        tensor.erfinv_()
        tensor.mul_(std * math.sqrt(2.))
        tensor.add_(mean)
        tensor.clamp_(min=a, max=b)
        return tensor
def trunc_normal_(tensor, mean=0., std=1., a=-2., b=2.):
    return _no_grad_trunc_normal_(tensor, mean, std, a, b)
"""


def built(function, *numbers):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(40, 5))
            function(self.weight, *numbers)

    with initcfg.deferred():
        return Model()


@pytest.mark.parametrize("ends", ENDS)
def test_it_is_what_the_operations_say(monkeypatch, ends):
    one, by_operations = library(FUNCTION), library(FUNCTION)
    monkeypatch.setitem(sys.modules, one.__name__, one)
    named = 0
    for mean, std in itertools.product(MEANS, STDS):
        first, second = (built(each.trunc_normal_, mean, std, *ends) for each in (one, by_operations))
        plan, other = initcfg.plan(first), initcfg.plan(second)
        assert plan["weight"].value == other["weight"].value
        assert plan.digest == other.digest
        named += isinstance(plan["weight"].value, TruncNormal)
        for model, each in ((first, plan), (second, other)):
            torch.manual_seed(4)
            each.apply(model, rng="torch")
        assert first.weight.equal(second.weight) or math.isnan(first.weight[0, 0].item())
    assert named or ends == (0, 0)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("tensor.add_(mean)", "tensor.add_(mean).mul_(2)"),
        ("tensor.mul_(std * math.sqrt(2.))", "tensor.mul_(std)"),
        ("2 * upper - 1", "upper"),
        ("tensor.clamp_(min=a, max=b)", "tensor.clamp_(min=a, max=b + 1)"),
        ("return tensor", "tensor.zero_()"),
        ("return tensor", "raise ValueError"),
    ],
)
def test_a_function_that_does_something_else_is_left_alone(monkeypatch, text, instead):
    other, by_operations = (library(FUNCTION.replace(text, instead)) for _ in range(2))
    monkeypatch.setitem(sys.modules, other.__name__, other)
    made = []
    for each in (other, by_operations):
        try:
            model = built(each.trunc_normal_, 0.0, 0.5, -1.0, 1.5)
            made.append((initcfg.plan(model).digest, initcfg.plan(model)["weight"].value))
        except ValueError:
            made.append((None, None))
    assert made[0] == made[1]
    assert made[0][1] != TruncNormal(0.0, 0.5, -1.0, 1.5)


def test_afterwards_the_function_is_as_it_was(monkeypatch):
    one = library(FUNCTION)
    monkeypatch.setitem(sys.modules, one.__name__, one)
    code = one._no_grad_trunc_normal_.__code__
    built(one.trunc_normal_, 0.0, 0.1, -2.0, 2.0)
    assert one._no_grad_trunc_normal_.__code__ is code


def test_the_function_is_known_for_what_it_is(monkeypatch):
    one = library(FUNCTION)
    monkeypatch.setitem(sys.modules, one.__name__, one)
    assert list(erfinv_functions()) == [one._no_grad_trunc_normal_]
