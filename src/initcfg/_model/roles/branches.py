"""What the layers of a residual branch do: attention, MLP, convolutions, experts; and its gates and norms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from initcfg._model.roles.graph import ACTIVATIONS, CUTS, Paths
from initcfg._model.roles.operations import Node
from initcfg._model.roles.residuals import Residual

Found = Iterator[tuple[str, str]]
"""Pairs of a role and a parameter that has it."""


@dataclass(eq=False)
class Branch:
    """A branch, and what is known of the graph that it is in.

    Attributes:
        stop: The bits of all that its skip depends on: what lies there is not of this branch.
        mixes: The nodes where attention mixes values.
        projections: The layers of queries, keys and values.
    """

    paths: Paths
    residual: Residual
    mixes: frozenset[int]
    projections: frozenset[int]

    def __post_init__(self) -> None:
        self.stop = self.paths.above[self.residual.skip]
        self.outs, self.passed = self.paths.walk(
            self.residual.branch, until=lambda node: bool(node.weights), stop=self.stop
        )
        # What is multiplied onto the end of a branch does not end it (RWKV's receptance).
        gating = {each for index in self.passed for each in self._gates_of(index)[0]}
        values = [each for each in self.outs if each not in gating]
        self.gating = [each for each in self.outs if each in gating] if values else []
        self.outs = values or self.outs

    def roles(self) -> Found:
        """The roles of all that is in the branch."""
        paths, residual = self.paths, self.residual
        experts, routers = self._routed()
        for name in paths.names(routers):
            yield "router", name
        if residual.shortcut:
            for name in paths.names(paths.last_layers(residual.skip, self._above_branch())):
                yield "shortcut", name
        for name in paths.names(self.outs):
            yield "residual_out", name
        for name in paths.names(self.gating):
            yield "mlp_gate", name
        yield from self._on_the_way()
        for out in self.outs:
            yield from self._of_out(out, experts)

    def _above_branch(self) -> int:
        return self.paths.above[self.residual.start]

    def _on_the_way(self) -> Found:
        """Norms and gates between the last layers and the add."""
        for index in self.passed:
            own = sources(self.paths, index)
            if not own:
                continue
            if self.paths.is_norm(index):
                yield "residual_norm", own[0]
            elif self.paths.nodes[index].op in ("mul", "div"):
                normalized = any(self.paths.is_norm(each) for each in self.paths.data_inputs(index))
                yield ("residual_norm" if normalized else "gate"), own[0]

    def _of_out(self, out: int, experts: frozenset[int]) -> Found:
        paths = self.paths
        if takes_mix(paths, out, self.mixes):
            return
        cone = self._cone(out)
        firsts = [each for each in cone if not self._before(each) and each not in self.projections]
        if firsts == [out] or not firsts:
            return
        convolved = any(_is_spatial(paths, each) for each in cone)
        if convolved and any(paths.nodes[each].op == "convolution" for each in firsts):
            yield from _named(paths, "conv_in", firsts)
            firsts = self._tail(out)
            if not firsts:
                return
        is_expert = out in experts or _is_stacked(paths, out)
        kind = "expert" if is_expert else "mlp"
        gating, fused = self._gating(cone, set(firsts))
        ins = [each for each in firsts if each != out and each not in gating]
        yield from _named(paths, f"{kind}_in", [*ins, *fused])
        yield from _named(paths, f"{kind}_gate", [*gating, *fused])
        yield from _named(paths, f"{kind}_out", [out])

    def _before(self, layer: int) -> list[int]:
        """The layers of the branch whose values a layer takes."""
        found = self.paths.last_layers(self.paths.input_of(layer), self.stop)
        return [each for each in found if self.paths.depends(each, self.residual.start)]

    def _cone(self, out: int) -> list[int]:
        """The layers of the branch whose values reach ``out``, and itself."""
        found, waiting = {out}, [out]
        while waiting:
            for each in self._before(waiting.pop()):
                if each not in found:
                    found.add(each)
                    waiting.append(each)
        return sorted(found)

    def _tail(self, out: int) -> list[int]:
        """Behind convolutions: where the layers without extent in space begin that end in ``out``."""
        if _is_spatial(self.paths, out):
            return []
        run = [out]
        while True:
            before = self._before(run[0])
            if len(before) != 1 or _is_spatial(self.paths, before[0]):
                break
            run.insert(0, before[0])
        return [run[0]] if len(run) > 1 and before and _is_spatial(self.paths, before[0]) else []

    def _gating(self, cone: list[int], firsts: set[int]) -> tuple[list[int], list[int]]:
        """The first layers whose values are multiplied onto others' after an activation.

        Apart from those that give both the gate and what it is multiplied onto.
        """
        gating: list[int] = []
        fused: list[int] = []
        for layer in cone:
            _, passed = self._layers_before(self.paths.input_of(layer))
            for index in passed:
                gates, both = self._gates_of(index)
                (fused if both else gating).extend(each for each in gates if each in firsts)
        return list(dict.fromkeys(gating)), list(dict.fromkeys(fused))

    def _layers_before(self, index: int | list[int]) -> tuple[list[int], list[int]]:
        return self.paths.walk(index, until=lambda node: bool(node.weights), stop=self.stop)

    def _gates_of(self, product: int) -> tuple[list[int], bool]:
        """The layers of a product's gate, and whether they are also those of what it gates."""
        node, data = self.paths.nodes[product], self.paths.data_inputs(product)
        if node.op == "glu":
            return self._layers_before(data[0])[0], True
        if node.op != "mul" or len(data) != 2 or len(self.paths.factors(product)[0]) != 2:
            return [], False
        sides = [self._layers_before(each) for each in data]
        activated = [any(self.paths.nodes[each].op in ACTIVATIONS for each in passed) for _, passed in sides]
        if sides[0][0] == sides[1][0] and _cuts(self.paths, sides[0][1]) == _cuts(self.paths, sides[1][1]):
            # An activation that is written out: x * sigmoid(x).
            return [], False
        if activated.count(True) != 1:
            return [], False
        gates, gated = sides[activated.index(True)][0], sides[activated.index(False)][0]
        shared = any(self.paths.depends(each, gate) for each in gated for gate in gates)
        return gates, shared

    def _routed(self) -> tuple[frozenset[int], list[int]]:
        """The layers of experts, and those that choose among them."""
        paths = self.paths
        experts: set[int] = set()
        routers: list[int] = []
        for index in self._all_passed():
            data = paths.data_inputs(index)
            values, gates = paths.factors(index)
            for gate in gates if paths.nodes[index].op == "mul" and len(data) == 2 else ():
                if gate in data and self._is_chosen(gate):
                    routers += paths.last_layers(gate, self.stop)
                    for out in paths.last_layers(values[0], self.stop):
                        experts.update(self._cone(out))
        return frozenset(experts), routers

    def _all_passed(self) -> list[int]:
        layers = dict.fromkeys(each for out in self.outs for each in self._cone(out))
        found = [self._layers_before(self.paths.input_of(layer))[1] for layer in layers]
        return sorted(dict.fromkeys(index for passed in (self.passed, *found) for index in passed))

    def _is_chosen(self, gate: int) -> bool:
        """Whether a gate comes out of a choice of the largest."""
        own = self.paths.with_bits(self.paths.above[gate] & ~self.stop)
        return any(self.paths.nodes[each].op == "topk" for each in own)


