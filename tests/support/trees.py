"""Random module trees with random rules, for hypothesis: drawn as plain nodes, built into modules.

The same node is built with the classes of one family or another (ours, or those of the real MMEngine),
so that two executors can be given equal models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

Cfg = dict[str, Any]


@dataclass(eq=False)
class Node:
    """A module to be built. A node that is met twice is one module in two places."""

    kind: str
    children: list[tuple[str, Node]] = field(default_factory=list)
    init_cfg: Any = None
    is_init: bool = False

    def walk(self, prefix: str = "") -> list[tuple[str, Node]]:
        """This node and those below it, with their names, a shared one under each of its names."""
        found, seen = [(prefix, self)], set()
        for name, child in self.children:
            if id(child) not in seen:
                seen.add(id(child))
                found += child.walk(f"{prefix}.{name}" if prefix else name)
        return found


@dataclass(eq=False)
class Tree:
    """A whole example: the root, tensors to tie, and rules of an outer parent."""

    root: Node
    ties: list[tuple[int, int]]
    outer: Any = None

    def __repr__(self) -> str:
        lines = [
            f"  {name or '(root)'}: {node.kind} #{id(node) % 9973}{' is_init' * node.is_init} {node.init_cfg}"
            for name, node in self.root.walk()
        ]
        return "\n".join(["Tree", *lines, f"  ties={self.ties} outer={self.outer}"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


# -- leaves --------------------------------------------------------------------------------------


class MyLinear(nn.Linear):
    """A layer two levels below the name that rules know."""


class MyOwnLinear(MyLinear):
    """And three levels."""


class Bag(nn.Module):
    """Bare parameters, none of them called weight or bias, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(5, 3))
        self.scale = nn.Parameter(torch.zeros(3))
        self.register_buffer("table", torch.zeros(3))
        self.register_parameter("nothing", None)


LEAVES: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(3, 5),
    "Linear without bias": lambda: nn.Linear(3, 5, bias=False),
    "MyOwnLinear": lambda: MyOwnLinear(5, 3),
    "Conv2d": lambda: nn.Conv2d(2, 4, 1),
    "Conv2d in groups": lambda: nn.Conv2d(4, 4, 3, groups=2),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(2, 4, 3, groups=2),
    "BatchNorm2d": lambda: nn.BatchNorm2d(3),
    "LayerNorm": lambda: nn.LayerNorm(3, elementwise_affine=True),
    "GroupNorm without weight": lambda: nn.GroupNorm(1, 3, affine=False),
    "Embedding": lambda: nn.Embedding(5, 3),
    "Embedding with padding": lambda: nn.Embedding(5, 3, padding_idx=1),
    "MultiheadAttention": lambda: nn.MultiheadAttention(4, 2),
    "MultiheadAttention apart": lambda: nn.MultiheadAttention(4, 2, kdim=2, vdim=3, add_bias_kv=True),
    "LSTM": lambda: nn.LSTM(2, 3),
    "GRUCell": lambda: nn.GRUCell(2, 3),
    "ReLU": nn.ReLU,
    "Bag": Bag,
}


# -- families ------------------------------------------------------------------------------------


@lru_cache
def family(name: str) -> SimpleNamespace:
    """The classes that carry rules: ``"initcfg"``, ``"compat"`` or ``"mmengine"`` (the real one)."""
    if name == "mmengine":
        from mmengine import model as home
    elif name == "compat":
        from initcfg.compat import mmengine as home
    else:
        import initcfg as home

    class Block(home.BaseModule):
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            self.gamma = nn.Parameter(torch.zeros(2, 3))

        @property
        def first(self) -> Any:
            """An attribute that is no child by this name."""
            return next(self.children())

    class Hand(Block):
        def init_weights(self) -> None:
            super().init_weights()
            nn.init.normal_(self.gamma, std=0.5)

    class Alone(Block):
        def init_weights(self) -> None:
            for parameter in self.parameters():
                nn.init.constant_(parameter, 7)

    return SimpleNamespace(
        Block=Block, Hand=Hand, Alone=Alone, Sequential=home.Sequential, ModuleList=home.ModuleList
    )


class Duck(nn.Module):
    """No base class, but a method of the name."""

    def init_weights(self) -> None:
        for parameter in self.parameters():
            nn.init.uniform_(parameter, 3, 4)


class Carrier(nn.Module):
    """No base class, but rules."""

    init_cfg: Any = None


