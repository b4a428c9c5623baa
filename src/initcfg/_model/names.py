"""Names: every tensor of a model under one canonical name.

The canonical name is the qualified name without what a wrapper (compile, DDP, FSDP, activation
checkpointing) or a parametrization adds; of the names of a tied tensor, the smallest in byte order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from initcfg._model.contents import buffers_of, children_of, compiled_class, is_compiled, parameters_of
from initcfg._model.keras_layers import is_keras
from initcfg.errors import LazyParameterError, TensorError

_CHECKPOINTING = "torch.distributed.algorithms._checkpoint.checkpoint_wrapper"
# A wrapper exists only if its module is loaded. By type, since a plain model may own a child called "module".
_WRAPPERS = (
    ("torch.nn.parallel", "DataParallel", "module"),
    ("torch.nn.parallel", "DistributedDataParallel", "module"),
    ("torch._dynamo.eval_frame", "OptimizedModule", "_orig_mod"),
    ("torch.distributed.fsdp", "FullyShardedDataParallel", "_fsdp_wrapped_module"),
    (_CHECKPOINTING, "CheckpointWrapper", "_checkpoint_wrapped_module"),
)

# What these are, they are by what is noted on them alone.
_PLAIN = (nn.Parameter, torch.Tensor)

LAZY = "A lazy module has no shape until it has seen data, so nothing can be planned for it."
RUN_ONE_BATCH = "Run one batch through the model first (model(torch.zeros(...))), then plan."


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
    names: list[str]
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


class Node(NamedTuple):
    """A module, a canonical name of it, and the modules in it: those of which it has several, once each."""

    module: nn.Module
    name: str
    children: Sequence[Node]


@dataclass(eq=False)
class Names:
    """The tensors and modules of a model by identity.

    Attributes:
        entries: Entry of each tensor, by ``id``; in registration order.
        modules: First canonical name of each module, by ``id``.
        every: Each module once, in the order of the walk.
        lazy: First canonical name of each tensor that has no shape yet, by ``id``: these have no entry.
        compiled: Name and former class of each part that torch.jit has compiled, without the parts in it.
        module_of: The module of each canonical name; of a wrapper and what it wraps, the latter.
        tree: The model, for walks over it; a module that is met in several places stands in each.
    """

    tree: Node

    entries: dict[int, Entry] = field(default_factory=dict)
    modules: dict[int, str] = field(default_factory=dict)
    every: list[nn.Module] = field(default_factory=list)
    module_of: dict[str, nn.Module] = field(default_factory=dict)
    lazy: dict[int, str] = field(default_factory=dict)
    compiled: dict[str, str] = field(default_factory=dict)

    def of(self, tensor: torch.Tensor) -> Entry:
        """The entry of a tensor of the model.

        Raises:
            LazyParameterError: It has no shape yet.
        """
        if id(tensor) in self.lazy:
            raise LazyParameterError(LAZY, parameter=self.lazy[id(tensor)], fix=RUN_ONE_BATCH)
        return self.entries[id(tensor)]

    def refuse_lazy(self) -> None:
        """Raise LazyParameterError if some tensor of the model has no shape yet."""
        for name in self.lazy.values():
            raise LazyParameterError(LAZY, parameter=name, fix=RUN_ONE_BATCH)

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        """The entries by canonical name."""
        return {entry.name: entry for entry in self.entries.values()}

    @cached_property
    def parameters(self) -> list[Entry]:
        """The parameters, once each, in registration order."""
        return [entry for entry in self._unique if not entry.buffer]

    @cached_property
    def buffers(self) -> list[Entry]:
        """The buffers, once each, in registration order."""
        return [entry for entry in self._unique if entry.buffer]

    @cached_property
    def aliases(self) -> dict[str, str]:
        """The other names of tied tensors, each with its canonical name."""
        entries = (each for each in (*self.parameters, *self.buffers) if len(each.names) > 1)
        return {name: each.name for each in entries for name in sorted({*each.names} - {each.name})}

    @cached_property
    def unsaved(self) -> frozenset[str]:
        """The buffers that no ``state_dict`` has, under any of their names."""
        saved: dict[str, bool] = {}
        for module in self.module_of.values():
            for attribute, tensor in buffers_of(module).items():
                entry = None if tensor is None else self.entries.get(id(tensor))
                if entry is not None:
                    persistent = attribute not in module._non_persistent_buffers_set
                    saved[entry.name] = saved.get(entry.name, False) or persistent
        return frozenset(name for name, is_saved in saved.items() if not is_saved)

    @cached_property
    def _unique(self) -> list[Entry]:
        return list(dict.fromkeys(self.entries.values()))


def named_tensors(model: nn.Module) -> Names:
    """The tensors and modules of ``model``."""
    names = Names(_node(model, ""))
    _collect(names.tree, names)
    for entry in names.entries.values():
        if len(entry.names) > 1:
            entry.name = min(entry.names, key=str.encode)
    return names


@lru_cache(maxsize=16384)
def _is_simple(cls: type) -> bool:
    """Whether modules of a class hold all in dicts of their own, wrap nothing, and have no row of padding."""
    special = (torch.jit.ScriptModule, nn.Embedding, nn.EmbeddingBag)
    return not (is_keras(cls) or issubclass(cls, special) or wrapper_attribute(cls))


def _node(module: nn.Module, name: str) -> Node:
    if not module._modules and _is_simple(type(module)):
        return Node(module, name, ())
    children = child_items(module, name)
    return Node(module, name, [_node(child, inner) for inner, child in children] if children else ())


def child_items(module: nn.Module, prefix: str) -> Sequence[tuple[str, nn.Module]]:
    """The children of a module once each, under canonical names that begin with ``prefix``."""
    children = children_of(module)
    if not children:
        return ()
    before = f"{prefix}." if prefix else ""
    hidden = wrapper_attribute(type(module))
    found = [
        (prefix if name == hidden else before + name, child)
        for name, child in children.items()
        if child is not None
    ]
    if len(found) > 1 and len({id(child) for _, child in found}) < len(found):
        first = {id(each[1]): each for each in reversed(found)}
        found = [each for each in found if first[id(each[1])] is each]
    return found


def first_names(model: nn.Module) -> dict[int, str]:
    """The first canonical name of each module, by ``id``."""
    names: dict[int, str] = {}
    todo = [("", model)]
    while todo:
        name, module = todo.pop()
        if id(module) not in names:
            names[id(module)] = name
            todo += reversed(list(child_items(module, name)))
    return names


@lru_cache(maxsize=4096)
def wrapper_attribute(cls: type) -> str | None:
    """The attribute under which a wrapper class holds what it wraps; None for any other class."""
    for home, name, attribute in _WRAPPERS:
        wrapper = getattr(sys.modules.get(home), name, None)
        if isinstance(wrapper, type) and issubclass(cls, wrapper):
            return attribute
    return None


def modules_in(module: nn.Module, path: str, *, compat: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """A module and all in it, under every path that they have; a wrapper has that of what it wraps.

    Under ``compat``, what ``torch.compile`` wraps does not, as in the original.
    """
    yield path, module
    hidden = wrapper_attribute(type(module))
    if compat and hidden == "_orig_mod":
        # The original opens every other wrapper.
        hidden = None
    for name, child in children_of(module).items():
        if child is not None:
            inner = path if name == hidden else f"{path}.{name}" if path else name
            yield from modules_in(child, inner, compat=compat)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of its wrappers."""
    while attribute := wrapper_attribute(type(model)):
        model = model._modules[attribute]  # type: ignore[assignment]
    return model


