"""Pretrained rules in a plan: which tensor of a checkpoint goes where, found by name and shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import nn

from initcfg._initializers import PretrainedInit
from initcfg._layout import Layout
from initcfg._names import Entry, Names
from initcfg._plan import Load, Shadowed
from initcfg._program import Step
from initcfg._rules import Rule, location
from initcfg._stack import Stack
from initcfg._values import FromCheckpoint
from initcfg.errors import CheckpointError, TensorError


class Opened(Protocol):
    """What planning needs of an opened checkpoint."""

    def tensors(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """By name in the module: the key in the checkpoint, and the shape there."""
        ...


Opener = Callable[[PretrainedInit], Opened]


def match(
    step: Step, names: Names, opener: Opener, *, compat: bool
) -> tuple[list[tuple[Entry, Stack]], Load]:
    """The writes of one Pretrained step, and the account of what does and does not fit.

    A checkpoint that cannot be opened is no error yet: the plan says so, and apply refuses.
    """
    rule = step.rule
    assert rule is not None and rule.pretrained is not None
    source = rule.pretrained.checkpoint
    try:
        there = opener(rule.pretrained).tensors()
    except CheckpointError as error:
        return [], Load(rule.where, source, problem=error.problem)
    prefix = f"{step.owner_name}." if step.owner_name else ""
    local = _local_tensors(step.target, names)
    found: list[tuple[Entry, Stack]] = []
    missing: list[str] = []
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, entry in local.items():
        key, shape = there.get(name, ("", ()))
        if not key:
            missing.append(prefix + name)
        elif shape != tuple(entry.tensor.shape):
            mismatched.append((prefix + name, tuple(entry.tensor.shape), shape))
        elif len(entry.originals) > 1:
            raise TensorError(
                f"A parametrization stores this weight as {len(entry.originals)} tensors, and Pretrained "
                "cannot load those yet.",
                rule=str(rule),
                where=location(rule.where, rule.written),
                parameter=entry.name,
                shape=entry.shape,
                mend="Load first, then register the parametrization.",
            )
        else:
            write = Shadowed(rule.where, FromCheckpoint(source, key), rule.initializer("weight"))
            found.append((entry, Stack((step.order,), (write,), Layout(shape))))
    unexpected = tuple(key for name, (key, _) in there.items() if name not in local)
    step.used = bool(found)
    if not found and not mismatched and not compat:
        raise _nothing_fits(rule, local, there)
    return found, Load(rule.where, source, None, len(found), tuple(missing), unexpected, tuple(mismatched))


def _nothing_fits(
    rule: Rule, local: Mapping[str, Entry], there: Mapping[str, tuple[str, tuple[int, ...]]]
) -> CheckpointError:
    assert rule.pretrained is not None
    # A name of the module that ends a key shows what stands before it.
    prefixes = sorted(
        {name[: -len(own)] for own in list(local)[:20] for name in there if name.endswith("." + own)}, key=len
    )
    first = next(iter(there), None)
    return CheckpointError(
        f"No key of {rule.pretrained.checkpoint!r} fits a tensor of the module: keys are like {first!r}, "
        f"tensors like {next(iter(local), None)!r}.",
        rule=str(rule),
        where=location(rule.where, rule.written),
        meant=[f"prefix={prefix!r}" for prefix in prefixes[:3]],
        mend="Give the prefix that the module has in the checkpoint, or another checkpoint.",
    )


def _local_tensors(module: nn.Module, names: Names) -> dict[str, Entry]:
    """The tensors of a module's ``state_dict`` by their names there, without making copies."""
    found: dict[str, Entry] = {}
    for path, inner in module.named_modules(remove_duplicate=False):
        start = f"{path}." if path else ""
        for attribute, tensor in [*inner._parameters.items(), *inner._buffers.items()]:
            if tensor is not None and attribute not in inner._non_persistent_buffers_set:
                found[start + attribute] = names.entries[id(tensor)]
    return found