PLAIN = {
    "nn.Module": nn.Module,
    "nn.Sequential": nn.Sequential,
    "nn.ModuleList": nn.ModuleList,
    "Duck": Duck,
    "Carrier": Carrier,
}
WITH_RULES = ("Block", "Sequential", "ModuleList", "Hand", "Alone")
CONTAINERS = (*WITH_RULES, *PLAIN)


def build(tree: Tree, family_name: str) -> nn.Module:
    """The model, its first draws from the global generator as it stands."""
    classes = family(family_name)
    memory: dict[int, nn.Module] = {}
    model = _build(tree.root, classes, memory)
    places = [(m, key) for m in model.modules() for key, p in m._parameters.items() if p is not None]
    for left, right in tree.ties if places else ():
        source, key = places[left % len(places)]
        tensor = source._parameters[key]
        alike = [(m, k) for m, k in places if m._parameters[k].shape == tensor.shape]  # type: ignore[union-attr]
        target, other = alike[right % len(alike)]
        target._parameters[other] = tensor
    return model


def _build(node: Node, classes: SimpleNamespace, memory: dict[int, nn.Module]) -> nn.Module:
    if id(node) in memory:
        return memory[id(node)]
    if node.kind in LEAVES:
        module = LEAVES[node.kind]()
    elif node.kind in PLAIN:
        module = PLAIN[node.kind]()
    else:
        module = getattr(classes, node.kind)(init_cfg=node.init_cfg)
    if node.kind == "Carrier":
        module.init_cfg = node.init_cfg
    for name, child in node.children:
        module.add_module(name, _build(child, classes, memory))
    if node.is_init:
        module.is_init = True  # type: ignore[assignment]
    memory[id(node)] = module
    return module


# -- strategies ----------------------------------------------------------------------------------

