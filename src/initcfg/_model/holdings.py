"""Holdings: the tensors that a module holds, and whether a few facts say all that a plan asks of them.

Of torch's own layers a plan asks for the class, a few numbers, and the shape and type of each tensor. Those
with the same facts are alike: what is planned for one holds for all, but for the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import nn

# What a layer's tensors mean besides their shapes: the numbers that layouts and torch's defaults look at.
_NUMBERS: dict[type, tuple[str, ...]] = {
    nn.Linear: ("in_features",),
    nn.modules.conv._ConvNd: ("groups", "transposed", "in_channels", "kernel_size"),
    nn.modules.batchnorm._NormBase: (),
    nn.LayerNorm: (),
    nn.GroupNorm: (),
    nn.RMSNorm: (),
}
_SLOTS = ("weight", "bias")
# What a module has of its own where it has rules, or code, of its own.
_RULES = ("init_weights", "init_cfg", "_initcfg_attached", "is_init", "_is_init")
_OWN = frozenset((*_SLOTS, *_RULES))
# What these are, they are by what is noted on them alone.
PLAIN = (nn.Parameter, torch.Tensor)
_facts = attrgetter("shape", "dtype", "requires_grad", "is_meta")
# Notes on a tensor that was cut up: it has no shape of its own.
_CUT_UP = ("_fsdp_flattened", "ds_id")


@dataclass(eq=False, slots=True)
class Entry:
    """One tensor of a model.

    Attributes:
        names: All its names, in the order they are met; ``name`` is the canonical one.
        shape: Its shape; of a parametrized weight, the shape of what the layer sees.
        holder: For a parametrized weight: the module and the attribute that it is seen as.
        originals: For a parametrized weight: the tensors that it is stored as.
        padding_index: Row that an embedding, one of its owners, takes for padding.
        one_way: For a parametrized weight: the class in its chain that has no ``right_inverse``.
    """

    name: str
    names: tuple[str, ...]
    tensor: torch.Tensor
    shape: tuple[int, ...]
    buffer: bool = False
    holder: tuple[nn.Module, str] | None = None
    originals: tuple[torch.Tensor, ...] = ()
    padding_index: int | None = None
    one_way: str | None = None

    @property
    def stored(self) -> tuple[torch.Tensor, ...]:
        """The tensors that its module stores."""
        return self.originals or (self.tensor,)


class Held(NamedTuple):
    """A tensor of layers that are alike."""

    attribute: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    buffer: bool
    frozen: bool
    meta: bool


class Likeness:
    """What layers that are alike have in common. One object stands for all of them."""

    __slots__ = ("cls", "has_meta", "tensors")

    def __init__(self, cls: type, tensors: tuple[Held, ...]) -> None:
        self.cls = cls
        self.tensors = tensors
        self.has_meta = any(each.meta for each in tensors)


class Holding:
    """A module and the tensors that are met in it first.

    Attributes:
        before: What stands before the names of its tensors: ``"layers.0."``.
        place: Its place among the holdings of the model.
        like: What says all of them, in this order; None where each has to be looked at by itself, as where
            another module has one of them, too.
        tensors: They themselves, of a layer that is like others.
    """

    __slots__ = ("_entries", "before", "like", "module", "place", "tensors")

    def __init__(
        self,
        module: nn.Module,
        before: str,
        place: int,
        like: Likeness | None,
        tensors: Sequence[torch.Tensor] = (),
        entries: list[Entry] | None = None,
    ) -> None:
        self.module = module
        self.before = before
        self.place = place
        self.like = like
        self.tensors = tensors
        self._entries = entries

    @property
    def entries(self) -> list[Entry]:
        """The tensors; those of a layer are named when somebody asks."""
        if self._entries is None:
            assert self.like is not None
            self._entries = [
                Entry(name := self.before + held.attribute, (name,), tensor, held.shape, held.buffer)
                for held, tensor in zip(self.like.tensors, self.tensors, strict=True)
            ]
        return self._entries

    @property
    def looked_at(self) -> bool:
        """Whether somebody has asked for single ones."""
        return self._entries is not None

    def set_apart(self) -> None:
        """Have them looked at one by one."""
        _ = self.entries
        self.like = None


def likeness(
    module: nn.Module, known: dict[Any, Likeness]
) -> tuple[Likeness, list[torch.Tensor], bool] | None:
    """What a layer has in common with those that are alike; its tensors; whether something is noted on some.

    None where its facts do not say all, as where there are modules in it. ``known`` has what was made.
    """
    cls, state = type(module), module.__dict__
    numbers = _numbers_of(cls)
    if numbers is None or state["_modules"] or not state.keys().isdisjoint(_OWN):
        return None
    if "groups" in state and "groups" not in numbers:
        # With these, a layer of whatever class is taken for a convolution.
        return None
    facts: list[Any] = [cls, *[state.get(name) for name in numbers]]
    tensors: list[torch.Tensor] = []
    noted = False
    try:
        for kind in ("_parameters", "_buffers"):
            facts.append(kind)
            for attribute, tensor in state[kind].items():
                facts.append(attribute)
                if tensor is None:
                    continue
                if type(tensor) not in PLAIN:
                    return None
                if tensor.__dict__:
                    noted = True
                    if not tensor.__dict__.keys().isdisjoint(_CUT_UP):
                        return None
                facts.append(_facts(tensor))
                tensors.append(tensor)
        key = tuple(facts)
        found = known.get(key)
    except (RuntimeError, TypeError):
        # A nested tensor has no shape; and numbers may be none, such as lists.
        return None
    if found is None:
        held = tuple(_held(module))
        if any(each.attribute in _RULES for each in held):
            return None
        found = known[key] = Likeness(cls, held)
    return found, tensors, noted


def _held(module: nn.Module) -> Iterator[Held]:
    for tensors, buffer in ((module._parameters, False), (module._buffers, True)):
        for attribute, tensor in tensors.items():
            if tensor is not None:
                frozen = not buffer and not tensor.requires_grad
                yield Held(attribute, tuple(tensor.shape), tensor.dtype, buffer, frozen, tensor.is_meta)


@lru_cache(maxsize=16384)
def _numbers_of(cls: type) -> tuple[str, ...] | None:
    """The attributes with the numbers of a class; None if facts do not say all of it."""
    looks_up: Any = cls
    own_way = looks_up.__getattr__ is not nn.Module.__getattr__
    if own_way or looks_up.__getattribute__ is not object.__getattribute__:
        return None
    if any(hasattr(cls, slot) for slot in _SLOTS) or issubclass(cls, torch.jit.ScriptModule):
        return None
    return next((_NUMBERS[base] for base in cls.__mro__ if base in _NUMBERS), None)
