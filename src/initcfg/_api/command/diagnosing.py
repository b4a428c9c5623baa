"""``initcfg diagnose``: a target is built, initialized as its plan says, and looked at before it trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from initcfg._api import functions
from initcfg._api.command.planning import check_page, loaded_config
from initcfg._api.command.request import Request
from initcfg._api.command.terminal import spinner
from initcfg._api.diagnosing import diagnose
from initcfg._config import function_meant, function_of_file, names_function
from initcfg._diagnose import SEEDS, Diagnosis, DiagnosisComparison, progress_told
from initcfg._plan import Plan
from initcfg._record import trace
from initcfg.errors import ArgumentError, ArgumentValueError, UntrustedError


@dataclass(frozen=True)
class Asked:
    """What is asked of a diagnosis, as the words of a command line say it; see the command's options."""

    batch: str | None = None
    loss: str | None = None
    lr: float | None = None
    optimizer: str = "adamw"
    steps: int = 8
    dtype: str | None = None
    seed: int = 0
    html_file: str | None = None
    lang: str = "en"
    against: str | None = None
    seeds: int = SEEDS


def compared(request: Request, asked: Asked) -> DiagnosisComparison:
    """Two targets, each built by its own words; the options hold for both, ``--set`` for the first."""
    given = _checked(request, asked)
    model, plan = initialized(request, asked.seed)
    other, _ = initialized(replace(request, config=str(asked.against), overrides=()), asked.seed)
    with spinner("training both") as now, progress_told(now):
        found = diagnose(
            model, given.batch, given.loss, plan=plan, against=other, seeds=asked.seeds, **_recipe(asked)
        )
    found = replace(found, names=(request.config, str(asked.against)))
    _reported(found, asked)
    return found


def diagnosed(request: Request, asked: Asked) -> Diagnosis:
    """Build, plan, apply, and diagnose; the report is written, if one is asked for."""
    given = _checked(request, asked)
    model, plan = initialized(request, asked.seed)
    with spinner("diagnosing") as now, progress_told(now):
        found = diagnose(model, given.batch, given.loss, plan=plan, **_recipe(asked))
    _reported(found, asked)
    return found


@dataclass(frozen=True)
class _Given:
    """The functions that the options name."""

    batch: Callable[..., Any] | None
    loss: Callable[..., Any] | None


def _checked(request: Request, asked: Asked) -> _Given:
    """What is wrong in the options is said before a model is built."""
    if asked.lr is not None and not (math.isfinite(asked.lr) and asked.lr > 0):
        raise ArgumentValueError(f"--lr is a positive number, not {asked.lr!r}.", fix="Write --lr 3e-4.")
    check_page(asked.html_file)
    return _Given(_function(request, "--batch", asked.batch), _function(request, "--loss", asked.loss))


def _function(request: Request, option: str, text: str | None) -> Callable[..., Any] | None:
    if text is None:
        return None
    if request.untrusted:
        raise UntrustedError(
            f"{option} names code, which goes not with --untrusted.",
            fix=f"Leave out --untrusted if you trust the config, or leave out {option}.",
        )
    if not names_function(text):
        raise ArgumentError(
            f"{option} is 'file.py:function', not {text!r}.",
            meant=function_meant(text),
            fix=f"Write {option} data.py:batch.",
        )
    return function_of_file(text)


def _recipe(asked: Asked) -> dict[str, Any]:
    """What a diagnosis takes as it was said."""
    names = ("lr", "optimizer", "steps", "dtype", "seed")
    return {name: getattr(asked, name) for name in names}


def _reported(found: Diagnosis | DiagnosisComparison, asked: Asked) -> None:
    if asked.html_file is not None:
        with spinner("writing the report"):
            found.to_html(asked.html_file, lang=asked.lang)


def initialized(request: Request, seed: int) -> tuple[nn.Module, Plan]:
    """The model of a target, and the plan that initialized it.

    Where no rule says anything, the plan is that of its code, traced: it knows files and lines.
    """
    with spinner("building the model"):
        loaded = loaded_config(request)
        model = functions.build(loaded, init=False, seed=seed, untrusted=request.untrusted)
    with spinner("planning"):
        plan = functions.located_plan(model, config=loaded, compat=request.compat, strict=False)
        if all(each.rule is None for each in plan.values()):
            cfg = functions.model_cfg(loaded, untrusted=request.untrusted)[1]
            with functions.making(loaded, cfg, untrusted=request.untrusted):
                plan = trace(lambda: functions.construct(cfg))
    with spinner("initializing"):
        plan.apply(model, seed=seed)
    return model, plan