def group_of_replicas(model: nn.Module) -> Any:
    """The process group of a model that DistributedDataParallel wraps, also within others; else None."""
    parallel = getattr(sys.modules.get("torch.nn.parallel"), "DistributedDataParallel", None)
    while attribute := wrapper_attribute(type(model)):
        if parallel is not None and isinstance(model, parallel):
            return model.process_group
        model = model._modules[attribute]  # type: ignore[assignment]
    return None


def _collect(node: Node, names: Names) -> None:
    module, prefix, children = node
    if id(module) not in names.modules:
        names.modules[id(module)] = prefix
        names.every.append(module)
    names.module_of[prefix] = module
    if simple := _is_simple(type(module)):
        parameters, buffers = module._parameters, module._buffers
    else:
        parameters, buffers = parameters_of(module), buffers_of(module)
        if is_compiled(module) and not any(_within(prefix, name) for name in names.compiled):
            names.compiled[prefix] = compiled_class(module)
    before = f"{prefix}." if prefix else ""
    entries = names.entries
    for tensors, are_buffers in ((parameters, False), (buffers, True)):
        for name, tensor in tensors.items():
            if tensor is None:
                continue
            full, identity = before + name, id(tensor)
            if identity in entries or type(tensor) not in _PLAIN or tensor.__dict__ or tensor.is_nested:
                _add(names, full, tensor, are_buffers)
            else:
                entries[identity] = Entry(full, [full], tensor, tuple(tensor.shape), are_buffers)
    if children:
        parametrizations = children_of(module).get("parametrizations")
        if isinstance(parametrizations, nn.ModuleDict):
            for attribute, chain in parametrizations._modules.items():
                if isinstance(chain, parametrize.ParametrizationList):
                    _add_parametrized(names, module, prefix, attribute, chain)
    if not simple and isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.padding_idx is not None:
        entry = names.entries.get(id(module._parameters.get("weight")))
        if entry is not None:
            entry.padding_index = module.padding_idx
    for child in children:
        _collect(child, names)


