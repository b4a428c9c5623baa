"""The base of a scheme: a narrower build of the same model, in each form that it can be given in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from initcfg._config import built_again, built_on_meta
from initcfg._config.files import check_nesting, file_text
from initcfg._model import Shapes, Widths, compare_widths, shapes_of
from initcfg.errors import ArgumentError, InitcfgError, PlanError, RuleTypeError

_FORMS = (
    "Give base=dict(hidden_size=64) (arguments of the same builder), base='hf:LlamaForCausalLM' with "
    "base_args=dict(...), a module built within torch.device('meta'), or base='shapes.json', which "
    "`initcfg shapes BUILDER -o shapes.json` writes."
)


def check_base(base: Any, base_args: Any, *, of: str) -> None:
    """Refuse what is no base.

    Raises:
        RuleError: It has none of the forms.
    """
    if not isinstance(base, (str, Mapping, nn.Module)):
        what = "needs a base, the model that it was tuned on" if base is None else f"takes no base {base!r}"
        raise (ArgumentError if base is None else RuleTypeError)(f"{of} {what}.", fix=_FORMS)
    builds = isinstance(base, str) and not base.endswith(".json")
    if base_args is not None and not (builds and isinstance(base_args, Mapping)):
        raise ArgumentError("base_args is a dict, of a base that is the text of a builder.", fix=_FORMS)


def widths_of(
    owner: nn.Module,
    base: Any,
    base_args: Mapping[str, Any] | None,
    example: Any = None,
    *,
    runs: bool = False,
) -> Widths:
    """What of the owner grows from its base; with ``runs``, how many blocks run counts as the depth.

    Raises:
        PlanError: The base is no narrower build of the same model.
    """
    if isinstance(base, str) and base.endswith(".json"):
        shapes = _read(base)
    else:
        built = _built(owner, base, base_args)
        # Only where names do not tell the depths apart is a pass worth its time.
        alike = runs and _names(built) == _names(owner)
        shapes = shapes_of(built, example, runs=alike)
    return compare_widths(owner, shapes, example, runs=runs)


def _built(owner: nn.Module, base: Any, base_args: Mapping[str, Any] | None) -> nn.Module:
    if isinstance(base, nn.Module):
        return base
    if isinstance(base, Mapping):
        return built_again(owner, base)
    return built_on_meta(base, base_args or {})


def _names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def _read(path: str) -> Shapes:
    try:
        data = json.loads(file_text(path))
        check_nesting(data, path)
        return Shapes.from_json(data)
    except InitcfgError as error:
        raise PlanError(f"The base {path!r} cannot be used. {error.problem}", fix=error.fix) from error
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError(
            f"The base {path!r} cannot be read: {error}.",
            fix="Write it: initcfg shapes BUILDER -o shapes.json.",
        ) from None
