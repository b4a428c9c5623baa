"""From the config that a command was given to a model and its plan."""

from __future__ import annotations

import os
import sys
from typing import Any

from torch import nn

# original_calls is loaded for the doors (_model/doors.py) that it registers with.
from initcfg._api import functions, original_calls  # noqa: F401
from initcfg._api.command.request import Request
from initcfg._api.command.terminal import prints_apart, spinner
from initcfg._api.declared_roles import example_of
from initcfg._api.weights import WeightsComparison, diff, is_weights, weights_view
from initcfg._apply import check_output
from initcfg._config import load_config
from initcfg._config.files import Config
from initcfg._plan import Ledger, Plan
from initcfg._plan.compare import Comparison, compare, read_saved
from initcfg._plan.planner import RoleRequest
from initcfg._plan.report import diff_view
from initcfg.errors import ConfigError, UntrustedError


def planned(request: Request, *, seed: int | None = None) -> tuple[nn.Module, Plan]:
    """The model of a config file or builder, and its plan."""
    named = None if request.model_example is None else given_example(request, request.model_example)
    with spinner("building the model"):
        loaded = loaded_config(request)
        model = functions.build(loaded, init=False, seed=seed, untrusted=request.untrusted)
    with spinner("planning"):
        how = {"compat": request.compat, "strict": request.strict, "roles": RoleRequest(None, named)}
        made = functions.located_plan(model, config=loaded, **how)
    return model, made


def given_example(request: Request, example: str) -> Any:
    """The function that ``--example`` names.

    Raises:
        UntrustedError: The request trusts nobody.
    """
    if request.untrusted:
        raise UntrustedError(
            "--example names code, which goes not with --untrusted.",
            fix="Leave out --untrusted if you trust the config, or leave out --example.",
        )
    return example_of(example)


def loaded_config(request: Request) -> Config | dict[str, Any]:
    """The config that a request names, or what stands for a builder, changed as it says."""
    working_folder_first(untrusted=request.untrusted)
    with prints_apart():
        return load_config(
            request.config,
            overrides=request.overrides,
            use_python=not request.no_python,
            untrusted=request.untrusted,
        )


def working_folder_first(*, untrusted: bool) -> None:
    """Configs name modules of the folder that one works in."""
    if not untrusted and "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def check_page(path: str | None) -> None:
    """Refuse, before the work begins, a page that cannot be written."""
    if path is not None:
        check_output(path, (".html",))


def compared(a: Request, b: Request, *, values: bool = False) -> Comparison | WeightsComparison:
    """What differs between two configs, plans or ledgers, or between the numbers of two checkpoints."""
    if (is_weights(a.config) and is_weights(b.config)) or values:
        for request, option in ((a, "--set-a"), (b, "--set-b")):
            if request.overrides:
                raise ConfigError(
                    f"{request.config!r} is a checkpoint: there is nothing that {option} could change.",
                    fix=f"Leave {option} out.",
                )
        with spinner("comparing"):
            return diff(a.config, b.config, values=values)
    return compare(_saved_or_planned(a, "--set-a"), _saved_or_planned(b, "--set-b"))


def difference_view(found: Comparison | WeightsComparison, *, full: bool) -> Any:
    """What differs, for a person."""
    if isinstance(found, WeightsComparison):
        return weights_view(found, full=full)
    return diff_view(found, full=full)


def _saved_or_planned(request: Request, option: str) -> Plan | Ledger:
    saved = read_saved(request.config)
    if saved is None:
        return planned(request)[1]
    if request.overrides:
        kind = "plan" if isinstance(saved, Plan) else "ledger"
        raise ConfigError(
            f"{request.config!r} is a {kind}: there is nothing that {option} could change.",
            fix=f"Leave {option} out.",
        )
    return saved
