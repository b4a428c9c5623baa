"""``initcfg shapes`` and ``coordcheck``: a base for schemes, and whether they hold from width to width."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from initcfg._api import functions
from initcfg._api.command.planning import given_example, loaded_config
from initcfg._api.command.request import Request
from initcfg._api.command.terminal import spinner, table
from initcfg._api.coordinates import Coordinates, check_picture, draw_slopes, measure
from initcfg._api.declared_roles import example_of
from initcfg._api.parameter_groups import param_groups
from initcfg._apply import check_output
from initcfg._config.files import parse_overrides, replacing
from initcfg._model import Shapes, shapes_of
from initcfg._rules import resolve_type
from initcfg._rules.schemes import OfBase
from initcfg.errors import ArgumentError, add_row, plural

_SHOWN = 12


def shapes_written(request: Request, output: str, example: str | None = None) -> Shapes:
    """The shapes of a target, built on meta, and written to a file."""
    check_output(output, (".json",))
    given = None if example is None else given_example(request, example)
    loaded = loaded_config(request)
    cfg = functions.model_cfg(loaded, untrusted=request.untrusted)[1]
    made = functions.making(loaded, cfg, untrusted=request.untrusted)
    with spinner("building the model"), made, torch.device("meta"):
        model = functions.construct(cfg)
    shapes = shapes_of(model, given)
    with replacing(output) as temporary:
        Path(temporary).write_text(json.dumps(shapes.to_json(), indent=1) + "\n", encoding="utf-8")
    return shapes


def coordinates_checked(
    request: Request,
    vary: Sequence[str],
    *,
    scheme: str,
    std: float,
    lr: float,
    optimizer: str,
    seeds: int,
    steps: int,
    example: str | None,
    picture: str | None,
) -> Coordinates:
    """Train a target at each width, and compare."""
    if picture is not None:
        check_picture(picture)
    varied = _varied(vary)
    widths = next(iter(varied.values()))
    base = {key: values[0] for key, values in varied.items()}
    given = None if example is None else _example(example)

    def make(width: float, seed: int) -> Any:
        place = widths.index(width)
        changed = [f"{key}={values[place]!r}" for key, values in varied.items()]
        sized = Request(request.config, (*request.overrides, *changed), request.no_python, request.untrusted)
        loaded = loaded_config(sized)
        cfg = dict(functions.model_cfg(loaded, untrusted=request.untrusted)[1])
        rule = _rule(scheme, cfg, base, std, optimizer)
        if rule is not None:
            cfg["init_cfg"] = rule
        model = functions.build(cfg, init=False, seed=seed, untrusted=request.untrusted)
        plan = functions.located_plan(model, config=loaded, compat=None, strict=False)
        plan.apply(model, seed=seed)
        return model, param_groups(model, plan, lr=lr, optimizer=optimizer)  # type: ignore[arg-type]

    with spinner("training at each width"):
        found = measure(make, widths, seeds=seeds, steps=steps, example=given, optimizer=optimizer)
    if picture is not None:
        draw_slopes(found, picture)
    return found


def _varied(vary: Sequence[str]) -> dict[str, list[Any]]:
    """What changes from width to width: by argument, a value for each."""
    found: dict[str, list[Any]] = {}
    for key, values in parse_overrides(vary).items():
        found[key] = values if isinstance(values, list) else [values]
    if not found:
        raise ArgumentError(
            "Nothing says what the widths are.", fix="Write --vary hidden_size=64,128,256,512."
        )
    lengths = {len(values) for values in found.values()}
    first = next(iter(found.values()))
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in first)
    if len(lengths) > 1 or not numbers or len(set(first)) < max(2, len(first)):
        raise ArgumentError(
            "Each --vary has one value for each width, and the first of them has the widths, two or more "
            f"numbers: {', '.join(vary)} has not.",
            fix="Write --vary hidden_size=64,128,256 --vary num_attention_heads=4,8,16.",
        )
    return found


def _rule(
    scheme: str, cfg: dict[str, Any], base: dict[str, Any], std: float, optimizer: str
) -> dict[str, Any] | None:
    """The rule that is checked; None for those of the target itself."""
    if scheme == "none":
        return None
    inner = {key.removeprefix("model."): value for key, value in base.items()}
    given = parse_overrides([f"scheme={scheme}"])["scheme"]
    rule: dict[str, Any] = dict(given) if isinstance(given, dict) else {"type": given}
    if issubclass(resolve_type(rule.get("type")), OfBase):
        # A head that starts at random would hide for some steps what it learns.
        rule = {"base": inner, "std": std, "readout": "zero", **rule}
    if optimizer != "adamw":
        rule["optimizer"] = optimizer
    return rule


def _example(text: str) -> Any:
    """What the function ``file.py:function`` returns."""
    return example_of(text)()


def coordinates_view(found: Coordinates, *, full: bool) -> list[Any]:
    """A table of the modules whose sizes change most, or of all; and the outcome."""
    shown = table("module", "slope", *(f"{each:g}" for each in found.widths), "", right=("slope",))
    ordered = sorted(found.curves.items(), key=lambda item: -abs(item[1].slope))
    rows = list(found.curves.items()) if full else ordered[:_SHOWN]
    for name, curve in rows:
        sizes = (f"{row[-1]:.4g}" for row in curve.sizes)
        add_row(shown, name or "(the model)", f"{curve.slope:+.3f}", *sizes, "" if curve.passes else "✗")
    failing = sum(not curve.passes for curve in found.curves.values())
    more = f" ({len(rows)} shown, --full shows all)" if len(rows) < len(found.curves) else ""
    outcome = (
        "passes: all slopes are within ±0.1"
        if found.passes
        else f"fails: {plural(failing, 'slope')} beyond ±0.1"
    )
    return [shown, f"{len(found.curves)} modules{more}; {outcome}"]


def shapes_view(shapes: Shapes, output: str) -> str:
    """What was written, in a line."""
    return f"{output}: {len(shapes.tensors)} parameters, {shapes.layers} blocks"
