"""Tensors that show their memory conjugated or negated: what goes through them has its sign."""

from __future__ import annotations

import pytest
import torch
from held_tensors import bits, holding, tensors_of
from torch import nn

import initcfg


def imag(z):
    """A float tensor of which torch keeps the negation as a bit."""
    turned = z.conj().imag
    assert turned.is_neg()
    return turned


def of_twos():
    z = torch.zeros(4, dtype=torch.complex64)
    z.imag.fill_(2.0)
    return z


def negated(tensor):
    return torch._neg_view(tensor)


def copied_from(source):
    target = torch.empty(source.shape)
    target.copy_(source)
    return target


def filled_through():
    z = torch.zeros(4, dtype=torch.complex64)
    imag(z).fill_(3.0)
    imag(z)[1] = 5.0
    whole = torch.zeros(4)
    negated(whole).fill_(3.0)
    negated(whole)[1:2].zero_()
    added = torch.full((4,), 2.0)
    negated(added).add_(1.0)
    negated(added).mul_(3.0)
    conjugated = torch.zeros(4, dtype=torch.complex64)
    conjugated.conj().fill_(1 + 2j)
    conjugated.conj()[2] = 3 + 1j
    copied = torch.zeros(4)
    negated(copied).copy_(torch.full((4,), 7.0))
    return z, whole, added, conjugated, copied


CONSTANT = {
    "clone": lambda: (imag(of_twos()).clone(), imag(of_twos()).contiguous(), imag(of_twos()).resolve_neg()),
    "other types": lambda: (imag(of_twos()).to(torch.float64), imag(of_twos()).half()),
    "copy_": lambda: (copied_from(imag(of_twos())), copied_from(negated(torch.ones(4)))),
    "computed": lambda: (
        imag(of_twos()) * 2,
        imag(of_twos()) + 1,
        -imag(of_twos()),
        imag(of_twos()).clamp(-1),
    ),
    "of constants": lambda: (
        torch.exp(imag(of_twos())),
        torch.maximum(negated(torch.ones(4)), torch.zeros(4)),
        negated(torch.ones(4)).abs(),
        torch.where(negated(torch.ones(4)) > 0, 1.0, 2.0),
    ),
    "whole": lambda: (negated(torch.ones(4)).clone(), negated(torch.ones(4)) * 2),
    "a number": lambda: (
        torch.empty(4).fill_(negated(torch.ones(()))),
        torch.full((4,), negated(torch.ones(())).item()),
    ),
    "complex": lambda: (
        of_twos().conj().resolve_conj(),
        of_twos().conj().clone(),
        torch.view_as_real(of_twos().conj().resolve_conj()).clone(),
        of_twos().conj() * 1j,
        of_twos().conj().imag.neg(),
    ),
    "filled through": filled_through,
}


def half_of(z):
    with_sign = torch.empty(4)
    with_sign.copy_(imag(z))
    return with_sign


def through_a_view():
    z = torch.zeros(4, dtype=torch.complex64)
    imag(z).copy_(torch.rand(4))
    whole = torch.zeros(4)
    negated(whole).uniform_(0, 1)
    partly = torch.zeros(4)
    negated(partly)[:2].normal_()
    return z, whole, partly


RANDOM = {
    "clone": lambda: (negated(torch.rand(4)).clone(), imag(torch.randn(4, dtype=torch.complex64)).clone()),
    "copy_": lambda: (
        copied_from(negated(torch.rand(4))),
        half_of(torch.complex(torch.rand(4), torch.rand(4))),
    ),
    "computed": lambda: (
        negated(torch.rand(4)) * 2,
        negated(torch.rand(4)) + 1,
        negated(torch.randn(4)).erfinv(),
    ),
    "resolved": lambda: (
        negated(torch.rand(4)).resolve_neg(),
        imag(torch.view_as_complex(torch.rand(4, 2))) * 1,
    ),
    "complex": lambda: (torch.view_as_complex(torch.rand(4, 2)).conj().resolve_conj(),),
    "through": through_a_view,
    "half": lambda: (negated(torch.rand(4)).to(torch.float16), negated(torch.rand(4)).double()),
}
CASES = {**{f"constant: {name}": make for name, make in CONSTANT.items()}, **RANDOM}


class Held(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        with torch.no_grad():
            for index, tensor in enumerate(make()):
                self.register_parameter(f"p{index}", nn.Parameter(tensor))


class Own(initcfg.BaseModule):
    def __init__(self, make) -> None:
        super().__init__()
        self.make = make
        for index, tensor in enumerate(make()):
            self.register_parameter(f"p{index}", nn.Parameter(torch.zeros(tensor.shape, dtype=tensor.dtype)))

    def init_weights(self) -> None:
        for index, tensor in enumerate(self.make()):
            getattr(self, f"p{index}").data.copy_(tensor)


def found_in(model):
    return {name: bits(tensor) for name, tensor in tensors_of(model).items()}


def done(by, build, **how):
    if by == "trace":
        plan, model = initcfg.trace(build), build()
        torch.manual_seed(3)
        plan.apply(model, **how)
    else:
        with initcfg.deferred():
            model = build()
        torch.manual_seed(3)
        initcfg.init_weights(model, **how)
    return model


@pytest.mark.parametrize("by", ["trace", "deferred"])
@pytest.mark.parametrize("name", CASES)
def test_torch_s_generator_gives_what_torch_gives(name, by):
    torch.manual_seed(3)
    expected = found_in(Held(CASES[name]))
    assert found_in(done(by, lambda: Held(CASES[name]), rng="torch")) == expected


@pytest.mark.parametrize("by", ["trace", "deferred"])
@pytest.mark.parametrize("name", CONSTANT)
def test_constants_have_their_sign_under_the_stream(name, by):
    assert found_in(done(by, lambda: Held(CONSTANT[name]), seed=1)) == found_in(Held(CONSTANT[name]))


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize("name", CONSTANT)
def test_own_code_writes_signs(name, rng):
    plain, ours = Own(CONSTANT[name]), Own(CONSTANT[name])
    plain.init_weights()
    initcfg.init_weights(ours, **(dict(seed=1) if rng == "stream" else dict(rng="torch")))
    assert found_in(ours) == found_in(plain)


@pytest.mark.parametrize("by", ["trace", "deferred"])
def test_random_numbers_have_their_sign_under_the_stream(by):
    def build():
        drawn = torch.rand(200)
        return holding(a=negated(drawn).clone(), b=copied_from(negated(drawn)), c=through_a_view()[1])

    model = done(by, build, seed=1)
    assert bool((model.a < 0).all()) and torch.equal(model.a, model.b)
    assert bool((model.c < 0).all())


def test_a_parameter_that_is_conjugated_is_not_planned_as_its_memory():
    plan = initcfg.trace(lambda: holding(p=negated(torch.ones(4)), q=torch.ones(4)))
    assert "negated" in plan["p"].value.code
    assert plan["q"].value.val == 1
