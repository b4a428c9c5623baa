"""What an initializer says: from a tensor's value to the initializers, with their arguments, that give it."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from initcfg._rules import construct, resolve_type
from initcfg._rules.initializers import BaseInit
from initcfg.errors import InitcfgError
from initcfg.values import Layout, PaddingRow, Parts, TruncNormal, Value, to_json

# Arguments that are written even where they are the default: a person wants to see them.
_SHOWN = {
    "Kaiming": ("mode", "nonlinearity"),
    "TruncNormal": ("a", "b"),
    "Uniform": ("a", "b"),
    "Xavier": ("distribution",),
}

# Common ways to scale by fans, for code that does so by hand.
_GUESSES: list[dict[str, Any]] = [
    dict(type="Kaiming", mode="fan_out", nonlinearity="relu"),
    dict(type="Kaiming", mode="fan_in", nonlinearity="relu"),
    dict(type="Kaiming", mode="fan_in", nonlinearity="linear"),
    dict(type="Xavier", distribution="normal"),
    dict(type="Xavier", distribution="uniform"),
    dict(type="Kaiming", mode="fan_in", nonlinearity="relu", distribution="uniform"),
    dict(type="Kaiming", mode="fan_out", nonlinearity="relu", distribution="uniform"),
    dict(type="Caffe2Xavier"),
    dict(type="LeCun"),
    dict(type="LeCun", distribution="normal"),
    dict(type="LeCun", distribution="uniform"),
    dict(type="VarianceScaling", scale=2, mode="fan_out", distribution="normal"),
    dict(type="VarianceScaling", scale=2, mode="fan_in", distribution="normal"),
    dict(type="VarianceScaling", scale=1, mode="fan_out", distribution="normal"),
]
# What torch does by itself comes before bounds, which hold for one shape alone, and before a guess.
_HINTED, _LITERAL, _DEFAULT, _BOUNDS, _GUESSED, _AS_VALUE = range(6)
_TORCHS_OWN = dict(
    type="Kaiming", a=math.sqrt(5), mode="fan_in", nonlinearity="leaky_relu", distribution="uniform"
)

# Fans as torch.nn.init counts them: of the tensor as it is stored, without regard to groups.
_STORED = {"in_axis": 1, "out_axis": 0}
_WITH_FANS = ("Kaiming", "Xavier", "VarianceScaling", "LeCun")

_CALLS = re.compile("(kaiming|xavier)_(uniform|normal)_")
# Values that an initializer says by its arguments, as they are.
_LITERALS = {kind: kind for kind in ("Constant", "Dirac", "Normal", "Orthogonal", "Sparse", "Uniform")}
_LITERALS["Eye"] = "Identity"


@dataclass(frozen=True, eq=False)
class Spec:
    """An initializer with its ``type`` and arguments; one object for equal ones."""

    cfg: Mapping[str, Any]
    init: BaseInit
    # The smaller, the better it says what is meant.
    rank: int

    def gives(self, layout: Layout) -> Value | None:
        """What a tensor of this layout gets; None if that is an error."""
        if "in_axis" in self.cfg:
            layout = _as_stored(layout)
        try:
            return self.init.resolve(layout)
        except (InitcfgError, ArithmeticError):
            return None

    @property
    def constant(self) -> float | None:
        """The number, of a constant."""
        return self.cfg["val"] if self.cfg["type"] == "Constant" else None

    @property
    def order(self) -> tuple[int, int]:
        """For ties: how welcome it is."""
        return self.rank, len(str(self.cfg))


@lru_cache(maxsize=4096)
def _as_stored(layout: Layout) -> Layout:
    return replace(layout, in_axis=(1,), out_axis=(0,))


class Specs:
    """All initializers that may be of use for a model: what the plan names may explain other tensors, too."""

    def __init__(self, initializers: Iterable[Mapping[str, Any] | None]) -> None:
        self._made: dict[str, Spec | None] = {}
        self._explained: dict[tuple[Layout, Value], list[Spec]] = {}
        cfgs = [_of_call(each) for each in initializers if each is not None]
        named = [self._make(cfg, _HINTED) for cfg in cfgs if cfg is not None and cfg != _TORCHS_OWN]
        # Made after those: what the plan names is no guess.
        self._guesses = [self._make(cfg, _GUESSED) for cfg in [*_GUESSES, _TORCHS_OWN]]
        self._named = list(dict.fromkeys(named))
        self._stored = [
            self._make({**spec.cfg, **_STORED}, spec.rank)
            for spec in (*self._named, *self._guesses)
            if spec is not None and spec.cfg["type"] in _WITH_FANS
        ]

    def explain(self, layout: Layout, wanted: Value) -> list[Spec]:
        """The initializers that give a tensor of this layout its value, best first; at least one."""
        key = (layout, wanted)
        if key not in self._explained:
            self._explained[key] = self._explain(layout, wanted)
        return self._explained[key]

    def _explain(self, layout: Layout, wanted: Value) -> list[Spec]:
        core = _core(layout, wanted)
        cfg = _literal_cfg(core)
        candidates: list[Spec | None] = []
        if cfg is not None:
            candidates.append(self._make(cfg, _BOUNDS if cfg["type"] == "Uniform" else _LITERAL))
        if layout.default == wanted:
            candidates.append(self._make({"type": "TorchDefault"}, _DEFAULT))
        if core.random:
            candidates += self._named
            candidates += self._guesses if len(layout.shape) > 1 else []
            candidates += self._stored if len(layout.shape) > 2 else []
        right = [spec for spec in candidates if spec is not None and spec.gives(layout) == wanted]
        return sorted(dict.fromkeys(right), key=lambda spec: spec.order) or [self.as_value(wanted)]

    def as_value(self, value: Value) -> Spec:
        """The initializer that says the value itself."""
        made = self._make({"type": "Value", "value": to_json(value)}, _AS_VALUE)
        assert made is not None
        return made

    def _make(self, cfg: Mapping[str, Any], rank: int) -> Spec | None:
        cfg = _readable(cfg)
        key = json.dumps(cfg, sort_keys=True)
        if key not in self._made:
            arguments = {name: item for name, item in cfg.items() if name != "type" and name not in _STORED}
            try:
                made = construct(cfg["type"], arguments)
            except InitcfgError:
                made = None
            self._made[key] = Spec(cfg, made, rank) if isinstance(made, BaseInit) else None
        return self._made[key]


def _core(layout: Layout, wanted: Value) -> Value:
    """What an initializer must say, so that with its parts and its padding row the tensor is as wanted."""
    if layout.parts and isinstance(wanted, Parts):
        alike = wanted.dim == 0 and wanted.sizes == layout.parts and len(set(wanted.values)) == 1
        return wanted.values[0] if alike else wanted
    if isinstance(wanted, PaddingRow) and wanted.index == layout.padding_index:
        return wanted.value
    return wanted


def _literal_cfg(value: Value) -> dict[str, Any] | None:
    """The initializer that says just these numbers."""
    if any(isinstance(item, float) and not math.isfinite(item) for item in value.args.values()):
        return None
    if isinstance(value, TruncNormal):
        return _truncated(value)
    type_ = _LITERALS.get(value.kind)
    # Which axes of an orthogonal tensor are rows follows from its layout; the algorithm is the package's.
    beside = ("rows", "stack", "algorithm")
    arguments = {key: item for key, item in value.args.items() if key not in beside}
    return None if type_ is None else {"type": type_, **arguments}


def _truncated(value: TruncNormal) -> dict[str, Any]:
    """Bounds in sigmas where they are whole sigmas, but for what torch's trunc_normal_ says unasked."""
    mean, std = value.mean, value.std
    for sigmas in (2.0, 3.0, 1.0):
        if value.a == mean - sigmas * std and value.b == mean + sigmas * std and value.b != 2.0:
            return {"type": "TruncNormal", "mean": mean, "std": std, "a_sigma": -sigmas, "b_sigma": sigmas}
    return {"type": "TruncNormal", **value.args}


