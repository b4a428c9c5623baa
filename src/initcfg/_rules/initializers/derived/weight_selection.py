"""Weight selection: a model begins as evenly chosen elements of a larger one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from initcfg._rules.initializers.base import INITIALIZERS
from initcfg._rules.initializers.derivation import Derivation, Made, Shape, cannot
from initcfg._rules.initializers.pretrained import PretrainedInit
from initcfg._rules.patterns import parse_patterns, unmatched

_HEADS = ("head", "heads", "head_dist", "classifier", "lm_head", "score")


@INITIALIZERS.register_module(name="WeightSelection")
class WeightSelectionInit(PretrainedInit):
    """A small model from a larger one of its family: elements at even distances, the first layers, no head.

    Along each axis with n elements there and m here: every (n / m)th if m divides n, else those nearest to m
    even steps from the first to the last. Layers keep their numbers; those beyond are not used. From
    "Initializing Models with Larger Ones", Xu et al. 2024 (2311.18823), weight_selection.py.

    Args:
        checkpoint: The weights of the larger model, as ``Pretrained`` takes them.
        head: Patterns of the tensors to leave to the next rule; if None, what is called ``head``,
            ``classifier`` and the like, and a last ``fc`` of the module itself.
        loading: What ``Pretrained`` takes further, by its names.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> large = {"weight": torch.arange(16.0).reshape(4, 4), "bias": torch.arange(4.0)}
        >>> model = nn.Linear(2, 3)
        >>> _ = initcfg.init_weights(model, dict(type="WeightSelection", checkpoint=large))
        >>> model.weight.tolist(), model.bias.tolist()
        ([[0.0, 2.0], [8.0, 10.0], [12.0, 14.0]], [0.0, 2.0, 3.0])
    """

    name = "WeightSelection"

    def __init__(self, checkpoint: Any, *, head: str | Sequence[str] | None = None, **loading: Any) -> None:
        super().__init__(checkpoint, **loading)
        self.head = None if head is None else parse_patterns("head", head)
        self._written["head"] = None if self.head is None else [pattern.text for pattern in self.head]

    def derivation(
        self, module: nn.Module, here: Mapping[str, torch.Tensor], there: Mapping[str, Shape]
    ) -> Derivation:
        for pattern in self.head or ():
            if not any(pattern.covers(name) for name in here):
                raise unmatched("head", pattern, here)
        made: dict[str, Made] = {}
        left = {name for name in here if self._is_head(name)}
        for name, tensor in here.items():
            shape, old = tuple(tensor.shape), there.get(name)
            if old is None or shape == old or name in left:
                continue
            if not tensor.is_floating_point():
                # A table of places, which its module computes for its own size.
                left.add(name)
            elif len(shape) != len(old) or any(few > many for few, many in zip(shape, old, strict=True)):
                raise cannot(
                    f"{self.label!r} has no elements to choose for {name!r}, which is {old} there.",
                    "Give the checkpoint of a model that is larger in every size, or exclude the tensor.",
                    name,
                    shape,
                )
            else:
                made[name] = (name,), (("subset", *shape),)
        return Derivation(made, left=frozenset(left), unused=frozenset(there).difference(here))

    def _is_head(self, name: str) -> bool:
        if self.head is not None:
            return any(pattern.covers(name) for pattern in self.head)
        components = name.split(".")[:-1]
        return any(each in _HEADS for each in components) or components == ["fc"]
