"""What the rules mean, told slowly: the original's algorithm, run on a list instead of on memory.

Nothing here knows how the planner works. ``init_weights`` of a module runs its own rules, then that
of its children, and each run of a rule walks the whole subtree, module by module, exactly as written
down. In place of numbers, each write appends (path of the rule, description of the value) to the list
of its tensor: the last entry is what the tensor is, the others are what was overridden.

``compat`` says whether the walk reaches what MMEngine reaches, or what this package adds.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

Description = tuple[Any, ...]
PATTERN_KEYS = ("name", "param", "exclude")


class Refused(Exception):
    """These rules are an error on this model."""


class Oracle:
    """Runs the algorithm on a model.

    Attributes:
        store: For each tensor (by ``id``), every write in its order.
        unused: Paths of the rules that wrote nothing, and of those that did not run.
        uncalled: Modules with a method ``init_weights`` that nobody calls.
        nested: Modules whose rules run although the original would skip them.
    """

    def __init__(self, model: nn.Module, *, compat: bool) -> None:
        self.model = model
        self.compat = compat
        self.store: dict[int, list[tuple[str, Description]]] = {}
        self.unused: list[str] = []
        self.uncalled: list[str] = []
        self.nested: list[str] = []
        self._done: set[int] = set()
        self._started: set[str] = set()
        self._idle: list[str] = []
        self._up_to_code: set[str] = set()
        # A module in two places goes by the first of its names.
        self._names = {id(module): name for name, module in model.named_modules()}
        self._called_by_original: set[int] = set()
        # The padding row belongs to the tensor: also a layer that is tied to the embedding leaves it zero.
        self._padding = {
            id(module.weight): module.padding_idx
            for module in model.modules()
            if isinstance(module, nn.Embedding) and module.padding_idx is not None and not compat
        }

    def run(self, outer: Any = None) -> Oracle:
        """``init_weights`` of the model, within the rules of an outer parent."""
        self.initialize(self.model, outer or [], "init_cfg")
        self._enter()
        not_run = dict.fromkeys(where for where in self._idle if where not in self._started)
        self.unused += [where for where in not_run if where not in self._up_to_code]
        return self

    def _enter(self) -> None:
        family = hasattr(self.model, "init_cfg")
        if self._is_done(self.model):
            self._idle += self._rules_in(self.model)
        elif not hasattr(self.model, "init_weights"):
            if not self.compat:
                self._entry()
            else:
                self._idle += self._rules_in(self.model)
        elif users_own(self.model) and (family or self.compat):
            self._call(self.model, "")
        elif family or self.compat:
            self._note_called(self.model)
            self._init_weights(self.model, "", called=True)
        else:
            self._entry()

    # -- the order -------------------------------------------------------------------------------

    def _init_weights(self, module: nn.Module, name: str, *, called: bool) -> None:
        self._done.add(id(module))
        if getattr(module, "init_cfg", None):
            self.initialize(module, module.init_cfg, path(name, "init_cfg"))
            if not called:
                self.nested.append(name)
        for child_name, child in children(module, name):
            self._child(child, child_name, called=called)

    def _entry(self) -> None:
        """A root that knows nothing of rules: its children of the family are called."""
        self._done.add(id(self.model))
        self.initialize(self.model, getattr(self.model, "init_cfg", None) or [], path("", "init_cfg"))
        entered = [child for child in self.model.children() if hasattr(child, "init_cfg")]
        self._note_called(self.model, [child for child in entered if hasattr(child, "init_weights")])
        for name, child in children(self.model, ""):
            self._child(child, name, called=hasattr(child, "init_weights") and hasattr(child, "init_cfg"))

    def _note_called(self, module: nn.Module, below: Iterable[nn.Module] | None = None) -> None:
        """Which modules the original calls: where such a one also stands elsewhere, it waits for that."""
        for child in module.children() if below is None else below:
            known = id(child) in self._called_by_original or not hasattr(child, "init_weights")
            if not known and not self._is_done(child):
                self._called_by_original.add(id(child))
                if not users_own(child):
                    self._note_called(child)

    def _is_done(self, module: nn.Module) -> bool:
        return hasattr(module, "init_weights") and getattr(module, "is_init", False)

    def _child(self, module: nn.Module, name: str, *, called: bool) -> None:
        name = self._names[id(module)]
        has_method = hasattr(module, "init_weights")
        if self._is_done(module):
            self._idle += self._rules_in(module)
            return
        if not called and id(module) in self._called_by_original:
            return
        if called and has_method:
            if users_own(module):
                self._call(module, name)
            elif id(module) not in self._done:
                self._init_weights(module, name, called=True)
        elif not self.compat:
            if has_method and users_own(module):
                self.uncalled.append(name)
            if id(module) not in self._done:
                self._init_weights(module, name, called=False)
        else:
            self._idle += self._rules_in(module)

    def _rules_in(self, module: nn.Module) -> list[str]:
        """Paths of the rules there and below."""
        found: list[str] = []
        for each in module.modules():
            init_cfg, where = getattr(each, "init_cfg", None), path(self._names[id(each)], "init_cfg")
            entries = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
            for index, cfg in enumerate(entries or []):
                if not cfg:
                    continue
                found.append(where if isinstance(init_cfg, dict) else f"{where}[{index}]")
        return found

    def _call(self, module: nn.Module, name: str) -> None:
        """A user's method may write anything below it."""
        self._up_to_code.update(self._rules_in(module))
        for parameter in module.parameters():
            self._append(parameter, path(name, "init_weights"), ("Opaque",))

    # -- one rule --------------------------------------------------------------------------------

    def initialize(self, owner: nn.Module, init_cfg: Any, where: str) -> None:
        """The original's ``initialize``: rule by rule, and after each its overrides."""
        if isinstance(init_cfg, dict):
            if init_cfg:
                self._rule(owner, init_cfg, where)
            return
        for index, cfg in enumerate(init_cfg):
            self._rule(owner, cfg, f"{where}[{index}]")

    def _rule(self, owner: nn.Module, cfg: dict[str, Any], where: str) -> None:
        self._started.add(where)
        count = self._select_and_write(owner, cfg, where)
        override = cfg.get("override")
        if not count and ("override" not in cfg or any(key in cfg for key in ("layer", "name", "param"))):
            self.unused.append(where)
        entries = override if isinstance(override, list) else [override] if override else []
        for index, entry in enumerate(entries):
            place = f"{where}.override[{index}]" if isinstance(override, list) else f"{where}.override"
            if not self._override(owner, entry, cfg, place):
                self.unused.append(place)

    def _override(self, owner: nn.Module, entry: dict[str, Any], outer: dict[str, Any], where: str) -> int:
        target = getattr(owner, entry["name"], None)
        if target is None:
            raise Refused(f"no attribute {entry['name']}")
        cfg = entry if len(entry) > 1 else outer
        if isinstance(target, nn.Parameter):
            if self.compat:
                raise Refused("a parameter")
            return self._write(where, cfg, owner, entry["name"], target, "weight")
        written: set[int] = set()
        count = 0
        for name, module in walk(target):
            del name
            for attribute, tensor, role, holder in layer_tensors(module, self.compat):
                count += self._write(where, cfg, holder, attribute, tensor, role, written)
        return count

    def _select_and_write(self, owner: nn.Module, cfg: dict[str, Any], where: str) -> int:
        if not any(key in cfg for key in ("layer", "name", "param")):
            return 0
        hits: set[tuple[str, str]] = set()
        written: set[int] = set()
        count = 0
        for name, module in walk(owner):
            if "name" in cfg and not any([self._hit(cfg, "name", part, hits) for part in prefixes(name)]):
                continue
            if "layer" in cfg and not self._is_layer(module, cfg["layer"]):
                continue
            for attribute, tensor, role, holder in self._candidates(module, name, cfg, hits):
                full = join(name, attribute)
                if any([self._hit(cfg, "exclude", part, hits) for part in prefixes(full)]):
                    continue
                own = attribute.rpartition(".")[2]
                count += self._write(where, cfg, holder, own, tensor, role, written)
        for key in PATTERN_KEYS:
            for pattern in listed(cfg.get(key)):
                if (key, pattern) not in hits and (key != "exclude" or count):
                    raise Refused(f"{key}={pattern} matches nothing")
        return count

    def _candidates(
        self, module: nn.Module, name: str, cfg: dict[str, Any], hits: set[tuple[str, str]]
    ) -> list[tuple[str, torch.Tensor, str, nn.Module]]:
        if "param" not in cfg:
            return layer_tensors(module, self.compat)
        return [
            (key, tensor, "weight", module)
            for key, tensor in module._parameters.items()
            if tensor is not None and self._hit(cfg, "param", join(name, key), hits)
        ]

    def _hit(self, cfg: dict[str, Any], key: str, name: str, hits: set[tuple[str, str]]) -> bool:
        found = [pattern for pattern in listed(cfg.get(key)) if name and matches(pattern, name)]
        hits.update((key, pattern) for pattern in found)
        return bool(found)

    def _is_layer(self, module: nn.Module, layer: Any) -> bool:
        cls = type(module)
        bases = (cls, *cls.__bases__) if self.compat else cls.__mro__
        return bool({base.__name__ for base in bases} & set(listed(layer)))

    def _write(
        self,
        where: str,
        cfg: dict[str, Any],
        module: nn.Module,
        attribute: str,
        tensor: torch.Tensor,
        role: str,
        written: set[int] | None = None,
    ) -> int:
        value = describe(cfg, module, attribute, tensor, role, self.compat)
        if value is None:
            return 0
        row = self._padding.get(id(tensor))
        if row is not None and value != ("Constant", 0.0):
            value = ("PaddingRow", row, value)
        if not self.compat and written is not None and id(tensor) in written:
            # Met again by the same run of a rule, on a second path to the tensor: that is one write.
            self.store[id(tensor)].pop()
        if written is not None:
            written.add(id(tensor))
        self._append(tensor, where, value)
        return 1

    def _append(self, tensor: torch.Tensor, where: str, value: Description) -> None:
        self.store.setdefault(id(tensor), []).append((where, value))