_LAYERS = ["Linear", "Conv2d", "_ConvNd", "MultiheadAttention", "LSTM", "Embedding"]
_VECTORS = ["BatchNorm2d", "LayerNorm", "_BatchNorm", "MyLinear", "Bag", "GRUCell", "Module"]
_FANS: list[Cfg] = [
    dict(type="Kaiming"),
    dict(type="Kaiming", a=1, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform", bias=1),
    dict(type="Xavier", gain=0.5),
    dict(type="Xavier", distribution="uniform", bias=2),
    dict(type="Caffe2Xavier"),
]
_FREE: list[Cfg] = [
    dict(type="Constant", val=1, bias=2),
    dict(type="Constant", val=0),
    dict(type="Constant", val=3.5, bias_prob=0.01),
    dict(type="Normal", std=0.01),
    dict(type="Normal", mean=1, std=0.1, bias=0.25),
    dict(type="Uniform", a=-1, b=1),
    dict(type="TruncNormal", std=0.02, a=-0.04, b=0.04),
]
_APART: list[Cfg] = [
    dict(bias=None),
    dict(bias="keep"),
    dict(weight=None),
    dict(bias=dict(type="Normal", std=2)),
    dict(weight=dict(type="Uniform", a=-0.5, b=0.5)),
    dict(weight=4, bias=dict(type="Constant", val=9)),
]


def _chance(draw: Any, one_in: int) -> bool:
    return draw(st.integers(0, one_in - 1)) == one_in - 1


@st.composite
def trees(draw: Any, *, exact: bool, duck: bool = True, keep_lstm: bool = True) -> Tree:
    """Trees whose rules stay within the original's language (``exact``) or use ours.

    Args:
        draw: Given by hypothesis.
        exact: Only what MMEngine knows.
        duck: Whether modules with an ``init_weights`` of their own occur.
        keep_lstm: Whether layers occur that the original fails on.
    """
    leaves = [name for name in LEAVES if keep_lstm or name not in ("LSTM", "GRUCell")]
    containers = [name for name in CONTAINERS if duck or name not in ("Duck", "Hand", "Alone")]
    made: list[Node] = []

    def node(depth: int) -> Node:
        if made and _chance(draw, 8):
            return draw(st.sampled_from(made))
        if depth == 0 or _chance(draw, 3):
            found = Node(draw(st.sampled_from(leaves)))
        else:
            found = container(draw(st.sampled_from(containers)), depth)
        made.append(found)
        return found

    def container(kind: str, depth: int) -> Node:
        names = "0123" if kind.endswith(("Sequential", "ModuleList")) else "abcd"
        count = draw(st.integers(1, 3))
        children = [(names[i], node(depth - 1)) for i in range(count)]
        is_init = kind in WITH_RULES and _chance(draw, 10)
        return Node(kind, children, is_init=is_init)

    entry = draw(st.sampled_from(["Block", *containers]) if not exact else st.sampled_from(WITH_RULES[:3]))
    root = container(entry, 3)
    if exact:
        root.is_init = False
    for each in {id(item): item for _, item in root.walk()}.values():
        if each.kind in WITH_RULES or each.kind == "Carrier":
            each.init_cfg = draw(_init_cfgs(each, exact))
    pairs = st.tuples(st.integers(0, 40), st.integers(0, 40))
    outer = draw(_init_cfgs(root, exact)) if not exact and _chance(draw, 3) else None
    return Tree(root, draw(st.lists(pairs, max_size=3)), outer)


@st.composite
def _init_cfgs(draw: Any, owner: Node, exact: bool) -> Any:
    form = draw(st.sampled_from(["none", "dict", "dict", "list", "tuple"]))
    if form == "none":
        return draw(st.sampled_from([None, {}, []]))
    if form == "dict":
        return draw(rules(owner, exact))
    found = draw(st.lists(rules(owner, exact), min_size=1, max_size=3))
    return found if form == "list" else tuple(found)


@st.composite
def rules(draw: Any, owner: Node, exact: bool) -> Cfg:
    """One rule of ``owner``, of which most reach something."""
    modules = [name for name, _ in owner.walk() if name]
    parameters = [
        f"{name}.{key}" if name else key for name, node in owner.walk() for key in _parameter_names(node)
    ]
    how = "layer" if exact else draw(st.sampled_from(["layer"] * 4 + ["name", "param", "both", "three"]))
    cfg: Cfg = {}
    overrides = draw(st.lists(_overrides(owner, exact), max_size=2)) if _chance(draw, 3) else []
    fans = draw(st.booleans())
    if how in ("layer", "both") and not (overrides and _chance(draw, 2)):
        layers = _LAYERS if fans else [*_LAYERS, *_VECTORS]
        cfg["layer"] = draw(
            st.one_of(st.sampled_from(layers), st.lists(st.sampled_from(layers), min_size=1, max_size=3))
        )
    if how in ("name", "both", "three") and modules:
        cfg["name"] = draw(_patterns(modules))
        fans = fans and how == "both"
    if how in ("param", "three") and parameters:
        cfg["param"] = draw(_patterns(parameters))
        fans = False
    cfg.update(draw(st.sampled_from(_FANS if fans else _FREE)))
    if "param" in cfg:
        cfg.pop("bias", None)
        cfg.pop("bias_prob", None)
    elif not exact and _chance(draw, 4):
        cfg.pop("bias_prob", None)
        cfg.update(draw(st.sampled_from(_APART)))
    if not exact and _chance(draw, 5) and any(key in cfg for key in ("layer", "name", "param")):
        cfg["exclude"] = draw(_patterns([*modules, *parameters]))
    if overrides:
        cfg["override"] = overrides[0] if len(overrides) == 1 and draw(st.booleans()) else overrides
    return cfg


def _parameter_names(node: Node) -> list[str]:
    if node.kind in ("Block", "Hand", "Alone"):
        return ["gamma"]
    if node.kind not in LEAVES:
        return []
    return [name for name, _ in LEAVES[node.kind]().named_parameters() if "." not in name]


@st.composite
def _patterns(draw: Any, names: list[str]) -> Any:
    def one() -> str:
        name = draw(st.sampled_from(names))
        last, first = name.rpartition(".")[2], name.partition(".")[0]
        styles = [name, f"*{last}", f"{first}*", f"re:(.*\\.)?{last}", f"[{first[0]}x]{first[1:]}*"]
        return draw(st.sampled_from(styles))

    return one() if draw(st.booleans()) else [one() for _ in range(draw(st.integers(1, 2)))]


@st.composite
def _overrides(draw: Any, owner: Node, exact: bool) -> Cfg:
    names = [name for name, _ in owner.children]
    if owner.kind in ("Block", "Hand", "Alone"):
        names += ["first"] + ([] if exact else ["gamma"])
    if _chance(draw, 20):
        names = ["missing"]
    cfg: Cfg = dict(name=draw(st.sampled_from(names)))
    if draw(st.booleans()):
        cfg.update(draw(st.sampled_from(_FREE)))
        if _chance(draw, 4):
            # The original ignores it, and so do we.
            cfg["layer"] = "Conv2d"
    return cfg
