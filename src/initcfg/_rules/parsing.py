"""Parsing: from an ``init_cfg`` as it was written to rules."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from initcfg._config.files import plain_containers
from initcfg._model import copied_rules, has_no_rules
from initcfg._rules.initializers import BaseInit, BatchInit, PretrainedInit
from initcfg._rules.layer_names import NO_LAYERS, parse_layers
from initcfg._rules.own_keys import check_own_keys, parse_own_keys
from initcfg._rules.patterns import parse_patterns
from initcfg._rules.rule import PlainBias, Rule, SchemeRule, bias_of, location, show_cfg
from initcfg._rules.schemes import Base, Scheme
from initcfg._rules.types import (
    SELECTION,
    accepts,
    construct,
    derives,
    initializer_names,
    is_foreign,
    is_pretrained,
    is_scheme,
    resolve_type,
    takes,
    type_label,
)
from initcfg._rules.written import LineOfRule, WrittenAt, nowhere
from initcfg.errors import (
    ArgumentError,
    ArgumentValueError,
    InitcfgError,
    MissingTypeError,
    OverrideError,
    PatternError,
    RuleError,
    RuleTypeError,
    in_words,
    mistaken,
)

# How deep schemes may hold schemes.
_DEEPEST = 8
_NUMBERS = ("val", "bias", "gain", "mean", "std", "a", "b")
_AXES = ("in_axis", "out_axis", "batch_axis")
# What the original does not know: of Pretrained, all that has to be given by name.
_EXTENSIONS = (
    *("name", "param", "buffer", "role", "exclude", "weight", "scale", "tune"),
    *(*_AXES, "a_sigma", "b_sigma", "preserve_std"),
)
_PRETRAINED_EXTENSIONS = tuple(
    name
    for name, parameter in inspect.signature(PretrainedInit).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
)


class Owner(NamedTuple):
    """The module whose rules are parsed; an example of its input, and what is declared of its roles."""

    module: nn.Module
    example: Any = None
    declared: Any = None


def parse_init_cfg(
    init_cfg: Any,
    where: str,
    *,
    written: LineOfRule = nowhere,
    compat: bool = False,
    bare: bool = False,
    owner: Owner | None = None,
) -> list[Rule]:
    """The rules of an ``init_cfg``: a dict, or a list (on a module, also a tuple) of dicts; never changed.

    Messages name its path ``where``, and the file and line that ``written`` gives. ``compat`` refuses what
    the original does not know. A ``bare`` one was given to ``initialize``, which takes no tuple. A scheme
    sees the ``owner`` of the rules, and becomes a rule for each of its parts.
    """
    _refuse_plan(init_cfg)
    if not bare and has_no_rules(init_cfg):
        return []
    try:
        init_cfg = plain_containers(init_cfg)
    except RecursionError:
        raise RuleTypeError("An init_cfg is nested too deeply, or contains itself.") from None
    init_cfg = _as_entry(init_cfg)
    if isinstance(init_cfg, Mapping):
        return _parse_entry(init_cfg, where, written, compat, owner)
    if isinstance(init_cfg, list) or (isinstance(init_cfg, tuple) and not bare):
        found = (
            _parse_entry(item, f"{where}[{i}]", written, compat, owner) for i, item in enumerate(init_cfg)
        )
        return [rule for rules in found for rule in rules]
    raise RuleTypeError(
        f"An init_cfg is a dict or a list of dicts, not {in_words(init_cfg)}.",
        where=location(where, written(where)),
        fix="Write init_cfg=dict(type='Kaiming', layer='Conv2d').",
    )


def _refuse_plan(given: Any) -> None:
    """A plan is a mapping, too; what it holds are not rules."""
    kind = type(given).__name__
    if isinstance(given, Mapping) and kind in ("Plan", "Ledger"):
        fix = "plan.apply(model)" if kind == "Plan" else "ledger.plan.apply(model)"
        raise RuleTypeError(f"An init_cfg is rules, and a {kind} was given.", fix=f"Write {fix}.")


def _as_entry(given: Any) -> Any:
    """An initializer that is given as an object, as the rule that it stands for."""
    if not isinstance(given, (BaseInit, PretrainedInit)):
        return given
    layer = getattr(given, "layer", None)
    return {"type": given} if layer is None else {"type": given, "layer": layer}


@contextlib.contextmanager
def _errors_of(entry: Mapping[str, Any], where: str, written: WrittenAt | None) -> Iterator[None]:
    """Errors from further inside know neither the rule nor where it stands."""
    try:
        yield
    except InitcfgError as error:
        error.rule = error.rule or show_cfg(entry)
        error.where = error.where or location(where, written)
        raise


def _parse_entry(
    entry: Any, where: str, written: LineOfRule, compat: bool, owner: Owner | None
) -> list[Rule]:
    file_and_line = written(where)
    entry = _as_entry(entry)
    if not isinstance(entry, Mapping):
        raise RuleTypeError(
            f"Each entry of an init_cfg is a dict, not {entry!r}.",
            where=location(where, file_and_line),
            fix="Write dict(type=...).",
        )
    cfg = _copied(entry)  # what contains itself cannot be shown either
    with _errors_of(entry, where, file_and_line):
        for key in entry:
            if not isinstance(key, str):
                raise RuleTypeError(f"The keys of a rule are strings, not {key!r}.", fix="In YAML, quote it.")
        override = cfg.pop("override", None)
        if compat:
            _check_extensions(cfg)
        if is_scheme(cfg.get("type")):
            if override is not None:
                raise OverrideError(
                    "A scheme is a recipe of rules, which holds no override.",
                    fix="Write a rule after it, with name='...'.",
                )
            return _parse_scheme(cfg, where, written, entry, owner)
        rule = _build(cfg, where, file_and_line, entry, compat)
        if override is None:
            return [rule]
        return [replace(rule, overrides=tuple(_parse_overrides(override, cfg, where, written, compat)))]


def _parse_scheme(
    cfg: dict[str, Any], where: str, written: LineOfRule, entry: Mapping[str, Any], owner: Owner | None
) -> list[Rule]:
    """The rules that a scheme stands for, each with a path of its own."""
    arguments = dict(cfg)
    type_ = arguments.pop("type")
    name = type_label(type_)
    for key in ("layer", "param", "buffer", "role", "scale", "tune", "weight", "bias"):
        if key in arguments and not accepts(type_, key):
            raise ArgumentError(
                f"{name} is a scheme, a recipe of rules, and takes no {key}.",
                fix="Narrow it by name or exclude; or write a rule after it, which wins.",
            )
    given = {key: parse_patterns(key, arguments.pop(key, None)) for key in ("name", "exclude")}
    forward = None if accepts(type_, "forward") else arguments.pop("forward", None)
    if forward not in (None, "done"):
        raise ArgumentValueError(
            f"forward must be 'done', not {forward!r}.", fix="Leave it out, or write forward='done'."
        )
    made = construct(type_, arguments)
    assert isinstance(made, Scheme)
    base, parts = _recipe(made, name, where, owner)
    use = SchemeRule(where, written(where), dict(entry), name, made, forward == "done", given, base)
    found: list[Rule] = []
    for number, part in enumerate(parts):
        path = f"{where}.{name}[{number}]"
        for rule in _parse_entry(part, path, lambda _: written(where), False, owner):
            names = given["name"] or rule.names
            if given["name"] and rule.names:
                raise PatternError(f"{name} selects by name itself, and takes no other.")
            excludes = (*rule.excludes, *given["exclude"])
            within = rule.scheme
            # Of a scheme in a scheme, the inner one knows the base, and the outer one was written.
            outer = use if within is None or use.base is not None else replace(use, base=within.base)
            found.append(replace(rule, names=names, excludes=excludes, scheme=outer))
    return found


def _recipe(scheme: Scheme, name: str, where: str, owner: Owner | None) -> tuple[Base | None, list[Any]]:
    """What a scheme, perhaps somebody's own, gives for a model."""
    if where.rpartition("init_cfg")[2].count("[") > _DEEPEST:
        raise ArgumentError(
            f"{name} holds schemes more than {_DEEPEST} deep.", fix="Let no scheme hold itself."
        )
    try:
        if owner is not None and scheme.example is None:
            scheme.example = owner.example
        scheme.declared = None if owner is None else owner.declared
        base = None if owner is None else scheme.base(owner.module)
        parts = scheme.recipe() if owner is None else scheme.recipe_for(owner.module)
    except InitcfgError:
        raise
    except Exception as error:
        raise RuleError(
            f"{name} has no recipe: {type(error).__name__}: {error}.", fix="Mend the scheme's own code."
        ) from error
    if not isinstance(parts, (list, tuple)):
        raise RuleTypeError(f"The recipe of {name} is {parts!r}, and should be a list of rules.")
    return base, list(parts)