def sources(paths: Paths, index: int) -> list[str]:
    """The parameters that an operation takes beside data."""
    given = [paths.nodes[each] for each in paths.nodes[index].inputs]
    return [name for each in given if not each.data for name in sorted(each.sources)]


def takes_mix(paths: Paths, layer: int, mixes: frozenset[int]) -> bool:
    """Whether a layer takes what attention gives."""
    nearest = paths.back(paths.input_of(layer), until=lambda node: bool(node.weights) or node.index in mixes)
    return any(each in mixes for each in nearest)


def _named(paths: Paths, role: str, layers: list[int]) -> Found:
    for name in paths.names(layers):
        yield role, name


def _is_spatial(paths: Paths, layer: int) -> bool:
    """Whether a layer mixes neighbors: a convolution with a kernel larger than 1."""
    node = paths.nodes[layer]
    return node.op == "convolution" and any(size > 1 for size in _weight_shape(paths, node)[2:])


def _is_stacked(paths: Paths, layer: int) -> bool:
    """Whether a layer is one matrix for each of several experts."""
    node = paths.nodes[layer]
    return node.op == "_grouped_mm"


def _weight_shape(paths: Paths, node: Node) -> tuple[int, ...]:
    return tuple(paths.graph.shapes[node.weights[0]])


def _cuts(paths: Paths, passed: list[int]) -> frozenset[tuple[int, int]]:
    return frozenset((index, paths.nodes[index].number) for index in passed if paths.nodes[index].op in CUTS)
