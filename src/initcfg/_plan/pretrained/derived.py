"""What a rule makes of another model's weights: its derivation, for the names that it can see."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from initcfg._plan.pretrained.destinations import Destination
from initcfg._rules.initializers import Derivation, PretrainedInit


def derived(
    initializer: PretrainedInit,
    module: nn.Module,
    destinations: Mapping[str, Destination],
    keys: Mapping[str, tuple[str, ...]],
    shape_of: Callable[[str], tuple[int, ...]],
) -> Derivation:
    """The derivation of a rule; an empty one of a rule that loads what a checkpoint has."""
    here = {name: each.tensor for name, each in destinations.items()}
    there = {name: shape_of(found[0]) for name, found in keys.items() if len(found) == 1}
    return initializer.derivation(module, here, there) or Derivation()
