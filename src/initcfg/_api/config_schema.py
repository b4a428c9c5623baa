"""A JSON Schema of configs, from the signatures of what is registered: editors complete and check by it."""

from __future__ import annotations

import contextlib
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from initcfg._config import MODELS
from initcfg._rules.initializers import INITIALIZERS, PretrainedInit
from initcfg._rules.schemes import Scheme
from initcfg.errors import InitcfgError

_DRAFT = "http://json-schema.org/draft-07/schema#"
_TEXTS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_RULES = {"$ref": "#/definitions/rules"}
_INITIALIZER = {"$ref": "#/definitions/initializer"}
# What is replaced when the config is read: {{ fileDirname }}, {{ _base_.std }}, {{$STD:0.02}}.
_REPLACED = {"type": "string", "pattern": r"\{\{.*\}\}"}
# JSON has no infinity; YAML's .inf is a number.
_NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf"]}, _REPLACED]}
_APART = {"anyOf": [{"type": ["number", "null"]}, _REPLACED, _INITIALIZER]}
_SCALE = {"anyOf": [{"type": "number"}, {"type": "string"}]}
_SELECTION: dict[str, Any] = {
    "layer": {**_TEXTS, "description": "Classes of modules: Conv2d, or a dotted path."},
    "name": {**_TEXTS, "description": "Modules by name: backbone.*.attn; re: begins a regular expression."},
    "param": {**_TEXTS, "description": "Parameters by name: *.pos_embed."},
    "buffer": {**_TEXTS, "description": "Buffers by name: *.running_var."},
    "role": {**_TEXTS, "description": "Tensors by what they do in the model: residual_out."},
    "exclude": {**_TEXTS, "description": "Names that are left out."},
}
_OF_RULES: dict[str, Any] = {
    **_SELECTION,
    "override": {"$ref": "#/definitions/overrides"},
    "scale": {**_SCALE, "description": "Factor of what is drawn: 0.5, or 1/sqrt(2*layers)."},
    "tune": {"type": "object", "description": "Multipliers of the optimizer's numbers: lr, wd, eps."},
    "weight": {**_APART, "description": "The weights' own initializer; null leaves them."},
    "bias": {**_APART, "description": "A number, an initializer, or null, which leaves biases."},
    **{
        key: {"description": "An axis of the tensor, for fans."}
        for key in ("in_axis", "out_axis", "batch_axis")
    },
}
_OF_SCHEMES = {key: _OF_RULES[key] for key in ("name", "exclude")} | {"forward": {"enum": ["done"]}}


def config_schema() -> dict[str, Any]:
    """The JSON Schema (draft 7) of a config in YAML or JSON.

    It knows what is registered now: initializers, schemes, models, a user's own among them. What a library's
    model takes it does not know, and lets pass.
    """
    types = dict(sorted(INITIALIZERS.module_dict.items()))
    by_type = [_when(name, _type_schema(item)) for name, item in types.items()]
    schemes = {name for name, item in types.items() if _is_scheme(item)}
    dotted = {"type": "string", "pattern": r"^[^.\s]+(\.[^.\s]+)+$"}
    type_ = {
        "description": "An initializer or a scheme: initcfg list.",
        "anyOf": [{"enum": list(types)}, dotted, _REPLACED],
    }
    rule = {
        "type": "object",
        "properties": {"type": type_},
        "allOf": [*by_type, _without_type({name: _key(name) for name in _OF_RULES})],
    }
    override = {
        **rule,
        "required": ["name"],
        "properties": {"type": {**type_, "not": {"enum": sorted(schemes)}}, "name": {"type": "string"}},
        "allOf": [*by_type, _without_type({"name": {}})],
    }
    node = {
        "properties": {"init_cfg": _RULES},
        "additionalProperties": {"$ref": "#/definitions/node"},
        "items": {"$ref": "#/definitions/node"},
    }
    model = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"anyOf": [{"enum": sorted(MODELS.module_dict)}, {"type": "string"}]}},
        "allOf": [{"$ref": "#/definitions/node"}],
    }
    top = {
        "_base_": _TEXTS,
        "imports": _TEXTS,
        "model": {"anyOf": [{"$ref": "#/definitions/model"}, {"$ref": "#/definitions/part"}]},
        "roles": {"anyOf": [{"type": "object"}, {"type": "string"}]},
        "init_cfg": _RULES,
    }
    return {
        "$schema": _DRAFT,
        "title": "A config with init_cfg",
        "type": "object",
        "properties": top,
        # A base may have the model, or the type of it.
        "anyOf": [{"required": [key]} for key in ("model", "type", "_base_", "imports")],
        "definitions": {
            "rule": rule,
            "rules": {"anyOf": [{"$ref": "#/definitions/rule"}, _list_of("rule"), {"type": "null"}]},
            "override": override,
            "overrides": {"anyOf": [{"$ref": "#/definitions/override"}, _list_of("override")]},
            "initializer": {
                "type": "object",
                "required": ["type"],
                "allOf": [{"$ref": "#/definitions/rule"}],
            },
            "model": model,
            # What is merged into the model of a base.
            "part": {
                "type": "object",
                "not": {"required": ["type"]},
                "allOf": [{"$ref": "#/definitions/node"}],
            },
            "node": node,
            "number": _NUMBER,
            **{f"key_{name}": each for name, each in (_OF_RULES | _OF_SCHEMES).items()},
        },
    }


