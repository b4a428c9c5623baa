"""Where the default differs from MMEngine on real models: every parameter, and why.

The reasons are a closed set. Each is found from the model and the rule alone, not asked of the plan.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from real_models import MODELS, RealModel, build
from torch import nn

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.mm]

TABLE = "the default and MMEngine: parameters that differ, by reason, and what MMEngine passes over"

NESTED = "skipped by MMEngine"
"""The rule's owner sits in a container that is no BaseModule, so MMEngine never reads its init_cfg."""

DISTANT = "distant base"
"""`layer` names a base class more than one level up, which MMEngine does not see."""

FANS = "logical fans"
"""A grouped convolution: an input reaches the outputs of its own group, but MMEngine counts all."""

REASONS = (NESTED, DISTANT, FANS)
KINDS = {NESTED: "nested", DISTANT: "bases", FANS: "fans"}

#: Modules whose rule cannot be carried out, which shows nowhere, since MMEngine never reads it.
WRONG_RULES = {
    "mmdet-tridentnet_r50-caffe_1x_coco": {f"backbone.layer3.{index}.conv2" for index in range(6)},
}
NO_SUCH_NAME = "it cannot be: The override names 'conv2', but a TridentConv has no such attribute"

#: Reasons that must be found on models known for them.
KNOWN = {
    "mmseg-ocrnet_hr18_4xb2-160k_cityscapes-512x1024": {DISTANT: 610, NESTED: 4},
    "mmseg-bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024": {FANS: 16, NESTED: 8},
    "mmdet-retinanet_regnetx-800MF_fpn_1x_coco": {FANS: 16},
    "mmdet-retinanet_r18_fpn_1x_coco": {},
}


@dataclass(frozen=True)
class Difference:
    """A parameter with two assignments."""

    name: str
    default: Any
    compat: Any


def _planned(model: nn.Module, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return initcfg.plan(model, **options)


def _underneath(assignment: Any) -> tuple[Any, str | None]:
    """Value and rule; of an opaque one, of what the tensor holds before the code runs."""
    value, rule = assignment.value, assignment.rule
    if value.kind != "Opaque":
        return value, rule
    while value.kind == "Opaque":
        value = value.over
    return value, next((each.rule for each in reversed(assignment.shadowed) if each.value == value), None)


def _owner_and_entry(model: nn.Module, rule: str) -> tuple[str, dict[str, Any]]:
    """Name of the module that owns a rule, and the entry, followed along the rule's path."""
    found = re.fullmatch(r"model\.?(.*?)\.?init_cfg(?:\[(\d+)\])?(?:\.override(?:\[(\d+)\])?)?", rule)
    assert found, rule
    owner, index, place = found.groups()
    entry: Any = model.get_submodule(owner).init_cfg
    entry = entry if index is None else entry[int(index)]
    if ".override" in rule:
        entry = entry["override"] if place is None else entry["override"][int(place)]
    return owner, entry


def _reason(model: nn.Module, difference: Difference, nested: set[str]) -> str | None:
    """Why the two differ: one of REASONS, or None."""
    value, rule = _underneath(difference.default)
    compat_value, compat_rule = _underneath(difference.compat)
    if rule is None:
        return None
    owner, entry = _owner_and_entry(model, rule)
    if owner in nested:
        return NESTED
    module = model.get_submodule(difference.name.rpartition(".")[0])
    if rule == compat_rule:
        return FANS if _by_fans(module, value, compat_value, entry) else None
    layers = {entry["layer"]} if isinstance(entry.get("layer"), str) else set(entry.get("layer", ()))
    direct = {type(module).__name__, *(base.__name__ for base in type(module).__bases__)}
    whole = {cls.__name__ for cls in type(module).__mro__}
    return DISTANT if layers & whole and not layers & direct else None


def _by_fans(module: nn.Module, value: Any, compat_value: Any, entry: dict[str, Any]) -> bool:
    """Whether the spreads are as far apart as the two fan_outs: by a factor of the groups."""
    groups = getattr(module, "groups", 1)
    if entry.get("type") != "Kaiming" or entry.get("mode", "fan_out") != "fan_out" or groups == 1:
        return False
    if getattr(module, "transposed", False) or (value.kind, compat_value.kind) != ("Normal", "Normal"):
        return False
    return math.isclose(value.args["std"] / compat_value.args["std"], math.sqrt(groups))


def _seen_as_skipped(model: nn.Module) -> set[str]:
    """Modules with a non-empty init_cfg below one that MMEngine does not descend into."""
    found = set()
    reached = {""}
    for name, module in model.named_modules(remove_duplicate=False):
        parent = name.rpartition(".")[0]
        if name and parent in reached and hasattr(module, "init_weights"):
            reached.add(name)
        elif name and getattr(module, "init_cfg", None):
            found.add(name)
    return found


@pytest.mark.parametrize("real", MODELS, ids=lambda real: real.name)
def test_every_difference_has_a_reason(real: RealModel, tables: dict[str, list[dict[str, Any]]]) -> None:
    torch.manual_seed(0)
    model = build(real)
    # Memory that nobody wrote while building holds NaN here; what is still kept then is uninitialized.
    unwritten = [name for name, each in model.named_parameters() if torch.isnan(each).any()]
    compat = _planned(model, compat="mmengine")
    with initcfg.deferred(guard=False):
        pending = build(real)
    assert list(_planned(pending, compat="mmengine").uninitialized) == [
        name for name in unwritten if compat[name].value.kind == "Keep"
    ]
    row: dict[str, Any] = {"model": real.name, "parameters": len(compat)}
    tables.setdefault(TABLE, []).append(row)
    row["uninitialized"] = sum(compat[name].value.kind == "Keep" for name in unwritten) or ""
    row["idle rules"] = len(compat.unused) or ""

    default = _planned(model)
    assert list(default) == list(compat)
    nested = set(default.nested)
    wrong = {item.rule for item in default.unused if NO_SUCH_NAME in item.reason}
    assert wrong == {f"model.{name}.init_cfg" for name in WRONG_RULES.get(real.name, ())}
    assert nested == _seen_as_skipped(model) - WRONG_RULES.get(real.name, set())

    differences = [Difference(name, *pair) for name, pair in default.diff(compat).items()]
    reasons = {each.name: _reason(model, each, nested) for each in differences}
    unexplained = [each for each in differences if reasons[each.name] is None]
    assert unexplained == []
    # What the plans themselves say must agree with what was found from the model.
    said = {each.name: each.kind for each in initcfg.differences(default, compat)}
    assert said == {name: KINDS[reason] for name, reason in reasons.items() if reason is not None}
    counts = Counter(reason for reason in reasons.values() if reason is not None)
    assert set(counts) <= set(REASONS)
    if real.name in KNOWN:
        assert dict(counts) == KNOWN[real.name]
    row["skipped modules"] = len(nested) or ""
    row["differ"] = len(differences) or ""
    row.update({reason: counts[reason] or "" for reason in REASONS})


def test_equal_plans_do_not_differ() -> None:
    model = build(next(each for each in MODELS if "regnetx-800MF" in each.config))
    assert _planned(model).diff(_planned(model)) == {}
    assert _planned(model, compat="mmengine").diff(_planned(model, compat="mmengine")) == {}
