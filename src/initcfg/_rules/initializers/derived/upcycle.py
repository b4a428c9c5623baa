"""Upcycling: a mixture of experts begins as a dense model, each expert as its MLP."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from initcfg._rules.initializers.arguments import standard_deviation
from initcfg._rules.initializers.base import INITIALIZERS
from initcfg._rules.initializers.derivation import Derivation, Made, Shape, cannot
from initcfg._rules.initializers.pretrained import PretrainedInit
from initcfg.values import AdaptationStep, Constant, Normal, Value

# "layers.0.mlp", "experts", "3" and "w1.weight"; of experts that are stacked, no number.
_EXPERT = re.compile(r"(?:(?P<base>.*)\.)?experts\.(?:(?P<index>\d+)\.)?(?P<leaf>.+)")
_STACKED = re.compile(r"(?P<stem>.*?)(?P<ending>_bias|\.bias|\.weight)?")
# No module lies deeper; a key of a stranger may.
_DEEPEST = 64
# What the same matrices are called.
_SYNONYMS = (("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3"))
_GATE_UP = ("gate_proj", "up_proj")


@INITIALIZERS.register_module(name="Upcycle")
class UpcycleInit(PretrainedInit):
    """A mixture of experts from a dense model: each expert is its MLP, the router N(0, 0.02²).

    The experts are those of a module called ``experts``, one by one or stacked, with or without gate and up
    in one. Where the router's weights of the chosen experts have the sum 1, the output is that of the
    dense model. From "Sparse Upcycling", Komatsuzaki et al. 2023 (2212.05055); Megatron-LM,
    core/transformer/moe/upcycling_utils.py.

    Args:
        checkpoint: The weights of the dense model, as ``Pretrained`` takes them.
        std: Of the router; None leaves it to the next rule.
        loading: What ``Pretrained`` takes further, by its names.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> dense = {"mlp.weight": torch.ones(2, 2), "mlp.bias": torch.zeros(2)}
        >>> experts = nn.ModuleList(nn.ModuleDict(dict(mlp=nn.Linear(2, 2))) for _ in range(2))
        >>> model = nn.ModuleDict(dict(experts=experts))
        >>> _ = initcfg.init_weights(model, dict(type="Upcycle", checkpoint=dense))
        >>> model.experts[1].mlp.weight.tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    name = "Upcycle"

    def __init__(self, checkpoint: Any, *, std: float | None = 0.02, **loading: Any) -> None:
        super().__init__(checkpoint, **loading)
        self.std = None if std is None else standard_deviation(std)
        self._written["std"] = std

    def derivation(
        self, module: nn.Module, here: Mapping[str, torch.Tensor], there: Mapping[str, Shape]
    ) -> Derivation:
        dense = _Dense(there, here.keys())
        made: dict[str, Made] = {}
        blocks: dict[str, int] = {}
        modules = dict(module.named_modules(remove_duplicate=False))
        # By the block around them: whether the matrices of stacked experts lie on their side.
        turned: dict[str, bool] = {}
        # Of a square matrix nothing says how it lies, but the others beside it.
        for name, tensor in sorted(here.items(), key=lambda item: item[1].shape[-2:-1] == item[1].shape[-1:]):
            expert = _EXPERT.fullmatch(name)
            if expert is None or name in there:
                continue
            base, index, shape = expert["base"] or "", expert["index"], tuple(tensor.shape)
            if index is None:
                experts = modules.get(f"{base}.experts" if base else "experts")
                ways = _ways(experts, turned.get(base), shape)
                found = dense.of_stack(base, expert["leaf"], shape, ways)
            else:
                found = dense.of_one(base, expert["leaf"], shape)
            if found is not None:
                made[name] = found
                blocks[base] = max(blocks.get(base, 0), tensor.shape[0] if index is None else int(index) + 1)
                if len(shape) == 3 and index is None:
                    turned.setdefault(base, ("transpose",) in found[1])
        if not made:
            raise cannot(
                f"No expert of the module has an MLP in {self.label!r}.",
                "Give a dense checkpoint whose MLPs fit the experts, in a module that is called experts; "
                "rename may give its MLPs the names of an expert's matrices.",
            )
        new: dict[str, Value] = {}
        left: set[str] = set()
        for name, tensor in here.items():
            if name in there or name in made or (count := blocks.get(_around(name, blocks))) is None:
                continue
            # What gives each expert a number is its router; its other tensors are counts and corrections.
            if "experts" in name.split(".") or tensor.shape[:1] != (count,):
                continue
            if self.std is not None and tensor.dim() == 2:
                new[name] = Normal(0.0, self.std)
            elif self.std is not None and name.endswith("bias") and isinstance(tensor, nn.Parameter):
                new[name] = Constant(0.0)
            else:
                left.add(name)
        used = {each for names, _ in made.values() for each in names}
        return Derivation(made, new, frozenset(left), frozenset(used))


