"""Writes: what a rule writes to a tensor of some layout, and which of several rules has the say."""

from __future__ import annotations

from operator import attrgetter

import torch
from torch import nn

from initcfg._plan.assignment import Scaling, Shadowed
from initcfg._plan.planner.context import Steps
from initcfg._plan.stacks import Stack
from initcfg._rules import Rule
from initcfg._rules.initializers import BaseInit
from initcfg.errors import InitcfgError, PlanError, TensorError
from initcfg.values import Layout, dtype_problem, original_sampler_remark


def write_of(
    rule: Rule, initializer: BaseInit, layout: Layout, known: dict[str, float], name: str, *, bias: bool
) -> Shadowed:
    """What a rule writes to a tensor: the value of its initializer, scaled, and the multipliers with it."""
    try:
        return _write(rule, initializer, layout, known, bias=bias)
    except InitcfgError as error:
        raise in_context(error, rule, name, layout.shape) from None
    except Exception as error:
        wrong = PlanError(f"{initializer!r} has no value: {type(error).__name__}: {error}.")
        raise in_context(wrong, rule, name, layout.shape) from error


def _write(
    rule: Rule, initializer: BaseInit, layout: Layout, known: dict[str, float], *, bias: bool
) -> Shadowed:
    """What a rule writes: the value of its initializer, scaled, and the multipliers that go with it."""
    value = initializer.resolve(layout)
    scaling: Scaling | None = None
    tune: dict[str, float | str] = {}
    if rule.scales(initializer):
        if rule.scale is not None:
            factor = rule.scale.value(known)
            within = {each: known[each] for each in sorted(rule.scale.names)}
            scaling = Scaling(rule.scale.text, within, factor, value)
            numerator, divisor = rule.scale.quotient(known)
            value = initializer.with_scale(value, numerator, layout, divisor)
        tune = rule.tuned(known)
    return Shadowed(rule.where, value, rule.initializer("bias" if bias else "weight"), scaling, tune)


def limits(
    stack: Stack, dtype: torch.dtype, steps: Steps, name: str, *, bias: bool, compat: bool
) -> list[str]:
    """The value that shows must be one that the tensor's type can hold; remarks on it."""
    found = dtype_problem(stack.top.value, dtype)
    if found is not None:
        error = TensorError(
            f"{stack.top.value} cannot be written: {found}.",
            fix="Correct the rule, or exclude the tensor.",
        )
        raise in_context(error, last_rule(steps, bias), name, stack.layout.shape)
    remark = original_sampler_remark(stack.top.value, dtype) if compat else None
    return [] if remark is None else [f"{stack.top.rule}: {remark}"]


def initializer_of(rule: Rule | None, bias: bool) -> BaseInit | None:
    return None if rule is None else rule.bias if bias else rule.weight


def asking_of(steps: Steps, bias: bool) -> Rule | None:
    """The last of the rules whose initializer asks what torch's own layer does."""
    for step in reversed(steps):
        initializer = initializer_of(step.rule, bias)
        if initializer is not None and initializer.asks_default:
            return step.rule
    return None


def last_rule(steps: Steps, bias: bool) -> Rule | None:
    """The rule that wins."""
    meant = [step for step in steps if initializer_of(step.rule, bias) is not None]
    return max(meant, key=attrgetter("order")).rule


def in_context(
    error: InitcfgError, rule: Rule | None, name: str, shape: tuple[int, ...] | None = None
) -> InitcfgError:
    if rule is not None:
        error.rule, error.where = str(rule), rule.place
    error.parameter, error.shape = name, shape
    return error


def one_way(parametrization: str) -> TensorError:
    """The error of a weight that a parametrization computes which cannot be inverted."""
    return TensorError(
        f"This weight is computed by the parametrization {parametrization}, which has no "
        "right_inverse, so nothing can be written through it.",
        fix=f"Give {parametrization} a right_inverse, or exclude the weight from this rule.",
    )


def parametrized_remarks(name: str, module: nn.Module, attribute: str) -> list[str]:
    """What there is to say of a weight that is written through its parametrization."""
    chain = module.parametrizations[attribute]  # type: ignore[index]
    kinds = [type(each).__name__ for each in chain]  # type: ignore[union-attr]
    # Of torch's own, only weight_norm gives back exactly what was written.
    if kinds == ["_WeightNorm"]:
        return []
    return [
        f"{name} is written through {', '.join(kinds)}, which may make something else of it; "
        "the ledger says if it did"
    ]
