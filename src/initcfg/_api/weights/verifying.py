"""A checkpoint against what was planned."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from initcfg._api.functions import build, located_plan
from initcfg._api.weights.given import Checkpoint, name_of, source_of
from initcfg._apply import Verification, buffers_kept, verified
from initcfg._checkpoints import open_source
from initcfg._model import named_tensors
from initcfg._plan import KeptBuffer, Ledger, Plan
from initcfg._plan.compare import read_saved
from initcfg.errors import CheckpointError, ConfigError, as_annotated


@as_annotated(CheckpointError, but=("checkpoint",))
def verify(
    checkpoint: Checkpoint,
    plan: Plan | Ledger | str | Path | None = None,
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    seed: int | None = None,
    part: str | None = None,
    trust_ledger: bool = False,
) -> Verification:
    """Which tensors of a checkpoint still hold what they began with, and by how much others changed.

    Values are made again from seed and name; tensors that were loaded are compared with the checkpoint that
    they come from, if that is still the file that it was. One tensor is in memory at a time.

    Args:
        checkpoint: A file, a folder, an address, a state_dict, or a model.
        plan: What was planned: a plan or a ledger, or the file of one. Without it and ``config`` the ledger
            that the checkpoint carries, or that lies beside it: its plain values; its formulas are operations
            that whoever wrote the file chose.
        config: A config or builder, to be planned.
        seed: The seed; by default that of the ledger.
        part: Which set of weights, where there are several.
        trust_ledger: Whether to compute the formulas of the checkpoint's own ledger, too, and to fetch the
            sources that it names.

    Returns:
        What became of each tensor. ``exit_code`` is that of the command: 0 if all is as it began, 1 if
        anything differs, 3 if nothing differs and some tensors could not be checked.

    Raises:
        CheckpointError: The checkpoint cannot be read, or nothing can be made again.
        ConfigError: Nothing says what was planned.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.Linear(4, 2)
        >>> ledger = initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=0.1), seed=0)
        >>> model.bias.data += 1
        >>> found = initcfg.verify(model, ledger)
        >>> found["weight"].status, found["bias"].status, found["bias"].detail
        ('initial', 'changed', 'from zero, to a norm of 1.4')
        >>> found.exit_code
        1
    """
    if plan is not None and config is not None:
        raise ConfigError("plan and config both say what was planned.", fix="Give one of them.")
    source = source_of(checkpoint)
    own = plan is None and config is None
    saved, kept, unsaved = _planned(plan, config, source)
    if saved is None:
        if own and "://" not in str(source):
            # What is wrong with it, if anything is, comes first.
            open_source(source, name=name_of(checkpoint), part=part).close()
        raise ConfigError(
            f"{name_of(checkpoint) if plan is None else str(plan)!r} holds no plan and no ledger.",
            fix="Give a plan or a ledger (--plan FILE), or a config and the seed (--config CONFIG --seed N).",
        )
    trusted = not own or trust_ledger
    with open_source(source, name=name_of(checkpoint), part=part) as reader:
        return verified(reader, saved, seed, fetch=trusted, kept=kept, unsaved=unsaved, plain=not trusted)


def verify_planned(
    checkpoint: Checkpoint, model: nn.Module, plan: Plan, *, seed: int | None, part: str | None
) -> Verification:
    """The same beside the plan of a model that was built, and not initialized: it has buffers to compare."""
    names = named_tensors(model)
    told = {"kept": buffers_kept(names, plan), "unsaved": names.unsaved}
    with open_source(source_of(checkpoint), name=name_of(checkpoint), part=part) as reader:
        return verified(reader, plan, seed, fetch=True, **told)


def _planned(
    plan: Plan | Ledger | str | Path | None,
    config: str | Path | Mapping[str, Any] | None,
    source: str | Mapping[str, Any],
) -> tuple[Plan | Ledger | None, dict[str, KeptBuffer], Collection[str]]:
    """What was planned; of a model that there is, what buffers were built with, and which no file has."""
    if config is not None:
        model = build(config, init=False)
        made = located_plan(model, config=config, compat=None, strict=False)
        names = named_tensors(model)
        return made, buffers_kept(names, made), names.unsaved
    if plan is None:
        return (read_saved(source) if isinstance(source, str) else None), {}, ()
    if not isinstance(plan, (str, Path)):
        return plan, {}, ()
    if not os.path.isfile(plan):
        raise ConfigError(f"There is no file {str(plan)!r}.", fix="Check the path.")
    return read_saved(str(plan)), {}, ()