def _add(names: Names, name: str, tensor: torch.Tensor, buffer: bool) -> None:
    entry = names.entries.get(id(tensor))
    if entry is not None:
        if entry.holder is None:
            entry.names.append(name)
        return
    if is_lazy(tensor):
        names.lazy.setdefault(id(tensor), name)
        return
    _check_whole(tensor, name)
    names.entries[id(tensor)] = Entry(name, [name], tensor, tuple(tensor.shape), buffer)


def _check_whole(tensor: torch.Tensor, name: str) -> None:
    """A tensor must have a shape of its own, and nobody may have cut it up."""
    if tensor.is_nested:
        raise TensorError(
            "A nested tensor holds several of different shapes, and has no shape of its own to plan for.",
            parameter=name,
            fix="Keep the tensors apart, in an nn.ParameterList, and nest them in forward.",
        )
    if getattr(tensor, "_fsdp_flattened", False):
        raise TensorError(
            "FullyShardedDataParallel (FSDP1) has laid this model's parameters end to end and cut them "
            "anywhere, so that no rank has a parameter with its shape.",
            parameter=name,
            shape=tuple(tensor.shape),
            fix="Use torch.distributed.fsdp.fully_shard, whose parameters keep their shapes; or initialize "
            "the model before it is wrapped (and wrap it with sync_module_states=True, or the same seed).",
        )
    if _partitioned(tensor):
        raise TensorError(
            "DeepSpeed (ZeRO stage 3) has cut this parameter up and taken it away: no rank has it whole.",
            parameter=name,
            shape=tuple(getattr(tensor, "ds_shape", tensor.shape)),
            fix="Initialize the model before deepspeed.initialize, and outside of deepspeed.zero.Init; or "
            "within deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0), one seed.",
        )


def _partitioned(tensor: torch.Tensor) -> bool:
    """Whether DeepSpeed has a parameter in pieces: while it is gathered, it has its shape, and is there."""
    if not hasattr(tensor, "ds_id"):
        return False
    status = getattr(tensor, "ds_status", None)
    gathered = status is None or getattr(status, "name", "") == "AVAILABLE"
    return not gathered or tuple(getattr(tensor, "ds_shape", ())) != tuple(tensor.shape)


def _add_parametrized(
    names: Names, module: nn.Module, prefix: str, attribute: str, chain: parametrize.ParametrizationList
) -> None:
    name = f"{prefix}.{attribute}" if prefix else attribute
    stored = ["original"] if chain.is_tensor else [f"original{i}" for i in range(chain.ntensors)]
    originals = tuple(getattr(chain, each) for each in stored)
    if id(originals[0]) in names.entries:
        return
    one_way = next((type(each).__name__ for each in chain if not hasattr(each, "right_inverse")), None)
    holder, shape = (module, attribute), _shape_seen(chain, originals[0])
    entry = Entry(name, [name], originals[0], shape, holder=holder, originals=originals, one_way=one_way)
    names.entries.update((id(original), entry) for original in originals)


def _shape_seen(chain: nn.Module, original: torch.Tensor) -> tuple[int, ...]:
    """The shape that the layer sees, found without reading a weight."""
    if not isinstance(original, nn.Parameter):
        raise TensorError("A parametrized buffer cannot be planned.")
    stored = [*chain.named_parameters(), *chain.named_buffers()]
    on_meta = {name: each.to("meta") for name, each in stored}
    try:
        return tuple(torch.func.functional_call(chain, on_meta, ()).shape)
    except (RuntimeError, NotImplementedError):
        # Code that cannot run on meta tensors: nearly all keep the shape.
        return tuple(original.shape)


def _within(name: str, owner: str) -> bool:
    return not owner or name == owner or name.startswith(f"{owner}.")


def relative_name(name: str, owner: str) -> str | None:
    """``name`` counted from ``owner``; None for the owner itself."""
    return (name[len(owner) + 1 :] if owner else name) or None
