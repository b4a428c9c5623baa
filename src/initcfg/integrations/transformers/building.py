"""Models from their config, or from the meta device, with weights by rules."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

import initcfg
from initcfg import Ledger
from initcfg.errors import ArgumentValueError, TensorError, nearest
from initcfg.integrations.initialization import everybody
from initcfg.integrations.transformers.library import transformers
from initcfg.integrations.transformers.models import class_of, outlined, without_memory


def initialize(
    model_or_config: Any,
    init_cfg: Any = None,
    seed: int | None = None,
    *,
    model_class: Any = None,
    device: torch.device | str | None = None,
    rng: Literal["stream", "torch"] = "stream",
    strict: bool = False,
    roles: Any = None,
    output_ledger: bool = False,
) -> Any:
    """A model of transformers with initial weights: what no rule reaches is as its own code says.

    Of a config, it is built on the meta device, and each weight is written once, where it stays: they are
    those that ``initcfg init hf:FOLDER --seed`` writes. So are those of a model that is on the meta device
    already, which may be sharded. A model that has weights is initialized in place, and what no rule reaches
    keeps them. Tied weights are one tensor, buffers are what the constructors computed, types the config's.

    Args:
        model_or_config: A ``PreTrainedConfig``, or a model.
        init_cfg: Rules, as for :func:`initcfg.plan`.
        seed: See :meth:`Plan.apply`.
        model_class: The class to build, or an ``Auto`` class; by default the first of the config's
            ``architectures``, else ``AutoModel``'s.
        device: Where to; as for :func:`initcfg.materialize`. Only for what has no weights yet.
        rng: See :meth:`Plan.apply`; a model on the meta device is filled from the stream.
        strict: A rule that reaches nothing is an error.
        roles: See :func:`initcfg.plan`.
        output_ledger: Whether to return the ledger, too.

    Returns:
        The model; with ``output_ledger`` the model and its ledger.

    Raises:
        InitcfgError: See :func:`initcfg.plan` and :meth:`Plan.apply`.

    Example::

        config = transformers.AutoConfig.from_pretrained("FOLDER")
        model = initialize(config, dict(type="GPT2"), seed=0)
    """
    planned: dict[str, Any] = {"strict": strict, "roles": roles}
    if isinstance(model_or_config, transformers.PreTrainedConfig):
        model = without_memory(class_of(model_or_config, model_class), model_or_config)
    elif isinstance(model_or_config, nn.Module):
        model = model_or_config
    else:
        raise ArgumentValueError(
            f"initialize takes a model of transformers or its config, not {model_or_config!r}.",
            fix="Read the config first: transformers.AutoConfig.from_pretrained(FOLDER).",
        )
    if any(each.is_meta for each in (*model.parameters(), *model.buffers())):
        ledger = _materialized(model, init_cfg, seed, device, rng, planned)
    elif device is not None:
        raise ArgumentValueError("The model has weights already.", fix="Move it: model.to(device).")
    else:
        made = initcfg.plan(model, init_cfg, **planned)
        ledger = made.apply(model, seed=seed, rng=rng, process_group=everybody())
    return (model, ledger) if output_ledger else model


def _materialized(
    model: Any, init_cfg: Any, seed: int | None, device: Any, rng: str, planned: dict[str, Any]
) -> Ledger:
    if rng != "stream":
        raise ArgumentValueError(
            f"A model on the meta device is filled from the stream, not under rng={rng!r}.",
            meant=nearest(rng, ["stream"]),
            fix="Leave rng out.",
        )
    if not isinstance(model, transformers.PreTrainedModel):
        raise ArgumentValueError(
            f"A {type(model).__name__} on the meta device has no config that says how it is built.",
            fix="Call initcfg.materialize(model, init_cfg).",
        )
    source = outlined(type(model), model.config, seed)
    plan = initcfg.plan(source, init_cfg, **planned)
    real = dict(source.named_buffers(remove_duplicate=False))
    for name, buffer in list(model.named_buffers(remove_duplicate=False)):
        if not buffer.is_meta:
            continue
        if name not in real:
            raise TensorError(
                f"The buffer {name!r} is on the meta device, and a model of this config has none such.",
                fix="Put its values there before: they are no rule's.",
            )
        owner, _, own = name.rpartition(".")
        model.get_submodule(owner)._buffers[own] = real[name]
    return initcfg.materialize(model, plan=plan, device=device, seed=seed, process_group=everybody())