def _around(name: str, blocks: Mapping[str, int]) -> str:
    """The block with experts that a tensor lies in; of the whole module, those right in it."""
    path = name.rpartition(".")[0]
    while path and path not in blocks:
        path = path.rpartition(".")[0]
    return path


def _ways(experts: nn.Module | None, turned: bool | None, shape: Shape) -> tuple[bool, ...]:
    """How the matrices of stacked experts may lie: with rows first, as torch's linear layers, or turned."""
    said = getattr(experts, "is_transposed", turned)
    if getattr(experts, "is_concatenated", True) is False:
        # Row by row in turn: nothing in a name says which row is first.
        return ()
    if len(shape) != 3:
        return (False,)
    return (False, True) if said is None else (bool(said),)


class _Dense:
    """The tensors of the dense model, by the blocks that they lie in."""

    def __init__(self, there: Mapping[str, Shape], here: Collection[str]) -> None:
        self._there = there
        # By the module around a block, and what is within the block.
        self._beside: dict[tuple[str, str], list[str]] = {}
        for name in there:
            components = name.split(".")
            if name not in here and len(components) <= _DEEPEST:
                for place in range(len(components) - 1):
                    key = ".".join(components[:place]), ".".join(components[place + 1 :])
                    self._beside.setdefault(key, []).append(name)

    def find(self, base: str, leaf: str, shape: Shape) -> str | None:
        """The tensor of an MLP: in the block with the experts, or in one beside it that is alone in it."""
        for each in _called(leaf):
            plain = f"{base}.{each}" if base else each
            if self._there.get(plain) == shape:
                return plain
            around = self._beside.get((base.rpartition(".")[0], each), ())
            beside = [name for name in around if self._there[name] == shape]
            if len(beside) == 1:
                return beside[0]
        return None

    def of_one(self, base: str, leaf: str, shape: Shape) -> Made | None:
        """What a tensor of one expert is made of."""
        found = self.find(base, leaf, shape)
        return None if found is None else ((found,), ())

    def of_stack(self, base: str, leaf: str, shape: Shape, ways: tuple[bool, ...]) -> Made | None:
        """What a tensor of all experts is made of."""
        parts = _STACKED.fullmatch(leaf)
        if parts is None or len(shape) < 2:
            return None
        ending = ".bias" if (parts["ending"] or "").endswith("bias") else ".weight"
        stems = _GATE_UP if parts["stem"] == "gate_up_proj" else (parts["stem"],)
        for turned in ways:
            one = shape[:0:-1] if turned else shape[1:]
            single = (one[0] // len(stems), *one[1:])
            found = [self.find(base, stem + ending, single) for stem in stems]
            names = tuple(each for each in found if each is not None)
            if len(names) < len(stems) or one[0] % len(stems):
                continue
            steps: list[AdaptationStep] = [("concat",)] if len(stems) > 1 else []
            steps += [("transpose",)] if turned else []
            return names, (*steps, ("repeat", shape[0]))
        return None


def _called(leaf: str) -> list[str]:
    """A name, and what the same matrix is called elsewhere."""
    first, dot, rest = leaf.partition(".")
    names = next((each for each in _SYNONYMS if first in each), ())
    return [leaf, *(each + dot + rest for each in names if each != first)]