def _copied(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry, copied as the original does before use: shared configs stay as they are."""
    return {
        key: copied_rules(item) if isinstance(item, (Mapping, list, tuple)) else item
        for key, item in entry.items()
        if key != "_scope_"
    }


def _check_extensions(cfg: Mapping[str, Any]) -> None:
    fix = "Leave out compat='mmengine' to use it."
    type_ = cfg.get("type")
    if is_pretrained(type_) and (extra := [key for key in cfg if key in _PRETRAINED_EXTENSIONS]):
        raise ArgumentError(
            f"{extra[0]} is an extension of Pretrained that the original does not know.", fix=fix
        )
    if derives(type_):
        raise ArgumentError(f"type={type_label(type_)!r} is a type that the original does not know.", fix=fix)
    apart = [] if isinstance(cfg.get("bias", 0), (int, float)) else ["bias"]
    if is_scheme(type_):
        raise ArgumentError(f"type={type_!r} is a scheme, which the original does not know.", fix=fix)
    for key in (*_EXTENSIONS, *apart):
        if key == "scale" and not isinstance(cfg.get(key), str) and takes(type_, key):
            continue
        if key in cfg and not accepts(type_, key):
            raise ArgumentError(
                f"{key}={cfg[key]!r} is an extension that the original does not know.", fix=fix
            )


def _parse_overrides(
    override: Any, outer: dict[str, Any], where: str, written: LineOfRule, compat: bool
) -> Iterator[Rule]:
    if not isinstance(override, (Mapping, list)):
        raise RuleTypeError(f"override must be a dict or a list of dicts, not {override!r}.")
    single = isinstance(override, Mapping)
    for index, entry in enumerate([override] if single else override):
        path = f"{where}.override" if single else f"{where}.override[{index}]"
        file_and_line = written(path) or written(where)
        if not isinstance(entry, Mapping):
            raise RuleTypeError(
                f"Each override is a dict, not {entry!r}.", where=location(path, file_and_line)
            )
        with _errors_of(entry, path, file_and_line):
            name, cfg = _override_cfg(entry, outer, compat)
            rule = _build(cfg, path, file_and_line, entry, compat)
        yield replace(rule, override_name=name)


def _override_cfg(
    entry: Mapping[str, Any], outer: Mapping[str, Any], compat: bool
) -> tuple[str, dict[str, Any]]:
    """What an override names, and its initializer: its own, or that of the rule around it."""
    cfg = _copied(entry)
    name = cfg.pop("name", None)
    if name is None:
        raise OverrideError(
            "This override has no name: it does not say which attribute it is for.",
            fix="Add name='...', an attribute of the module that owns the init_cfg.",
        )
    if not isinstance(name, str):
        raise RuleTypeError(f"The name of an override is a string, not {name!r}.")
    if "override" in cfg:
        raise RuleTypeError("An override cannot hold another override.")
    if cfg and "type" not in cfg:
        raise OverrideError(
            f"The override of {name!r} gives {', '.join(map(repr, cfg))} but no type, so nothing says what "
            "they are arguments of.",
            fix="Add type='...', or give only name= to take over the outer rule's initializer.",
        )
    if not cfg:
        return name, {key: item for key, item in outer.items() if key not in SELECTION}
    if not compat and "role" in cfg and not accepts(cfg["type"], "role"):
        raise OverrideError(
            f"The override of {name!r} is for that as a whole, and takes no role.",
            fix="Write a rule with role= and name= instead.",
        )
    for key in ("layer",) if compat else ("layer", "name", "param", "buffer"):
        cfg.pop(key, None)
    return name, cfg


def _as_there(key: str, item: Any) -> Any:
    """An argument as the original takes it: True is a number to it."""
    return int(item) if isinstance(item, bool) and key in _NUMBERS else item


def _build(
    cfg: dict[str, Any], where: str, written: WrittenAt | None, entry: Mapping[str, Any], compat: bool
) -> Rule:
    arguments = {key: _as_there(key, item) for key, item in cfg.items()} if compat else dict(cfg)
    layer = arguments.pop("layer", None)
    type_ = arguments.get("type")
    if is_scheme(type_):
        raise OverrideError(f"{type_label(type_)} is a scheme, a recipe of rules, and no override.")
    # The exclude of Pretrained is its own: it loads whole modules, and leaves out tensors.
    keys = ("name", "param", "buffer") if is_pretrained(type_) else ("name", "param", "buffer", "exclude")
    patterns = {key: parse_patterns(key, arguments.pop(key, None)) for key in keys}
    axes = _parse_axes(arguments)
    ours = parse_own_keys(arguments)
    if layer is None and not any(patterns.values()) and not ours["roles"]:
        layer = _default_layers(type_)
    elif layer is not None and not any(patterns.values()) and _all_parameters(type_):
        patterns["param"] = parse_patterns("param", "*")
    if layer is not None and is_foreign(type_, arguments):
        # By the original's protocol, layer is the initializer's own affair.
        arguments["layer"] = layer
    rule = Rule(
        where=where,
        written=written,
        cfg=dict(entry),
        layers=NO_LAYERS if layer is None else parse_layers(layer, compat=compat),
        axes=axes,
        **{f"{key}s": found for key, found in patterns.items()},
        **ours,
        **_parse_initializers(
            arguments,
            one_by_one=bool(patterns["param"] or patterns["buffer"] or ours["roles"]),
            tunes="tune" in ours,
        ),
    )
    check_own_keys(rule)
    if rule.excludes and not rule.selects:
        raise PatternError("exclude subtracts, but this rule selects nothing to subtract from.")
    if rule.pretrained is not None and rule.selects:
        raise ArgumentError(
            "Pretrained loads whole modules: it takes no layer, name, param, buffer or role.",
            fix="Say which of its tensors by include and exclude.",
        )
    return rule


def _of_batches(type_: Any) -> type[BatchInit] | None:
    cls = None if type_ is None else resolve_type(type_)
    return cls if inspect.isclass(cls) and issubclass(cls, BatchInit) else None


def _default_layers(type_: Any) -> list[str] | None:
    """The layers of an initializer that means some where its rule selects nothing."""
    cls = _of_batches(type_)
    return list(cls.default_layers) or None if cls is not None else None


def _all_parameters(type_: Any) -> bool:
    cls = _of_batches(type_)
    return cls is not None and cls.all_parameters


def _parse_axes(arguments: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """``in_axis``, ``out_axis`` and ``batch_axis``, taken out of the arguments."""
    found: dict[str, tuple[int, ...]] = {}
    for key in _AXES:
        written = arguments.pop(key, None)
        axes = written if isinstance(written, (list, tuple)) else [written]
        if written is None:
            continue
        if not all(isinstance(axis, int) and not isinstance(axis, bool) for axis in axes):
            raise RuleTypeError(f"{key} must be a whole number or a list of them, not {written!r}.")
        found[key] = tuple(axes)
    if found and not {"in_axis", "out_axis"} <= set(found):
        raise ArgumentError("Fans by axis need both in_axis and out_axis.")
    return found


def _parse_initializers(arguments: dict[str, Any], *, one_by_one: bool, tunes: bool) -> dict[str, Any]:
    """The fields of a Rule that say what to write: of one that ``tunes``, perhaps nothing."""
    apart = {"weight": arguments.pop("weight")} if "weight" in arguments else {}
    bias = arguments.get("bias", 0)
    if "bias" in arguments and (bias is None or isinstance(bias, (str, Mapping)) or "type" not in arguments):
        apart["bias"] = arguments.pop("bias")
    if one_by_one and (extra := [key for key in ("bias", "bias_prob") if key in arguments] + list(apart)):
        raise ArgumentError(
            f"param, buffer and role select tensors one by one, and each takes the value of type; "
            f"{', '.join(map(repr, extra))} would have no meaning.",
            fix="Give the biases a rule of their own.",
        )
    if "type" not in arguments:
        if arguments or not (apart or tunes):
            raise MissingTypeError(
                f"This rule has no type{mistaken('type', arguments)}, so it names no initializer.",
                meant=["type"] if mistaken("type", arguments) else (),
                fix=f"Add type='...': one of {', '.join(initializer_names())}.",
            )
        return _parse_apart(apart)
    type_ = arguments.pop("type")
    made = construct(type_, arguments)
    found: dict[str, Any] = {"type_name": type_label(type_)}
    if isinstance(made, PretrainedInit):
        return {**found, "pretrained": made}
    if not isinstance(made, BaseInit):
        return {**found, "foreign": made}
    return {**found, "filler": made, "weight": made, "bias": bias_of(made), **_parse_apart(apart)}


def _parse_apart(apart: Mapping[str, Any]) -> dict[str, BaseInit | None]:
    return {key: _parse_one(key, written) for key, written in apart.items()}


def _parse_one(key: str, written: Any) -> BaseInit | None:
    """``weight=`` or ``bias=`` given apart: an initializer, a number, or nothing at all."""
    if written is None or written == "keep":
        return None
    if isinstance(written, (int, float)) and not isinstance(written, bool):
        return PlainBias(written)
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
