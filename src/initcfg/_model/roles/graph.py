"""What follows from a graph of operations: what depends on what, and which weights lie between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from initcfg._model.roles.operations import Graph, Node


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VIEWS = _words("""
    view _unsafe_view reshape _reshape_alias permute transpose t unsqueeze squeeze clone _to_copy detach alias
    contiguous lift_fresh native_dropout constant_pad_nd pad flatten roll movedim to written pixel_shuffle
""")
"""What changes no number: only the shape, the type, the memory."""
CUTS = _words("slice select split unbind chunk split_with_sizes narrow unsafe_split index index_select")
"""What takes a part."""
POOLS = _words("""
    avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d max_pool2d
    max_pool2d_with_indices max_pool3d_with_indices
""")
BATCH_NORMS = _words("""
    batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    cudnn_batch_norm _batch_norm_with_update _batch_norm_no_update
""")
NORMS = BATCH_NORMS | _words("""
    native_layer_norm native_group_norm layer_norm group_norm rms_norm _fused_rms_norm instance_norm
""")
ACTIVATIONS = _words("""
    relu gelu silu sigmoid tanh hardtanh hardswish hardsigmoid leaky_relu elu celu selu softplus mish prelu
    _prelu_kernel exp erf threshold clamp clamp_min relu6 log_sigmoid_forward sin cos square
