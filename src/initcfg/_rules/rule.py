"""Rules: ``init_cfg`` entries, parsed and checked, each with the place where it was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from initcfg._model import copied_rules, holds_tensors
from initcfg._rules.initializers import INITIALIZERS, BaseInit, PretrainedInit
from initcfg._rules.selection import Layers, Pattern, parse_layers, parse_patterns
from initcfg._rules.types import SELECTION, accepts, construct, is_foreign, is_pretrained, type_label
from initcfg.errors import (
    ArgumentError,
    InitcfgError,
    MissingTypeError,
    OverrideError,
    PatternError,
    RuleTypeError,
    plural,
)
from initcfg.values import axes

_NO_LAYERS = Layers(frozenset(), (), True)
_AXES = ("in_axis", "out_axis", "batch_axis")
PRETRAINED_EXTENSIONS = (
    "rename",
    "include",
    "exclude",
    "strict",
    "sha256",
    "offline",
    "part",
    "finite",
    "adapt",
)
EXTENSIONS = ("name", "param", "buffer", "exclude", "weight", *_AXES, "a_sigma", "b_sigma", "preserve_std")


@dataclass(frozen=True, eq=False)
class Rule:
    """One entry of an ``init_cfg``.

    Attributes:
        where: Path of the entry: ``model.backbone.init_cfg[0].override[1]``.
        written: File and line it was written at, where known.
        cfg: The entry as it was written.
        weight: Initializer of weights; None leaves them alone. A foreign initializer (any callable
            that takes a module, as the original's registry allows) stands in ``foreign``.
        bias: Initializer of biases; None leaves them alone.
        pretrained: The checkpoint to load, for a Pretrained rule.
        layers, names, params, buffers, excludes: The selection.
        override_name: Attribute that this rule initializes whole, for an override.
        overrides: The overrides that stand in this rule.
        axes: ``in_axis``, ``out_axis`` and ``batch_axis``, where given.
    """

    where: str
    written: str | None
    cfg: Mapping[str, Any]
    weight: BaseInit | None = None
    bias: BaseInit | None = None
    foreign: Any = None
    pretrained: PretrainedInit | None = None
    layers: Layers = _NO_LAYERS
    names: tuple[Pattern, ...] = ()
    params: tuple[Pattern, ...] = ()
    buffers: tuple[Pattern, ...] = ()
    excludes: tuple[Pattern, ...] = ()
    override_name: str | None = None
    overrides: tuple[Rule, ...] = ()
    axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    type_name: str = ""

    @property
    def selects(self) -> bool:
        """Whether the rule itself (apart from its overrides) can reach anything."""
        return bool(self.layers or self.names or self.params or self.buffers)

    def __str__(self) -> str:
        return show_cfg(self.cfg)

    def initializer(self, role: str) -> dict[str, Any]:
        """The initializer as JSON data, for a tensor of ``role`` ``"weight"`` or ``"bias"``."""
        if self.pretrained is not None:
            return {"type": "Pretrained", **self.pretrained.arguments()}
        if self.foreign is not None:
            return {"type": self.type_name}
        own = self.bias if role == "bias" else self.weight
        apart = self.cfg.get(role)
        if own is not None and isinstance(apart, Mapping):
            return {"type": type_label(apart["type"]), **own.arguments()}
        main = self.weight if self.weight is not None else self.bias
        arguments = {} if main is None else main.arguments()
        bias = {} if not isinstance(self.bias, _Plain) else {"bias": self.bias.bias}
        return {"type": self.type_name, **arguments, **bias}


class _Plain(BaseInit):
    """The bias of a rule: a number."""

    def value(self, layout: Any) -> Any:
        from initcfg.values import Constant

        return Constant(float(self.bias))

    def arguments(self) -> dict[str, Any]:
        return {"val": self.bias}


def plain_bias(bias: float) -> BaseInit:
    """A bias that is a number."""
    return _Plain(bias=bias)


def bias_of(initializer: BaseInit) -> BaseInit:
    """What fills the biases where nothing is said of them apart."""
    return initializer if initializer.fills_bias else plain_bias(initializer.bias)


def show_cfg(cfg: Mapping[str, Any]) -> str:
    """An entry as a person writes it: ``dict(type='Kaiming', layer='Conv2d')``."""

    def show(item: Any) -> str:
        if isinstance(item, Mapping) and holds_tensors(item):
            return f"<a state_dict of {plural(len(item), 'tensor')}>"
        if isinstance(item, Mapping):
            return show_cfg(item)
        if isinstance(item, list):
            return "[" + ", ".join(show(each) for each in item) + "]"
        return item.__name__ if isinstance(item, (type, FunctionType)) else repr(item)

    return "dict(" + ", ".join(f"{key}={show(item)}" for key, item in cfg.items()) + ")"


# -- parsing -------------------------------------------------------------------------------------


Written = Callable[[str], str | None]
"""From the path of a rule to file and line."""


def nowhere(where: str) -> None:
    """For rules whose place is not known."""


def parse_init_cfg(
    init_cfg: Any, where: str, *, written: Written = nowhere, compat: bool = False, bare: bool = False
) -> list[Rule]:
    """The rules of an ``init_cfg``: a dict, or a list (on a module, also a tuple) of dicts.

    Args:
        init_cfg: As written; never changed.
        where: Path of it, for messages.
        written: Gives file and line of a rule's path, where known.
        compat: Refuse what the original does not know.
        bare: It was given to ``initialize``, which takes no tuple.

    Raises:
        RuleError: Some entry is wrong; the error says which, and how to fix it.
    """
    if not bare and not init_cfg:
        return []
    if isinstance(init_cfg, Mapping):
        return [_parse_entry(init_cfg, where, written, compat)]
    if isinstance(init_cfg, list) or (isinstance(init_cfg, tuple) and not bare):
        return [_parse_entry(item, f"{where}[{i}]", written, compat) for i, item in enumerate(init_cfg)]
    raise RuleTypeError(
        f"An init_cfg is a dict or a list of dicts, not {init_cfg!r}.",
        where=location(where, written(where)),
        fix="Write init_cfg=dict(type='Kaiming', layer='Conv2d').",
    )


def location(where: str, written: str | None) -> str:
    """Path of a rule, and file and line where known."""
    return f"{where} ({written})" if written else where


def _parse_entry(entry: Any, where: str, written: Written, compat: bool) -> Rule:
    if not isinstance(entry, Mapping):
        raise RuleTypeError(
            f"Each entry of an init_cfg is a dict, not {entry!r}.", where=location(where, written(where))
        )
    try:
        return _parse(dict(entry), where, written, compat)
    except InitcfgError as error:
        # Errors from further inside know neither the rule nor where it stands.
        error.rule = error.rule or show_cfg(entry)
        error.where = error.where or location(where, written(where))
        raise


def _parse(entry: dict[str, Any], where: str, written: Written, compat: bool) -> Rule:
    for key in entry:
        if not isinstance(key, str):
            raise RuleTypeError(f"The keys of a rule are strings, not {key!r}.", fix="In YAML, quote it.")
    # The original copies each entry before use: shared configs stay as they are.
    cfg = {key: _copy(item) for key, item in entry.items() if key != "_scope_"}
    override = cfg.pop("override", None)
    if compat:
        if is_pretrained(cfg.get("type")) and (extra := [key for key in cfg if key in PRETRAINED_EXTENSIONS]):
            raise ArgumentError(
                f"{extra[0]} is an extension of Pretrained that the original does not know.",
                fix="Leave out compat='mmengine' to use it.",
            )
        apart = ["bias"] if "bias" in cfg and not isinstance(cfg["bias"], (int, float)) else []
        for key in (*EXTENSIONS, *apart):
            if key in cfg and not accepts(cfg.get("type"), key):
                raise ArgumentError(
                    f"{key}={cfg[key]!r} is an extension that the original does not know.",
                    fix="Leave out compat='mmengine' to use it.",
                )
    rule = _build(cfg, where, written(where), entry, compat)
    if override is not None:
        overrides = _parse_overrides(override, cfg, where, written, compat)
        rule = Rule(**{**vars(rule), "overrides": overrides})
    return rule


def _copy(item: Any) -> Any:
    return copied_rules(item) if isinstance(item, (Mapping, list, tuple)) else item


def _parse_overrides(
    override: Any, outer: dict[str, Any], where: str, written: Written, compat: bool
) -> tuple[Rule, ...]:
    if not isinstance(override, (Mapping, list)):
        raise RuleTypeError(f"override must be a dict or a list of dicts, not {override!r}.")
    inherited = {key: item for key, item in outer.items() if key not in SELECTION}
    entries = [override] if isinstance(override, Mapping) else override
    rules = []
    for index, entry in enumerate(entries):
        place = f"{where}.override" if isinstance(override, Mapping) else f"{where}.override[{index}]"
        rules.append(_parse_override(entry, inherited, place, written(place) or written(where), compat))
    return tuple(rules)


def _parse_override(
    entry: Any, inherited: dict[str, Any], where: str, written: str | None, compat: bool
) -> Rule:
    context: dict[str, Any] = {"where": location(where, written)}
    if not isinstance(entry, Mapping):
        raise RuleTypeError(f"Each override is a dict, not {entry!r}.", **context)
    context["rule"] = show_cfg(entry)
    cfg = {key: _copy(item) for key, item in entry.items() if key != "_scope_"}
    name = cfg.pop("name", None)
    if name is None:
        raise OverrideError(
            "This override has no name: it does not say which attribute it is for.",
            fix="Add name='...', an attribute of the module that owns the init_cfg.",
            **context,
        )
    if not isinstance(name, str):
        raise RuleTypeError(f"The name of an override is a string, not {name!r}.", **context)
    if "override" in cfg:
        raise RuleTypeError("An override cannot hold another override.", **context)
    if not cfg:
        cfg = dict(inherited)
    elif "type" not in cfg:
        raise OverrideError(
            f"The override of {name!r} gives {', '.join(map(repr, cfg))} but no type, so nothing says what "
            "they are arguments of.",
            fix="Add type='...', or leave name= alone to take over the outer rule's initializer.",
            **context,
        )
    for key in ("layer", *([] if compat else SELECTION[1:4])):
        cfg.pop(key, None)
    try:
        rule = _build(cfg, where, written, entry, compat)
    except InitcfgError as error:
        error.rule, error.where = context["rule"], context["where"]
        raise
    return Rule(**{**vars(rule), "override_name": name})


def _build(
    cfg: dict[str, Any], where: str, written: str | None, entry: Mapping[str, Any], compat: bool
) -> Rule:
    arguments = dict(cfg)
    layer = arguments.pop("layer", None)
    common = {
        "layers": _NO_LAYERS if layer is None else parse_layers(layer, compat=compat),
        "names": parse_patterns("name", arguments.pop("name", None)),
        "params": parse_patterns("param", arguments.pop("param", None)),
        "buffers": parse_patterns("buffer", arguments.pop("buffer", None)),
        # That of Pretrained is its own affair: it loads whole modules, and leaves out tensors.
        "excludes": ()
        if is_pretrained(arguments.get("type"))
        else parse_patterns("exclude", arguments.pop("exclude", None)),
        "axes": _parse_axes(arguments),
    }
    if common["excludes"] and not (
        common["layers"] or common["names"] or common["params"] or common["buffers"]
    ):
        raise PatternError("exclude subtracts, but this rule selects nothing to subtract from.")
    arguments = {key: item for key, item in arguments.items() if key not in _AXES}
    if layer is not None and is_foreign(arguments.get("type")):
        # By the original's protocol, layer is the initializer's own affair.
        arguments["layer"] = layer
    made = _parse_initializers(arguments, bool(common["params"] or common["buffers"]))
    if made.get("pretrained") is not None and any(
        common[key] for key in ("layers", "names", "params", "buffers")
    ):
        raise ArgumentError(
            "Pretrained loads whole modules: it takes no layer, name, param or buffer.",
            fix="Say which of its tensors by include and exclude.",
        )
    return Rule(where=where, written=written, cfg=dict(entry), **{**common, **made})


def _parse_axes(arguments: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    try:
        found = {key: axes(arguments[key]) for key in _AXES if arguments.get(key) is not None}
    except TypeError as error:
        raise RuleTypeError(f"in_axis, out_axis, batch_axis: {error}.") from error
    if found and not {"in_axis", "out_axis"} <= set(found):
        raise ArgumentError("Fans by axis need both in_axis and out_axis.")
    return found


def _parse_initializers(arguments: dict[str, Any], one_by_one: bool) -> dict[str, Any]:
    """The keys of a Rule that say what to write."""
    apart = {key: arguments.pop(key) for key in ("weight",) if key in arguments}
    bias = arguments.get("bias", 0)
    if "bias" in arguments and (bias is None or isinstance(bias, (str, Mapping)) or "type" not in arguments):
        apart["bias"] = arguments.pop("bias")
    if one_by_one and (extra := [key for key in ("bias", "bias_prob") if key in arguments] + list(apart)):
        raise ArgumentError(
            f"param and buffer select tensors one by one, and each takes the value of type; "
            f"{', '.join(map(repr, extra))} would have no meaning.",
            fix="Give the biases a rule of their own.",
        )
    if "type" not in arguments:
        if not apart or arguments:
            raise MissingTypeError(
                "This rule has no type, so it names no initializer.",
                meant=[],
                fix=f"Add type='...': one of {', '.join(sorted(INITIALIZERS.module_dict))}.",
            )
        return {
            "weight": _part("weight", apart.get("weight")),
            "bias": _part("bias", apart.get("bias")),
            "type_name": "",
        }
    type_ = arguments.pop("type")
    name = type_label(type_)
    made = construct(type_, arguments)
    if isinstance(made, PretrainedInit):
        return {"pretrained": made, "type_name": name}
    if not isinstance(made, BaseInit):
        return {"foreign": made, "type_name": name}
    weight: BaseInit | None = made
    bias_init: BaseInit | None = bias_of(made)
    if "weight" in apart:
        weight = _part("weight", apart["weight"])
    if "bias" in apart:
        bias_init = _part("bias", apart["bias"])
    return {"weight": weight, "bias": bias_init, "type_name": name}


def _part(key: str, written: Any) -> BaseInit | None:
    """``weight=`` or ``bias=`` given apart: an initializer, a number, or nothing at all."""
    if written is None or written == "keep":
        return None
    if isinstance(written, (int, float)) and not isinstance(written, bool):
        return _Plain(bias=written)
    if not isinstance(written, Mapping):
        raise RuleTypeError(
            f"{key} must be a number, an initializer (dict(type=...)), or None to leave it, not {written!r}."
        )
    arguments = dict(written)
    if "type" not in arguments:
        raise MissingTypeError(f"{key}={show_cfg(written)} has no type, so it names no initializer.")
    type_ = arguments.pop("type")
    made = construct(type_, arguments)
    if not isinstance(made, BaseInit):
        raise ArgumentError(f"{type_label(type_)} cannot initialize a {key} alone.")
    return made