def _of_call(initializer: Mapping[str, Any]) -> dict[str, Any] | None:
    """A rule's initializer, or a recorded call of torch.nn.init as one; None where the value says it all."""
    name = initializer.get("type")
    if call := _CALLS.fullmatch(str(name)):
        type_, distribution = call[1].title(), call[2]
        known = ("a", "mode", "nonlinearity") if type_ == "Kaiming" else ("gain",)
        arguments = {key: initializer[key] for key in known if key in initializer}
        if arguments.get("nonlinearity", "leaky_relu") != "leaky_relu":
            # The slope of a leaky rectifier has no meaning for others.
            arguments.pop("a", None)
        return {"type": type_, **arguments, "distribution": distribution}
    if not isinstance(name, str) or not _registered(name) or name in ("Pretrained", "Value", "Constant"):
        return None
    return {key: item for key, item in initializer.items() if key != "bias"}


@lru_cache(maxsize=256)
def _registered(name: str) -> bool:
    try:
        cls = resolve_type(name)
    except InitcfgError:
        return False
    return inspect.isclass(cls) and issubclass(cls, BaseInit)


def _readable(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Without the arguments that are the default, and with whole numbers as such."""
    defaults = _defaults(cfg["type"])
    shown = ("type", *_SHOWN.get(cfg["type"], ()))
    return {
        key: _number(item)
        for key, item in cfg.items()
        if key in shown or key not in defaults or defaults[key] != item
    }


@lru_cache(maxsize=256)
def _defaults(type_: str) -> Mapping[str, Any]:
    parameters: Iterable[inspect.Parameter] = inspect.signature(resolve_type(type_)).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _number(item: Any) -> Any:
    """A float as a person writes it: 1 for 1.0; minus zero stays what it is."""
    whole = isinstance(item, float) and item.is_integer() and abs(item) < 1e6
    return int(item) if whole and (item or math.copysign(1, item) > 0) else item