""")
SOFTMAXES = _words("_softmax softmax _safe_softmax")
FUSED_ATTENTION = "_scaled_dot_product"
# What may stand between scores, a softmax and what it weighs.
_NEAR = _words("mul div where expand add sub nan_to_num masked_fill")
_SPREADS = _words("rsqrt sqrt linalg_vector_norm std var reciprocal norm var_mean std_mean")
_UPSAMPLES = "upsample"
_ASKED = SOFTMAXES | _words("add sub topk")


@dataclass(eq=False)
class Paths:
    """A graph and what lies upstream of each of its nodes.

    Attributes:
        users: Nodes that are made from each node.
        bits: The bit of each node that others are asked about: layers, adds, softmaxes, what is used twice.
        above: For each node, the bits of all that it depends on, and its own.
        layers: The bits of all layers: operations that apply weights to data.
        seeds: What does not depend on data, and yet a stream may begin with: learned queries, zeros.
    """

    graph: Graph
    users: list[list[int]] = field(default_factory=list)
    bits: dict[int, int] = field(default_factory=dict)
    above: list[int] = field(default_factory=list)
    layers: int = 0
    by_bit: list[int] = field(default_factory=list)
    seeds: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        nodes = self.nodes
        self.users = [[] for _ in nodes]
        for node in nodes:
            for each in dict.fromkeys(node.inputs):
                self.users[each].append(node.index)
        self.seeds = self._seeds()
        for node in nodes:
            mask = 0
            for each in node.inputs:
                mask |= self.above[each]
            if self._asked(node):
                bit = 1 << len(self.by_bit)
                self.bits[node.index] = bit
                self.by_bit.append(node.index)
                mask |= bit
                if node.weights:
                    self.layers |= bit
            self.above.append(mask)

    @property
    def nodes(self) -> list[Node]:
        """The nodes in the order in which they were made."""
        return self.graph.nodes

    def _asked(self, node: Node) -> bool:
        if not node.data:
            return node.index in self.seeds
        used = len(self.users[node.index]) > 1
        return used or bool(node.weights) or node.op in _ASKED

    def _seeds(self) -> frozenset[int]:
        """What is added to data of its shape, and used for more than that."""
        found = set()
        for node in self.nodes:
            if node.op == "add" and node.floating and len(node.inputs) == 2:
                for each in node.inputs:
                    given = self.nodes[each]
                    if not given.data and given.shape == node.shape and len(self.users[each]) > 1:
                        found.add(each)
        return frozenset(found)

    def is_depthwise(self, layer: int) -> bool:
        """Whether a convolution has a kernel for each channel, and mixes none."""
        node = self.nodes[layer]
        if node.op != "convolution" or not node.weights:
            return False
        shape, given = self.graph.shapes[node.weights[0]], self.input_of(layer)
        channels = self.nodes[given[0]].shape[1:2] if given else ()
        return max(shape[2:], default=1) > 1 and shape[1] == 1 and channels == tuple(shape[:1])

    def depends(self, index: int, on: int) -> bool:
        """Whether a node depends on another, which has a bit."""
        return bool(self.above[index] & self.bits.get(on, 0))

    def layers_between(self, index: int, start: int) -> int:
        """The bits of layers that ``index`` depends on, and ``start`` does not."""
        return self.above[index] & ~self.above[start] & self.layers

    def with_bits(self, mask: int) -> list[int]:
        """The nodes of these bits, in their order."""
        found = []
        while mask:
            low = mask & -mask
            found.append(self.by_bit[low.bit_length() - 1])
            mask ^= low
        return found

    def data_inputs(self, index: int) -> list[int]:
        """Those of a node's inputs that depend on data."""
        return [each for each in self.nodes[index].inputs if self.nodes[each].data]

    def factors(self, index: int) -> tuple[list[int], list[int]]:
        """Of a product: the factors that carry its value, and those that only gate it.

        What does not depend on data gates, and so does what is broadcast.
        """
        given = self.nodes[index].inputs
        data = self.data_inputs(index)
        if len(data) < 2 or self.nodes[index].op not in ("mul", "div"):
            return data, [each for each in given if each not in data]
        sizes = [_size(self.nodes[each].shape) for each in data]
        if sizes[0] == sizes[1]:
            return (data[:1], data[1:]) if self.nodes[index].op == "div" else (data, [])
        value = data[sizes.index(max(sizes))]
        return [value], [each for each in data if each != value]

    def input_of(self, layer: int) -> list[int]:
        """What a layer applies its weights to; nothing, of a table that is looked up without data."""
        return self.data_inputs(layer)[:1]

    def back(self, start: int | list[int], *, until: Callable[[Node], bool], stop: int = 0) -> list[int]:
        """The nearest nodes upstream that are wanted, over values, not over what gates them.

        What has a bit in ``stop`` is not looked at.
        """
        return self.walk(start, until=until, stop=stop)[0]

    def walk(
        self, start: int | list[int], *, until: Callable[[Node], bool], stop: int = 0
    ) -> tuple[list[int], list[int]]:
        """What :meth:`back` finds, and the nodes that are passed on the way; both in their order."""
        found: list[int] = []
        passed: list[int] = []
        waiting, seen = ([start] if isinstance(start, int) else list(start)), set()
        while waiting:
            index = waiting.pop()
            if index in seen or self.bits.get(index, 0) & stop:
                continue
            seen.add(index)
            if until(self.nodes[index]):
                found.append(index)
            else:
                passed.append(index)
                waiting += self.values(index)
        return sorted(found), sorted(passed)

    def values(self, index: int) -> list[int]:
        """The inputs that a node's value comes from: not gates, and of attention not the scores."""
        node = self.nodes[index]
        data = self.data_inputs(index)
        if node.op.startswith(FUSED_ATTENTION):
            return data[2:3]
        if node.op == "bmm" and len(data) == 2:
            if (weighed := self.attention_weights(index)) is not None:
                return [each for each in data if each != weighed]
            # Of two, one may only say where the other goes, which was computed with it.
            layers = [self.above[each] & self.layers for each in data]
            for own, other, value in ((*layers, data[0]), (*reversed(layers), data[1])):
                if own != other and own & other == other:
                    return [value]
        values = self.factors(index)[0]
        # Whole numbers say where, not what.
        return [each for each in values if self.nodes[each].floating or not node.floating]

    def attention_weights(self, product: int) -> int | None:
        """Of a product of two values, the one that comes out of a softmax."""
        for mixed in (False, True):
            for each in self.data_inputs(product):
                if self.softmax_of(each, mixed=mixed) is not None:
                    return each
        return None

    def softmax_of(self, index: int, *, mixed: bool = False) -> int | None:
        """The softmax that a value comes straight out of, or out of a layer that mixes its heads."""
        for _ in range(20 if mixed else 12):
            node = self.nodes[index]
            if node.op in SOFTMAXES:
                return index
            data = self.data_inputs(index)
            passes = (
                VIEWS | CUTS | {"mul", "div", "where", "expand", "add", "sub", "nan_to_num", "masked_fill"}
            )
            if not data or not (node.op in passes or (mixed and node.weights)):
                return None
            index = data[0]
        return None

    def plain(self, index: int, *, also: Iterable[str] = ()) -> list[int]:
        """A value and what it was before it was only shaped, pooled or scaled by what is no data."""
        chain = [index]
        passed = VIEWS | POOLS | frozenset(also)
        while True:
            node, data = self.nodes[chain[-1]], self.data_inputs(chain[-1])
            scaled = node.op in ("mul", "div") and len(data) == 1
            whole = self._taken_apart(chain[-1])
            if whole is not None:
                chain.append(whole)
                continue
            joined = self._joined(chain[-1])
            if joined is not None:
                chain += [data[0], joined]
                continue
            if not data or not (node.op in passed or scaled) or (node.op == "written" and len(data) > 1):
                return chain
            chain.append(data[0])

    def _taken_apart(self, index: int) -> int | None:
        """What joined values are all parts of, each pooled or not (MViT's class token, and its patches)."""
        if self.nodes[index].op != "cat":
            return None
        sources: set[int] | None = None
        for each in self.data_inputs(index):
            chain = {each}
            while self.nodes[each].op in VIEWS | POOLS | CUTS and (data := self.data_inputs(each)):
                each = data[0]
                chain.add(each)
            sources = chain if sources is None else sources & chain
        return max(sources) if sources else None

    def _joined(self, index: int) -> int | None:
        """What a part that is cut out of joined values was before they were joined."""
        node, data = self.nodes[index], self.data_inputs(index)
        if node.op not in CUTS or not data or self.nodes[data[0]].op != "cat":
            return None
        if node.op not in ("slice", "narrow"):
            # Cut into as many as were joined.
            parts = self.nodes[data[0]].inputs
            found = parts[node.number] if node.number < len(parts) else None
            same = found is not None and self.nodes[found].shape == node.shape
            return found if same and len(self.users[data[0]]) == len(parts) else None
        return next(
            (each for each in self.data_inputs(data[0]) if self.nodes[each].shape == node.shape), None
        )

    def last_layers(self, start: int | list[int], stop: int = 0) -> list[int]:
        """The layers whose outputs a value is made of."""
        return self.back(start, until=lambda node: bool(node.weights), stop=stop)

    def names(self, layers: Iterable[int]) -> list[str]:
        """The weights of layers."""
        return list(dict.fromkeys(name for each in layers for name in self.nodes[each].weights))

    def is_norm(self, index: int) -> bool:
        """Whether a node normalizes, by itself or as x / sqrt(mean(x²))."""
        node = self.nodes[index]
        if node.op in NORMS:
            return True
        data = self.data_inputs(index)
        if node.op not in ("mul", "div") or len(data) != 2:
            return False
        small, large = sorted(data, key=lambda each: _size(self.nodes[each].shape))
        if self.nodes[small].shape == self.nodes[large].shape:
            return False
        chain = [*self.plain(small, also=("add", "clamp_min", "expand", "clamp"))]
        return any(self.nodes[each].op in _SPREADS for each in chain)

    def upsamples(self, index: int, start: int) -> bool:
        """Whether a value was made larger in space since ``start``."""
        waiting, seen = [index], set()
        while waiting:
            at = waiting.pop()
            if at in seen or at == start:
                continue
            seen.add(at)
            node = self.nodes[at]
            if node.op.startswith(_UPSAMPLES):
                return True
            waiting += [each for each in self.values(at) if self.depends(each, start)]
        return False


def _size(shape: Sequence[int]) -> int:
    """How many elements, as if no axis were empty: an expert without tokens is like one with some."""
    return math.prod(max(each, 2) if each != 1 else 1 for each in shape)
