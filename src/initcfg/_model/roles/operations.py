"""One forward pass, as a graph of the operations that it did on tensors.

Below autograd: what ran within ``torch.no_grad``, a custom autograd Function or activation checkpointing is
seen too. A value is known by the memory that it lies in, so that views and writes in place keep their place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from initcfg._model.dispatch_modes import DispatchMode

Key = tuple[int, Any, tuple[int, ...], tuple[int, ...]]


@dataclass(slots=True, eq=False)
class Node:
    """A value in a forward pass: what an operation made, or what it began with.

    Attributes:
        op: Name of the operation, or ``input``, ``parameter``, ``constant``.
        inputs: Nodes that it was made from.
        name: Of a parameter, its canonical name; of an input, its argument.
        place: Index of the module, and of its call, in which it was made: see ``Graph.places``.
        data: Whether it depends on the input, or is looked up in a table of weights.
        sources: Of what does not: the parameters that it is computed from.
        weights: Of an operation that applies weights to data: the parameter.
        number: Where an operation gives several values: which.
    """

    index: int
    op: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    place: int
    name: str | None = None
    data: bool = False
    sources: frozenset[str] = frozenset()
    weights: tuple[str, ...] = ()
    floating: bool = True
    number: int = 0


@dataclass(eq=False)
class Graph:
    """The operations of a pass in their order; of ``places``, name of a module and number of its call.

    ``broken`` is what ended the pass before its end.
    """

    nodes: list[Node] = field(default_factory=list)
    places: list[tuple[str, int]] = field(default_factory=lambda: [("", 0)])
    outputs: tuple[int, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    device: str = "meta"
    broken: Exception | None = None


_PRODUCTS = {"mm", "bmm", "convolution", "_grouped_mm", "mv", "dot", "_convolution", "linear", "_scaled_mm"}
_WITH_ADD = {"addmm": "mm", "baddbmm": "bmm", "addmv": "mv", "addbmm": "bmm"}
# These take the shape of their input, not its numbers.
_SHAPED = {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros"}
_SHAPED |= {"new_ones", "new_full", "new_empty", "new_empty_strided"}
_LOOKUPS = {"embedding", "_embedding_bag", "embedding_bag", "_embedding_bag_forward_only"}


class Recorder(DispatchMode):
    """Notes each operation on tensors while a model runs."""

    supports_higher_order_operators = True

    def __init__(self, parameters: Mapping[str, list[torch.Tensor]]) -> None:
        super().__init__()
        self.graph = Graph(shapes={name: tuple(each[0].shape) for name, each in parameters.items()})
        self._known: dict[Key, int] = {}
        self._bases: dict[int, int] = {}
        self._writes: dict[int, list[int]] = {}
        # Memory that is freed may come again as something else's.
        self._kept: list[torch.Tensor] = []
        self._stack = [0]
        self._silent = False
        for name, tensors in parameters.items():
            for tensor in tensors:
                self._begin(tensor, "parameter", name)

    def begin_with(self, tensor: torch.Tensor, name: str) -> None:
        """Take a tensor for an input of the pass."""
        self._begin(tensor, "input", name)

    def enter(self, name: str, call: int) -> None:
        """A module is called."""
        self.graph.places.append((name, call))
        self._stack.append(len(self.graph.places) - 1)

    def leave(self) -> None:
        """It returns."""
        self._stack.pop()

    @contextlib.contextmanager
    def _unseen(self) -> Iterator[None]:
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def recurrent(self, module: nn.RNNBase, args: tuple[Any, ...], run: Callable[[], Any]) -> Any:
        """A recurrent layer is one operation, and no loop over time."""
        inputs = tuple(self.node_of(each) for each in _tensors_in(args[:1]))
        with self._unseen():
            result = run()
        of_input = [each for name, each in module._parameters.items() if name.startswith("weight_ih_l0")]
        for tensor in _tensors_in(result):
            made = self._add("recurrent", inputs, tensor)
            node = self.graph.nodes[made]
            sources = [self.graph.nodes[self.node_of(each)].sources for each in of_input if each is not None]
            node.weights = tuple(name for each in sources for name in each)
            key = _key(tensor)
            self._known[key] = made
            self._bases[key[0]] = made
        return result

    def node_of(self, tensor: torch.Tensor) -> int:
        """The node of a value as it is now."""
        key = _key(tensor)
        storage = key[0]
        found = self._known.get(key)
        if found is None:
            base = self._bases.get(storage)
            if base is None:
                found = self._begin(tensor, "constant", None)
            else:
                found = self._add("view", (base,), tensor)
                self._known[key] = found
        later = [each for each in self._writes.get(storage, ()) if each > found]
        if later:
            found = self._add("written", (found, *later), tensor)
            self._known[key] = found
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self._silent:
            self._note(func, args, kwargs, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        op, written = _described(func)
        tensors = list(_tensors_in((args, kwargs)))
        inputs = tuple(self.node_of(each) for each in tensors)
        results = list(_tensors_in(result))
        for number, tensor in enumerate(results):
            key = _key(tensor)
            made = self._made(op, inputs, tensor, number)
            self._known[key] = made
            if written and key[0] in self._bases:
                self._writes.setdefault(key[0], []).append(made)
            else:
                self._bases.setdefault(key[0], made)
        for position in written if not results else ():
            changed = args[position] if isinstance(position, int) else kwargs.get(position)
            for tensor in _tensors_in(changed):
                made = self._add(op, inputs, tensor)
                self._known[_key(tensor)] = made
                self._writes.setdefault(_key(tensor)[0], []).append(made)

    def _made(self, op: str, inputs: tuple[int, ...], tensor: torch.Tensor, number: int) -> int:
        nodes = self.graph.nodes
        if op in _WITH_ADD:
            # A bias is part of its layer; data that is added is an add.
            product = self._add(_WITH_ADD[op], inputs[1:], tensor)
            return self._add("add", (inputs[0], product), tensor) if nodes[inputs[0]].data else product
        if op == "addcmul" and len(inputs) == 3:
            return self._add("add", (inputs[0], self._add("mul", inputs[1:], tensor)), tensor)
        return self._add(op, inputs, tensor, number)

    def _add(self, op: str, inputs: tuple[int, ...], tensor: torch.Tensor, number: int = 0) -> int:
        nodes = self.graph.nodes
        inputs = () if op in _SHAPED else inputs
        node = Node(len(nodes), op, inputs, tuple(tensor.shape), self._stack[-1], number=number)
        node.floating = tensor.is_floating_point()
        given = [nodes[each] for each in inputs]
        node.data = any(each.data for each in given)
        if op in _LOOKUPS:
            node.weights, node.data = self._main(given[0].sources), True
        elif op in _PRODUCTS:
            self._apply_weights(node, given)
        elif op == "cat" and node.data:
            for each in given:
                self._take_for_data(each)
        if not node.data:
            node.sources = frozenset().union(*(each.sources for each in given))
        nodes.append(node)
        self._kept.append(tensor)
        return node.index

    def _take_for_data(self, node: Node) -> None:
        """Learned tokens that are joined to data are data from there on."""
        if not node.data and node.sources:
            node.data, node.sources = True, frozenset()
            for each in node.inputs:
                self._take_for_data(self.graph.nodes[each])

    def _apply_weights(self, node: Node, given: list[Node]) -> None:
        sides = given[:2]
        if node.data:
            node.weights = next(
                (self._main(each.sources) for each in sides if not each.data and each.sources), ()
            )
            if node.op == "convolution" and not node.weights and len(sides) == 2:
                node.weights = self._mixed(sides[1])
            return
        if node.op in ("mv", "dot") or len(sides) < 2 or not sides[1].sources:
            return
        # Tables and tokens that are learned pass through layers as data does. Of two that are, a weight is
        # what the layer that runs owns.
        owner = self.graph.places[node.place][0]
        own = [{name for name in each.sources if name.rpartition(".")[0] == owner} for each in sides]
        if not own[0] and own[1]:
            node.weights, node.data = self._main(sides[1].sources), True

    def _mixed(self, kernel: Node) -> tuple[str, ...]:
        """The weights of a kernel that is mixed anew for each input out of several (CondConv)."""
        while kernel.data and not kernel.weights and len(kernel.inputs) == 1:
            kernel = self.graph.nodes[kernel.inputs[0]]
        return kernel.weights

    def _main(self, sources: frozenset[str]) -> tuple[str, ...]:
        """Of what a weight is computed from (a direction, a length), the largest."""
        if not sources:
            return ()
        sizes = {name: torch.Size(self.graph.shapes[name]).numel() for name in sources}
        return (max(sorted(sources), key=sizes.__getitem__),)

    def _begin(self, tensor: torch.Tensor, op: str, name: str | None) -> int:
        nodes = self.graph.nodes
        node = Node(len(nodes), op, (), tuple(tensor.shape), 0, name, data=op == "input")
        node.floating = tensor.is_floating_point()
        if op == "parameter" and name is not None:
            node.sources = frozenset({name})
        nodes.append(node)
        key = _key(tensor)
        self._known[key] = node.index
        self._bases.setdefault(key[0], node.index)
        self._kept.append(tensor)
        return node.index


@contextlib.contextmanager
def watched_calls(model: nn.Module, recorder: Recorder, names: Mapping[int, str]) -> Iterator[None]:
    """Within this, the recorder knows which module runs; ``names`` are those of modules, by ``id``."""
    calls: dict[str, int] = {}
    handles = []

    def enter(module: nn.Module, *_: Any) -> None:
        name = names[id(module)]
        calls[name] = calls.get(name, -1) + 1
        recorder.enter(name, calls[name])

    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            vars(module)["forward"] = partial(_recurrent, recorder, module, module.forward)
        if id(module) in names:
            handles.append(module.register_forward_pre_hook(enter, prepend=True))
            handles.append(module.register_forward_hook(lambda *_: recorder.leave(), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _recurrent(recorder: Recorder, module: nn.RNNBase, forward: Any, *args: Any, **kwargs: Any) -> Any:
    return recorder.recurrent(module, args, lambda: forward(*args, **kwargs))


def _key(tensor: torch.Tensor) -> Key:
    if tensor.layout is not torch.strided:
        return id(tensor), 0, tuple(tensor.shape), ()
    memory = tensor.untyped_storage()._cdata
    return memory, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors_in(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors_in(each)


@lru_cache(maxsize=4096)
def _described(func: Any) -> tuple[str, tuple[int | str, ...]]:
    """Name of an operation, the same in place or not; and the arguments that it writes."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        return str(func), ()
    name = schema.name.rpartition("::")[2]
    written = tuple(
        each.name if each.kwarg_only else position
        for position, each in enumerate(schema.arguments)
        if each.alias_info is not None and each.alias_info.is_write
    )
    return (name[:-1] if written and name.endswith("_") else name), written
