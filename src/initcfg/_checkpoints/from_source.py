"""From what a rule calls a checkpoint to an opened one: where it is, and what is in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from initcfg._checkpoints.formats import (
    OpenedCheckpoint,
    lora_config,
    lora_files,
    merged_lora,
    open_mapping,
    open_path,
)
from initcfg._checkpoints.source_state import SourceState
from initcfg._checkpoints.sources import locate
from initcfg.errors import CheckpointError, path_problem


@dataclass(frozen=True)
class Lora:
    """How an adapter is merged: into which base, and with which alpha, where its own files do not say them.

    A ``weaker`` base is one that the adapter's file may have itself.
    """

    base: Any = None
    alpha: float | None = None
    weaker: bool = False


def open_source(
    source: Any,
    *,
    sha256: str | None = None,
    offline: bool | None = None,
    part: str | None = None,
    name: str | None = None,
    lora: Lora | None = None,
) -> OpenedCheckpoint:
    """Open a checkpoint: a path, an address, or a state_dict.

    Args:
        source: What to open.
        sha256: Digest that the file must have.
        offline: Whether nothing may be fetched.
        part: Which of several sets of weights in the file.
        name: How messages call it; the source itself if None.
        lora: That it is an adapter, to be merged into its base.
    """
    if not isinstance(source, (str, Mapping)):
        raise CheckpointError(
            f"{name or 'The function'} gave a {type(source).__name__}, not a state_dict.",
            fix="Return a dict from names to tensors, or the path of a checkpoint.",
        )
    located = locate(source, sha256=sha256, offline=offline)
    name = name or located.origin
    # Before it is opened: what is written from now on shows.
    state = SourceState.of(located.path)
    if located.path is None:
        opened = open_mapping(located.memory or {}, name=name, part=part)
    else:
        opened = open_path(located.path, name=name, part=part)
    opened.sha256, opened.prefix, opened.path = located.sha256, located.prefix, located.path
    opened.state = state
    return opened if lora is None else _merged(opened, located.path, lora, offline)


def _merged(
    adapter: OpenedCheckpoint, path: Path | None, lora: Lora, offline: bool | None
) -> OpenedCheckpoint:
    config = lora_config(path, adapter.name)
    whole = any(".base_layer." in key for key in adapter.keys())  # noqa: SIM118
    if whole and lora.base is not None and not lora.weaker:
        raise CheckpointError(
            f"The checkpoint {adapter.name!r} holds its base beside the adapter.", fix="Leave base out."
        )
    source = None if whole else lora.base
    if source is None and not whole:
        source = _named_base(adapter.name, path, config)
    base = None if source is None else open_source(source, offline=offline)
    merged = merged_lora(adapter, base, config, lora.alpha)
    named = () if source is None or source is lora.base else (Path(source),)
    beside = lora_files(path)
    state = adapter.state and adapter.state.also(beside, None if base is None else base.state)
    return replace(merged, beside_adapter=(*beside, *named), state=state)


def _named_base(name: str, path: Path | None, config: Mapping[str, Any]) -> str:
    """The base that an adapter's own file names, if it lies in the adapter's folder."""
    said = config.get("base_model_name_or_path")
    named = said if isinstance(said, str) and said and path_problem(said) is None else None
    elsewhere = False
    if named is not None and path is not None:
        folder = os.path.realpath(path if os.path.isdir(path) else path.parent)
        found = os.path.realpath(os.path.join(folder, named))
        inside = os.path.commonpath([folder, found]) == folder
        if inside and os.path.exists(found):
            return found
        elsewhere = os.path.exists(named) or os.path.exists(found)
    problem = "it does not name its base" if named is None else f"its base {said!r} is not on this machine"
    fix = "Give the base: adapt=dict(type='merge_lora', base='PATH'), or 'hf://OWNER/NAME'; or put a "
    fix += "Pretrained entry with it before this one."
    if elsewhere:
        problem = f"its own file names the base {said!r}, which lies outside of its folder"
        fix = f"If you mean that file, say so: adapt=dict(type='merge_lora', base={said!r})."
    raise CheckpointError(f"The adapter {name!r} cannot be merged: {problem}.", fix=fix)
