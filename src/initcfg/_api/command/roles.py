"""``initcfg roles``: what each weight of a model does, and how that is known."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from torch import nn

from initcfg._api import functions
from initcfg._api.command.planning import given_example, loaded_config
from initcfg._api.command.request import Request
from initcfg._api.command.terminal import spinner, table
from initcfg._config.files import without_working_folder
from initcfg._model import Roles, TensorRole, declaration, find_roles, named_tensors
from initcfg._plan.planner import remembered_roles
from initcfg._plan.report import limited, mask, merge_exactly
from initcfg.errors import add_row, line, plural

# Besides what a weight is in its branch: said in a column of their own.
_BESIDES = ("residual_out", "residual_norm", "head")
_MOST_PATTERNS = 3
_SHORT = ("residual_out", "blocks")


def found_roles(request: Request, example: str | None) -> tuple[nn.Module, Roles]:
    """The model of a config or builder, and what its tensors do."""
    named = None if example is None else given_example(request, example)
    apart = without_working_folder() if request.untrusted else contextlib.nullcontext()
    with apart, spinner("building the model"):
        loaded = loaded_config(request)
        model = functions.build(loaded, init=False, untrusted=request.untrusted)
    said = remembered_roles(model)
    given = said.example if named is None else named
    with spinner("looking at what it does"):
        return model, find_roles(model, example=given, declared=said.declared)


def roles_json(found: Roles) -> dict[str, Any]:
    """All that was found, as JSON data."""
    return {
        "layers": found.layers,
        "residuals": found.residuals,
        "width": found.width,
        "notes": list(found.notes),
        "stacks": [{"layers": each.layers, "residuals": each.residuals} for each in found.stacks],
        "tensors": {
            name: {
                "roles": list(each.roles),
                "how": each.how,
                "layer": each.layer,
                "heads": each.heads,
                "layers": each.layers,
                "residuals": each.residuals,
                "stack": each.stack,
            }
            for name, each in found.tensors.items()
        },
    }


def roles_config(model: nn.Module, found: Roles) -> list[str]:
    """The lines of what a config says beside ``model``: all that was found."""
    said = declaration(model, found)
    lines = ["roles = dict(", *(f"    {key}={_text(value)}," for key, value in said.items()), ")"]
    if found.layers and "blocks" not in said:
        # A declaration alone would lack what the pass saw.
        return ["# Its blocks cannot be declared: keep the example beside these roles.", *lines]
    return lines


def roles_view(model: nn.Module, found: Roles, *, full: bool = False) -> RenderableType:
    """A row for tensors of the same roles, and a few lines."""
    groups: dict[object, list[str]] = {}
    for name, each in found.tensors.items():
        if each.roles:
            groups.setdefault((name,) if full else (each.roles, each.how), []).append(name)
    shown = table("role", "×", "tensors", "layer", "heads", "how", "besides", right=("×",), no_wrap=True)
    for names in sorted(groups.values(), key=lambda each: (found.tensors[each[0]].layer is not None, 0)):
        add_row(shown, *_cells(names, [found.tensors[name] for name in names], full))
    said = declaration(model, found)
    short = {key: value for key, value in said.items() if key in _SHORT} or {"residual_out": ["GLOB"]}
    without = _without_role(model, found, full)
    fix = f"To correct: roles = dict({', '.join(f'{key}={_text(value)}' for key, value in short.items())})"
    return Group(shown, line(), line(_summary(found), style="bold"), *without, line(fix))


def _cells(names: list[str], roles: list[TensorRole], full: bool) -> tuple[str, ...]:
    first = [role for role in roles[0].roles if role not in _BESIDES] or [roles[0].roles[0]]
    besides = [role for role in roles[0].roles if role != first[0]]
    patterns: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        patterns.setdefault(mask(name), []).append(name)
    merged = [text for each in patterns.values() for text in merge_exactly(each)]
    layers = sorted({each.layer for each in roles if each.layer is not None})
    heads = sorted({each.heads for each in roles if each.heads is not None})
    return (
        first[0],
        str(len(names)),
        ", ".join(limited(merged, full, _MOST_PATTERNS)),
        _range(layers) or "–",
        _range(heads) or "–",
        roles[0].how,
        ", ".join(besides),
    )


def _without_role(model: nn.Module, found: Roles, full: bool) -> list[Text]:
    """Weights that do nothing that has a name here; biases have no roles but those of norms."""
    none = [
        each.name
        for each in named_tensors(model).parameters
        if len(each.shape) > 1 and not (each.name in found.tensors and found.tensors[each.name].roles)
    ]
    if not none:
        return []
    patterns: dict[tuple[str, ...], list[str]] = {}
    for name in none:
        patterns.setdefault(mask(name), []).append(name)
    merged = [text for each in patterns.values() for text in merge_exactly(each)]
    shown = ", ".join(limited(merged, full, _MOST_PATTERNS))
    return [line(f"{plural(len(none), 'weight')} without a role: {shown}")]


def _range(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and numbers[-1] - numbers[0] + 1 == len(numbers):
        return f"{numbers[0]}..{numbers[-1]}"
    return ", ".join(map(str, numbers[:4])) + (", ..." if len(numbers) > 4 else "")


def _summary(found: Roles) -> str:
    blocks = plural(found.layers, "block") if found.layers else "no blocks"
    adds = plural(found.residuals, "residual add") if found.residuals else "no residual adds"
    width = [f"width {found.width:,}"] if found.width else []
    return "; ".join([f"{blocks}, {adds}", *_stacks(found), *width, *found.notes]) + "."


def _stacks(found: Roles) -> list[str]:
    """How many blocks each stack has, where there are several."""
    if len(found.stacks) < 2:
        return []
    *first, last = [str(each.layers or 0) for each in found.stacks]
    return [f"{len(found.stacks)} stacks: {', '.join(first)} and {last} blocks"]


def _text(value: Any) -> str:
    """A text or a list of them, as Python with double quotes."""
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    quoted = repr(value)
    return f'"{quoted[1:-1]}"' if quoted[0] == "'" and '"' not in quoted else quoted
