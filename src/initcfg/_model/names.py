"""Names: every tensor of a model under one canonical name.

The canonical name is the qualified name without what a wrapper (compile, DDP, FSDP, activation
checkpointing) or a parametrization adds; of the names of a tied tensor, the smallest in byte order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from initcfg._model.contents import buffers_of, children_of, compiled_class, is_compiled, parameters_of
from initcfg._model.holdings import PLAIN, Entry, Holding, Likeness, likeness
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

PENDING = "_initcfg_defaults"
"""Where a module has noted what its parameters are to hold, if they wait for it."""

LAZY = "A lazy module has no shape until it has seen data, so nothing can be planned for it."
RUN_ONE_BATCH = "Run one batch through the model first (model(torch.zeros(...))), then plan."


class Node(NamedTuple):
    """A module, a canonical name of it, the modules in it, and its tensors.

    Of a module that it has several times, ``children`` has one. What holds no tensor that was not met before,
    has None for these.
    """

    module: nn.Module
    name: str
    children: Sequence[Node]
    holding: Holding | None = None


@dataclass(eq=False)
class Names:
    """The tensors and modules of a model by identity.

    Attributes:
        modules: First canonical name of each module, by ``id``.
        one_by_one: Whether no layer stands for those that are alike.
        pending: The modules on which it is noted that parameters wait for what they are to hold.
        lazy: First canonical name of each tensor that has no shape yet, by ``id``: these have no entry.
        compiled: Name and former class of each part that torch.jit has compiled, without the parts in it.
        tree: The model, for walks over it; a module that is met in several places stands in each.
        holdings: The modules that hold tensors, each with those that were met in it first; in order.
    """

    one_by_one: bool = False
    tree: Node = field(init=False)
    # Of each module with parts, where it is met first, by ``id``.
    nodes: dict[int, Node] = field(default_factory=dict, repr=False)
    # Each module once, without the layers of which their likeness says all.
    others: list[nn.Module] = field(default_factory=list, repr=False)
    holdings: list[Holding] = field(default_factory=list)
    modules: dict[int, str] = field(default_factory=dict)
    pending: list[nn.Module] = field(default_factory=list)
    lazy: dict[int, str] = field(default_factory=dict)
    compiled: dict[str, str] = field(default_factory=dict)
    # The tensors that were met under another name as well.
    tied: list[Entry] = field(default_factory=list)
    # Whether something is noted on one of the tensors.
    noted: bool = False
    # The tensors by ``id``; those of a layer by what holds them.
    met: dict[int, Entry | Holding] = field(default_factory=dict, repr=False)
    # The likenesses of layers, by their facts.
    likes: dict[Any, Likeness] = field(default_factory=dict, repr=False)

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
    def entries(self) -> dict[int, Entry]:
        """The entry of each tensor, by ``id``; in registration order."""
        found: dict[int, Entry] = {}
        for identity, each in self.met.items():
            if isinstance(each, Entry):
                found[identity] = each
            elif identity not in found:
                found.update((id(entry.tensor), entry) for entry in each.entries)
        return found

    @cached_property
    def module_of(self) -> dict[str, nn.Module]:
        """The module of each canonical name; of a wrapper and what it wraps, the latter."""
        found: dict[str, nn.Module] = {}
        waiting = [self.tree]
        while waiting:
            node = waiting.pop()
            found[node.name] = node.module
            waiting += reversed(node.children)
        return found

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
        if not self.tied:
            return {}
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


def named_tensors(model: nn.Module, *, one_by_one: bool = False) -> Names:
    """The tensors and modules of ``model``; ``one_by_one``: all will be asked for, none stands for others."""
    names = Names(one_by_one)
    names.tree = _collected(model, "", names)
    for entry in names.tied:
        entry.name = min(entry.names, key=str.encode)
    return names


@lru_cache(maxsize=16384)
def _is_simple(cls: type) -> bool:
    """Whether modules of a class hold all in dicts of their own, wrap nothing, and have no row of padding."""
    special = (torch.jit.ScriptModule, nn.Embedding, nn.EmbeddingBag)
    return not (is_keras(cls) or issubclass(cls, special) or wrapper_attribute(cls))


def child_items(module: nn.Module, prefix: str) -> Sequence[tuple[str, nn.Module]]:
    """The children of a module once each, under canonical names that begin with ``prefix``."""
    children = children_of(module)
    if not children:
        return ()
    return _once_each(children, prefix, wrapper_attribute(type(module)))


def _once_each(
    children: Mapping[str, nn.Module | None], prefix: str, hidden: str | None = None
) -> list[tuple[str, nn.Module]]:
    before = f"{prefix}." if prefix else ""
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


def _collected(module: nn.Module, prefix: str, names: Names) -> Node:
    """Collect the tensors of a module, then of those in it."""
    first = id(module) not in names.modules
    if first:
        names.modules[id(module)] = prefix
        if PENDING in module.__dict__:
            names.pending.append(module)
    before = f"{prefix}." if prefix else ""
    holding = None if names.one_by_one else _layer(module, before, names)
    if holding is not None:
        names.holdings.append(holding)
        return tuple.__new__(Node, (module, prefix, (), holding))
    if first:
        names.others.append(module)
    simple = _is_simple(type(module))
    if entries := _own_entries(module, prefix, before, simple, names):
        holding = Holding(module, before, len(names.holdings), None, (), entries)
        names.holdings.append(holding)
    if simple and not module._modules:
        return tuple.__new__(Node, (module, prefix, (), holding))
    inside = _once_each(module._modules, prefix) if simple else child_items(module, prefix)
    node = Node(module, prefix, [_collected(child, name, names) for name, child in inside], holding)
    names.nodes.setdefault(id(module), node)
    return node


def _layer(module: nn.Module, before: str, names: Names) -> Holding | None:
    """Collect the tensors of a layer that a few facts say, if none of them was met before."""
    found = likeness(module, names.likes)
    if found is None:
        return None
    like, tensors, noted = found
    met, count = names.met, len(names.met)
    identities = list(map(id, tensors))
    if not tensors or not met.keys().isdisjoint(identities):
        return None
    holding = Holding(module, before, len(names.holdings), like, tensors)
    met.update(dict.fromkeys(identities, holding))
    if len(met) < count + len(tensors):
        # One of them stands in two places.
        for identity in {*identities}:
            del met[identity]
        return None
    names.noted = names.noted or noted
    return holding


def _own_entries(module: nn.Module, prefix: str, before: str, simple: bool, names: Names) -> list[Entry]:
    """Collect the tensors that a module holds itself; those that were not met before."""
    if simple:
        parameters, buffers = module._parameters, module._buffers
        if not parameters and not buffers and "parametrizations" not in module._modules:
            return []
    else:
        parameters, buffers = parameters_of(module), buffers_of(module)
        if is_compiled(module) and not any(_within(prefix, name) for name in names.compiled):
            names.compiled[prefix] = compiled_class(module)
    met = names.met
    fresh: list[Entry] = []
    for tensors, are_buffers in ((parameters, False), (buffers, True)):
        for name, tensor in tensors.items():
            if tensor is None:
                continue
            full, identity = before + name, id(tensor)
            if identity in met or type(tensor) not in PLAIN or tensor.__dict__ or tensor.is_nested:
                names.noted = True
                fresh += _add(names, full, tensor, are_buffers)
            else:
                met[identity] = entry = Entry(full, (full,), tensor, tuple(tensor.shape), are_buffers)
                fresh.append(entry)
    chains = None if simple and not module._modules else children_of(module).get("parametrizations")
    if isinstance(chains, nn.ModuleDict):
        for attribute, chain in chains._modules.items():
            if isinstance(chain, parametrize.ParametrizationList):
                fresh += _add_parametrized(names, module, prefix, attribute, chain)
    if not simple and isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.padding_idx is not None:
        entry = met.get(id(module._parameters.get("weight")))
        if isinstance(entry, Holding):
            # The weight of a layer as well.
            entry.set_apart()
            entry = next(each for each in entry.entries if each.tensor is module._parameters["weight"])
        if entry is not None:
            entry.padding_index = module.padding_idx
    return fresh


def _add(names: Names, name: str, tensor: torch.Tensor, buffer: bool) -> list[Entry]:
    known = names.met.get(id(tensor))
    if known is not None:
        if isinstance(known, Holding):
            known.set_apart()
            known = next(each for each in known.entries if each.tensor is tensor)
        if known.holder is None:
            known.names += (name,)
            names.tied.append(known)
        return []
    if is_lazy(tensor):
        names.lazy.setdefault(id(tensor), name)
        return []
    _check_whole(tensor, name)
    entry = names.met[id(tensor)] = Entry(name, (name,), tensor, tuple(tensor.shape), buffer)
    return [entry]


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
) -> list[Entry]:
    name = f"{prefix}.{attribute}" if prefix else attribute
    stored = ["original"] if chain.is_tensor else [f"original{i}" for i in range(chain.ntensors)]
    originals = tuple(getattr(chain, each) for each in stored)
    if id(originals[0]) in names.met:
        return []
    one_way = next((type(each).__name__ for each in chain if not hasattr(each, "right_inverse")), None)
    holder, shape = (module, attribute), _shape_seen(chain, originals[0])
    entry = Entry(name, (name,), originals[0], shape, holder=holder, originals=originals, one_way=one_way)
    names.met.update((id(original), entry) for original in originals)
    return [entry]


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