# -- small pieces --------------------------------------------------------------------------------


def users_own(module: nn.Module) -> bool:
    """Whether ``init_weights`` is a user's, not the base class's."""
    return type(module).init_weights.__qualname__ != "BaseModule.init_weights"  # type: ignore[attr-defined]


def path(name: str, last: str) -> str:
    return ".".join(filter(None, ("model", name, last)))


def join(name: str, attribute: str) -> str:
    return f"{name}.{attribute}" if name else attribute


def prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def listed(item: Any) -> list[Any]:
    return [] if item is None else list(item) if isinstance(item, (list, tuple)) else [item]


def matches(pattern: str, name: str) -> bool:
    if pattern.startswith("re:"):
        return re.fullmatch(pattern[3:], name) is not None
    return fnmatch.fnmatchcase(name, pattern)


def children(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """As ``named_children``, which gives a child that stands twice in one module once."""
    for name, child in module.named_children():
        yield join(prefix, name), child


def walk(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """As ``Module.apply``: children first, and a shared module each time that it is met."""
    for name, child in children(module, prefix):
        yield from walk(child, name)
    yield prefix, module


def layer_tensors(module: nn.Module, compat: bool) -> list[tuple[str, torch.Tensor, str, nn.Module]]:
    """The tensors of a layer: name, tensor, role, and the module that holds it."""
    if compat or not isinstance(module, (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)):
        found = [(role, getattr(module, role, None), role, module) for role in ("weight", "bias")]
        if any(isinstance(tensor, (bool, float)) for _, tensor, _, _ in found):
            raise Refused("the original fails on such a layer")
        return [item for item in found if item[1] is not None]  # type: ignore[misc]
    own = [
        (name, tensor, "bias" if "bias" in name else "weight", module)
        for name, tensor in module._parameters.items()
        if tensor is not None
    ]
    if isinstance(module, nn.MultiheadAttention):
        out = module.out_proj
        own += [(f"out_proj.{name}", tensor, name, out) for name, tensor in out.named_parameters()]
    return own


# -- values --------------------------------------------------------------------------------------


def describe(
    cfg: dict[str, Any], module: nn.Module, attribute: str, tensor: torch.Tensor, role: str, compat: bool
) -> Description | None:
    """What the rule writes into the tensor; None for nothing."""
    if role == "bias":
        bias = cfg.get("bias", 0) if cfg.get("bias_prob") is None else math.log(0.01 / 0.99)
        if bias is None or bias == "keep":
            return None
        if not isinstance(bias, dict):
            return ("Constant", float(bias))
        cfg = bias
    elif "weight" in cfg:
        weight = cfg["weight"]
        if weight is None:
            return None
        cfg = weight if isinstance(weight, dict) else dict(type="Constant", val=weight)
    shape = tuple(tensor.shape)
    count = 1 if compat or role == "bias" else matrices(module, attribute, shape)
    if count > 1:
        one = formula(cfg, (shape[0] // count, *shape[1:]), None)
        return one if one[0] == "Constant" else ("Parts", count, one)
    return formula(cfg, shape, None if compat else module)


def matrices(module: nn.Module, attribute: str, shape: tuple[int, ...]) -> int:
    """How many matrices lie on top of each other in one tensor."""
    if attribute == "in_proj_weight":
        return 3
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)) and attribute.startswith("weight"):
        return shape[0] // module.hidden_size
    return 1


def formula(cfg: dict[str, Any], shape: tuple[int, ...], module: nn.Module | None) -> Description:
    kind = cfg["type"]
    if kind == "Constant":
        return ("Constant", float(cfg["val"]))
    if kind == "Normal":
        return ("Normal", float(cfg.get("mean", 0)), float(cfg["std"]))
    if kind == "Uniform":
        return ("Uniform", float(cfg["a"]), float(cfg["b"]))
    if kind == "TruncNormal":
        return ("TruncNormal", 0.0, cfg["std"], cfg["a"], cfg["b"])
    if len(shape) < 2:
        raise Refused("no fans")
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))
    if isinstance(module, nn.modules.conv._ConvNd) and len(shape) > 2:
        if module.transposed:
            fan_in, fan_out = fan_out, fan_in
            fan_in //= module.groups
        else:
            fan_out //= module.groups
    if kind == "Xavier":
        std = cfg.get("gain", 1) * math.sqrt(2 / (fan_in + fan_out))
    elif kind == "Caffe2Xavier" or cfg.get("nonlinearity") == "leaky_relu":
        std = 1 / math.sqrt(fan_in)
    else:
        std = math.sqrt(2 / fan_out)
    if kind == "Caffe2Xavier" or cfg.get("distribution") == "uniform":
        return ("Uniform", -math.sqrt(3) * std, math.sqrt(3) * std)
    return ("Normal", 0.0, std)