def _key(name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/key_{name}"}


def _list_of(what: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/definitions/{what}"}}


def _when(name: str, then: Mapping[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then}


def _without_type(known: Mapping[str, Any]) -> dict[str, Any]:
    """Without a type, no argument of an initializer has a meaning."""
    keys = sorted(known)
    return {
        "if": {"not": {"required": ["type"]}},
        "then": {"properties": dict(known), "propertyNames": {"enum": keys}},
    }


def _is_scheme(item: Any) -> bool:
    return inspect.isclass(item) and issubclass(item, Scheme)


def _type_schema(item: Any) -> dict[str, Any]:
    """What a rule of one type may say."""
    parameters, open_ = _parameters(item)
    hints = _hints(item)
    told = _told(item)
    around = {name: _key(name) for name in (_OF_SCHEMES if _is_scheme(item) else _OF_RULES)}
    known: dict[str, Any] = dict(around)
    for name, parameter in parameters.items():
        if name in ("layer", "bias") and name in around:
            continue
        found = _of_hint(hints.get(name, parameter.annotation))
        words = _words(item, name) if found.get("type") == "string" else None
        if words is not None:
            found = {"anyOf": [{"enum": words}, _REPLACED]}
        if name in around:
            # Its own argument, and a key of every rule.
            found = {"anyOf": [found, around[name]]}
        if name in told:
            # Beside a reference, nothing else is read.
            found = {"description": told[name], **({"allOf": [found]} if "$ref" in found else found)}
        known[name] = found
    if inspect.isclass(item) and issubclass(item, PretrainedInit):
        for name in ("layer", "param", "buffer", "role"):
            known.pop(name, None)
    needed = [name for name, each in parameters.items() if each.default is each.empty]
    made: dict[str, Any] = {"properties": known, "description": (inspect.getdoc(item) or "").split("\n")[0]}
    if not open_:
        made["propertyNames"] = {"enum": sorted({"type", *known})}
    return {**made, "required": needed} if needed else made


def _parameters(item: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """What a type takes by name, through ``**kwargs`` of ours too; and whether it may take more than that."""
    found: dict[str, inspect.Parameter] = {}
    makers = [vars(base).get("__init__") for base in item.__mro__[:-1]] if inspect.isclass(item) else [item]
    for make in filter(None, makers):
        try:
            signature = list(inspect.signature(make).parameters.values())
        except (TypeError, ValueError):
            return found, True
        # The first is the object, or what a function fills.
        for each in signature[1:]:
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                found.setdefault(each.name, each)
        if not any(each.kind is each.VAR_KEYWORD for each in signature):
            return found, False
    # Whatever came last passes on all that it is given; a class without a constructor takes nothing.
    return found, any(makers)


def _hints(item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    makers = [vars(base).get("__init__") for base in item.__mro__[:-1]] if inspect.isclass(item) else [item]
    for make in filter(None, makers):
        # Of what only type checkers import, nothing is known.
        with contextlib.suppress(Exception):
            found = {**typing.get_type_hints(make), **found}
    return found


def _of_hint(hint: Any) -> dict[str, Any]:
    """What an annotation lets through; all that it does not say."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"anyOf": [{"enum": list(arguments)}, _REPLACED]}
    if arguments and (origin is typing.Union or type(hint).__name__ == "UnionType"):
        found = [_of_hint(each) for each in arguments]
        return {} if {} in found else {"anyOf": found}
    if hint is float:
        return {"$ref": "#/definitions/number"}
    if hint is int:
        return {"anyOf": [{"type": "integer"}, _REPLACED]}
    if hint is bool:
        return {"anyOf": [{"type": "boolean"}, _REPLACED]}
    if hint is str:
        return {"type": "string"}
    if hint is type(None):
        return {"type": "null"}
    if inspect.isclass(origin or hint) and origin is not typing.Union:
        kind = origin or hint
        if issubclass(kind, Mapping):
            return {"type": "object"}
        if issubclass(kind, Sequence):
            items = [each for each in arguments if each is not Ellipsis]
            return {"type": "array", "items": _of_hint(items[0])} if len(items) == 1 else {"type": "array"}
    return {}


def _words(item: Any, name: str) -> list[str] | None:
    """The words that an argument may be, as the type itself says when it is given another."""
    try:
        item(**{name: "\N{REPLACEMENT CHARACTER}"})
    except InitcfgError as error:
        listed = re.search(rf"\b{name} must be one of (.*), not ", error.problem)
        found = re.findall(r"'([^']*)'", listed[1]) if listed else []
        return found or None
    except Exception:
        # It was only asked for its words: other people's types raise what they like, and then say none.
        return None
    return None


def _told(item: Any) -> dict[str, str]:
    """What the docstrings say of the arguments, in a line each."""
    found: dict[str, str] = {}
    for base in item.__mro__ if inspect.isclass(item) else (item,):
        text = inspect.cleandoc(base.__doc__ or "")
        section = re.search(r"^Args:\n((?: +.*\n?|\n)+)", text, re.MULTILINE)
        for name, what in re.findall(r"^    (\w+): (.*)$", section[1] if section else "", re.MULTILINE):
            found.setdefault(name, what)
    return found
