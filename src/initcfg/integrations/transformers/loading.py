"""A checkpoint that has only a part of a model: the rest by a plan, and an account of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

import initcfg
from initcfg import Ledger, Plan
from initcfg.errors import ApplyError
from initcfg.integrations.initialization import Started
from initcfg.integrations.transformers.models import outlined


def from_pretrained(
    model_class: Any,
    pretrained_model_name_or_path: Any,
    *model_args: Any,
    init_cfg: Any = None,
    seed: int | None = None,
    strict: bool = False,
    roles: Any = None,
    folder: str | Path | None = None,
    output_loading_info: bool = False,
    **kwargs: Any,
) -> Any:
    """``model_class.from_pretrained(...)``; what the checkpoint lacks is initialized by a plan.

    Missing are the parameters of a new head, say, and those of another shape
    (``ignore_mismatched_sizes=True``). By default transformers draws them from torch's generator. Here a rule
    decides, else what the model's own code means, from the stream: the same numbers for the same seed, with a
    ledger. What the checkpoint has is never touched.

    Args:
        model_class: A class of transformers, or an ``Auto`` class.
        pretrained_model_name_or_path: As for ``from_pretrained``, as for ``model_args`` and ``kwargs``.
        init_cfg: Rules, as for :func:`initcfg.plan` of the whole model.
        seed: See :meth:`Plan.apply`.
        strict: A rule that reaches nothing is an error.
        roles: See :func:`initcfg.plan`.
        folder: Where ``init_plan.json`` and ``init_ledger.json`` go, if anywhere.
        output_loading_info: Whether to return transformers' dict, too, with ``"plan"`` and ``"ledger"`` of
            what was initialized in it, and under ``"kept"`` what transformers initialized itself: buffers.

    Returns:
        The model; with ``output_loading_info`` the model and the dict.

    Raises:
        ApplyError: A missing parameter is not in memory (``device_map`` has put it on disk).

    Example::

        model, info = from_pretrained(
            transformers.AutoModelForSequenceClassification, "FOLDER", num_labels=3,
            init_cfg=dict(type="Normal", layer="Linear", std=0.01), seed=0, output_loading_info=True,
        )
        print(info["ledger"])
    """
    model, info = model_class.from_pretrained(
        pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
    )
    parameters = dict(model.named_parameters())
    asked = [*info["missing_keys"], *(_name(each) for each in info["mismatched_keys"])]
    # Tied weights are missing under one name, and there under another.
    missing = {name: parameters[name] for name in parameters if name in set(asked)}
    started = _initialized(model, missing, init_cfg, seed, strict=strict, roles=roles)
    if folder is not None:
        started.keep(folder)
    if not output_loading_info:
        return model
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    kept = sorted(set(asked) - tied)
    return model, {**info, "plan": started.plan, "ledger": started.ledger, "kept": kept}


def _initialized(
    model: Any, missing: dict[str, nn.Parameter], init_cfg: Any, seed: int | None, **options: Any
) -> Started:
    for name, parameter in missing.items():
        if parameter.is_meta:
            raise ApplyError(
                "A parameter that the checkpoint lacks is not in memory.",
                parameter=name,
                shape=parameter.shape,
                fix="Load without a device_map, or with one that has room for it.",
            )
    source = outlined(type(model), model.config, seed)
    whole: Plan = initcfg.plan(source, init_cfg, **options)
    holder = _holder(missing)
    part = whole.part(holder)
    ledger: Ledger = part.apply(holder, seed=seed)
    return Started(part, ledger)


def _holder(parameters: dict[str, nn.Parameter]) -> nn.Module:
    """A module that has these parameters under these names, and nothing else."""
    holder = nn.Module()
    for name, parameter in parameters.items():
        *path, own = name.split(".")
        module = holder
        for each in path:
            if each not in module._modules:
                module.add_module(each, nn.Module())
            module = module.get_submodule(each)
        module.register_parameter(own, parameter)
    return holder


def _name(mismatched: Any) -> str:
    """The key in an entry of ``mismatched_keys``, which has shapes beside it."""
    return mismatched if isinstance(mismatched, str) else mismatched[0]
