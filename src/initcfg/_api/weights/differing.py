"""What differs between two of anything: plans, ledgers, configs, or the numbers of two checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from initcfg._api.functions import build, located_plan
from initcfg._api.weights.comparison import WeightsComparison, compared_weights
from initcfg._api.weights.given import name_of, source_of
from initcfg._checkpoints import open_source
from initcfg._plan import Ledger, Plan
from initcfg._plan.compare import Comparison, compare, has_ledger, read_saved
from initcfg.errors import ConfigError, PlanError, as_annotated

_SUFFIXES = (
    ".safetensors",
    ".pth",
    ".pt",
    ".bin",
    ".ckpt",
    ".npz",
    ".npy",
    ".distcp",
    ".pkl",
    ".tar",
    ".keras",
    ".h5",
    ".hdf5",
)
Side = Plan | Ledger | str | Path | Mapping[str, Any] | nn.Module


@as_annotated(PlanError)
def diff(a: Side, b: Side, *, values: bool = False) -> Comparison | WeightsComparison:
    """What differs between A and B.

    Args:
        a: A plan, a ledger, or the file of one; a config or a builder; weights: a file, a folder, an address,
            a state_dict, a model.
        b: Likewise.
        values: Whether to compare the numbers of two checkpoints, one tensor after the other. So it is in any
            case where both are weights, and one of them has no ledger.

    Returns:
        What the plans or ledgers say differently, or which numbers are others and by how much. Both print as
        the command does, and have ``same``, ``to_json()`` and ``to_html()``.

    Raises:
        ConfigError: There is nothing to compare.
        CheckpointError: A checkpoint cannot be read.

    Example:
        >>> import initcfg, torch
        >>> a = {"weight": torch.ones(2, 2), "bias": torch.zeros(2)}
        >>> b = {"weight": torch.ones(2, 2) * 1.5, "bias": torch.zeros(2)}
        >>> found = initcfg.diff(a, b)
        >>> found.changed["weight"].change, found.alike
        (0.5, 1)
    """
    if by_numbers(a, b, values=values):
        with (
            open_source(source_of(a), name=name_of(a)) as first,
            open_source(source_of(b), name=name_of(b)) as second,
        ):
            return compared_weights(first, second)
    return compare(_planned(a), _planned(b))


def by_numbers(a: Any, b: Any, *, values: bool) -> bool:
    """Whether the numbers of two checkpoints are to be compared.

    Raises:
        ConfigError: They are asked for, and one of the two is none.
    """
    both = is_weights(a) and is_weights(b)
    if values and not both:
        other = b if is_weights(a) else a
        told = repr(other if isinstance(other, (Plan, Ledger)) else name_of(other))
        raise ConfigError(
            f"--values compares the numbers of two checkpoints, and {told} is none.",
            fix="Compare a checkpoint with what was planned: initcfg verify CHECKPOINT --plan FILE.",
        )
    return values or (both and not (_has_ledger(a) and _has_ledger(b)))


def _has_ledger(given: Any) -> bool:
    return isinstance(given, (str, Path)) and has_ledger(str(given))


def is_weights(given: Any) -> bool:
    """Whether something is weights, and not a config, a plan or a ledger; by its name, unopened."""
    if isinstance(given, nn.Module):
        return True
    if isinstance(given, Mapping) and not isinstance(given, (Plan, Ledger)):
        return any(isinstance(each, Tensor) for each in given.values()) or not given
    if not isinstance(given, (str, Path)):
        return False
    text = str(given)
    return (
        os.path.isdir(text)
        or text.endswith(_SUFFIXES)
        or (text.endswith(".json") and ".index." in text)
        or "://" in text
    )


def _planned(given: Any) -> Plan | Ledger:
    if isinstance(given, (Plan, Ledger)):
        return given
    saved = read_saved(str(given)) if isinstance(given, (str, Path)) else None
    if saved is not None:
        return saved
    if isinstance(given, nn.Module):
        return located_plan(given, compat=None, strict=False)
    return located_plan(build(given, init=False), config=given, compat=None, strict=False)
