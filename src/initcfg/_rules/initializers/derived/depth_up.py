"""More layers: a deep model begins as the layers of a shallower one, some of them twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from initcfg._rules.initializers.arguments import one_of
from initcfg._rules.initializers.base import INITIALIZERS
from initcfg._rules.initializers.derivation import Derivation, Made, Shape, cannot
from initcfg._rules.initializers.pretrained import PretrainedInit
from initcfg.errors import ArgumentError

# No module lies deeper; a key of a stranger may.
_DEEPEST = 64
# By list and number: the rest of the names of its tensors.
_Lists = dict[str, dict[int, set[str]]]


@INITIALIZERS.register_module(name="DepthUp")
class DepthUpInit(PretrainedInit):
    """A deep model from a shallower one: its layers, some of them twice, and all else as it is.

    Of n layers there and N here, ``by="overlap"`` takes 0 to n - m and then m to n, with m = n - N / 2:
    "SOLAR 10.7B", Kim et al. 2023 (2312.15166), as mergekit's passthrough. ``"stack"`` takes all in turn,
    again and again: "Efficient Training of BERT by Progressively Stacking", Gong et al. 2019.
    ``"interleave"`` puts the copies of a layer one after another. What grows are the lists of modules that
    are longer here.

    Args:
        checkpoint: The weights of the shallower model, as ``Pretrained`` takes them.
        by: Which layers are copied.
        layers: In its place, the number there of each layer here.
        loading: What ``Pretrained`` takes further, by its names.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> shallow = {f"{n}.weight": torch.full((1, 1), float(n)) for n in range(4)}
        >>> model = nn.Sequential(*[nn.Linear(1, 1, bias=False) for _ in range(6)])
        >>> _ = initcfg.init_weights(model, dict(type="DepthUp", checkpoint=shallow))
        >>> [layer.weight.item() for layer in model]
        [0.0, 1.0, 2.0, 1.0, 2.0, 3.0]
    """

    name = "DepthUp"

    def __init__(
        self,
        checkpoint: Any,
        *,
        by: str = "overlap",
        layers: Sequence[int] | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(checkpoint, **loading)
        self.by = one_of("by", by, ("overlap", "stack", "interleave"))
        right = isinstance(layers, (list, tuple)) and all(type(each) is int and each >= 0 for each in layers)
        if layers is not None and not (right and layers):
            raise ArgumentError(f"layers is a list of the numbers of layers, from 0 on, not {layers!r}.")
        self.layers = None if layers is None else tuple(layers)
        self._written["by"] = None if by == "overlap" else by
        self._written["layers"] = None if self.layers is None else list(self.layers)

    def derivation(
        self, module: nn.Module, here: Mapping[str, torch.Tensor], there: Mapping[str, Shape]
    ) -> Derivation:
        grown = self._grown(_lists(here), _lists(there))
        made: dict[str, Made] = {}
        for name in here:
            source = _source(name, grown)
            if source in there:
                made[name] = (source,), ()
        used = {source for (source,), _ in made.values()}
        return Derivation(
            made, unused=frozenset(name for name in there if name not in used and _in(name, grown))
        )

    def _grown(self, here: _Lists, there: _Lists) -> dict[str, tuple[int, ...]]:
        """By the path there of each list that is longer here: the number there of each layer here."""
        found: dict[str, tuple[int, ...]] = {}
        for path in sorted(here, key=len):
            source = _source(f"{path}.", found)[:-1] if path else path
            if source not in there or source in found:
                continue
            new, old = len(here[path]), len(there[source])
            if new == old or [*there[source]] != [*range(old)] or [*here[path]] != [*range(new)]:
                continue
            if self.layers is None and new < old:
                continue
            chosen = self._chosen(path, old, new)
            if all(here[path][n] == there[source][chosen[n]] for n in range(new)):
                found[source] = chosen
        if not found:
            raise cannot(
                f"No list of layers is longer here than in {self.label!r}, and alike.",
                "Give the checkpoint of a shallower model of the same kind; or say by layers which layer of "
                "it each layer here is.",
            )
        return found

    def _chosen(self, path: str, old: int, new: int) -> tuple[int, ...]:
        if self.layers is not None:
            if len(self.layers) != new or max(self.layers) >= old:
                raise cannot(
                    f"layers gives {len(self.layers)} numbers up to {max(self.layers)}, and {path!r} has "
                    f"{new} layers here and {old} there.",
                    "Give for each layer here the number of a layer there.",
                )
            return self.layers
        if self.by == "stack":
            return tuple(n % old for n in range(new))
        if self.by == "interleave":
            return tuple(n * old // new for n in range(new))
        if new % 2 or new > 2 * old:
            raise cannot(
                f"{new} layers are not twice the same number of the {old} that {path!r} has there.",
                f"Take an even number of at most {2 * old} layers, by='stack' or by='interleave', or say "
                "layers=[...].",
            )
        half = new // 2
        return (*range(half), *range(old - half, old))


def _lists(names: Mapping[str, Any]) -> _Lists:
    found: _Lists = {}
    for name in names:
        if name.count(".") > _DEEPEST:
            continue
        for number in re.finditer(r"(?:^|(?<=\.))(\d+)\.", name):
            path = name[: number.start()].removesuffix(".")
            found.setdefault(path, {}).setdefault(int(number[1]), set()).add(name[number.end() :])
    return {path: dict(sorted(items.items())) for path, items in found.items()}


def _source(name: str, grown: Mapping[str, tuple[int, ...]]) -> str:
    """The name there of a tensor here."""
    path: list[str] = []
    for each in name.split("."):
        chosen = grown.get(".".join(path)) if each.isdecimal() else None
        inside = chosen is not None and int(each) < len(chosen)
        path.append(str(chosen[int(each)]) if chosen is not None and inside else each)
    return ".".join(path)


def _in(name: str, grown: Mapping[str, Any]) -> bool:
    return any(name.startswith(f"{path}." if path else "") for path in grown)
