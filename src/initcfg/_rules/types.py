"""Initializers by ``type``: from a name and arguments to an object that fills tensors."""

from __future__ import annotations

import inspect
import sys
from functools import lru_cache
from typing import Any

from initcfg._config import fills_tensor
from initcfg._rules.initializers import (
    INITIALIZERS,
    OURS,
    BaseInit,
    FunctionInit,
    OnModules,
    PretrainedInit,
    check_arguments,
    function_kind,
    function_label,
    is_function,
)
from initcfg._rules.layer_names import with_descendants
from initcfg._rules.schemes import Scheme
from initcfg.errors import ArgumentError, RuleTypeError, UnknownInitializerError, nearest

# The base of our initializers, and MMEngine's, has this name; Pretrained has none.
_BASES = ("BaseInit", "PretrainedInit")
_PROTOCOL = (BaseInit, PretrainedInit, Scheme)
# Keys of a rule that are not arguments of its initializer.
SELECTION = ("layer", "name", "param", "buffer", "role", "exclude")
RULED = (*SELECTION, "override", "scale", "tune")


def initializer_names() -> list[str]:
    """The registered initializers; the schemes, which are many, have a list of their own."""
    made = INITIALIZERS.module_dict.items()
    return sorted(name for name, cls in made if not (inspect.isclass(cls) and issubclass(cls, Scheme)))


def type_label(type_: Any) -> str:
    """How a ``type`` is shown: its registered name where it has one."""
    if isinstance(type_, str):
        return type_.rpartition(".")[2]
    for name, registered in INITIALIZERS.module_dict.items():
        if registered is type_:
            return name
    if isinstance(type_, _PROTOCOL):
        return type_label(type(type_))
    name = function_label(type_)
    return name.removesuffix("Init") if _is_original(type_) else name


def _is_original(type_: Any) -> bool:
    """Whether a class is one of MMEngine's or MMCV's own initializers."""
    module = getattr(type_, "__module__", "")
    return module in ("mmengine.model.weight_init", "mmcv.cnn.utils.weight_init")


def _is_of_torch(type_: Any) -> bool:
    """Whether something is torch's own, and none of the functions that fill a tensor."""
    module = getattr(type_, "__module__", None) or ""
    fills = module == "torch.nn.init" and function_label(type_).endswith("_")
    return module.split(".")[0] == "torch" and not fills


def resolve_type(type_: Any) -> Any:
    """The initializer class (or foreign callable) that ``type`` means."""
    if not isinstance(type_, str):
        if _is_original(type_):
            return INITIALIZERS.get(type_label(type_))
        if _is_of_torch(type_):
            name = getattr(type_, "__name__", type_)
            raise UnknownInitializerError(
                f"type={name} is not an initializer, but something of torch's own.",
                fix="Take an initializer (initcfg list has them), a function of torch.nn.init, or yours.",
            )
        if callable(type_):
            return type_
        raise RuleTypeError(
            f"type must be the name of an initializer, or a class, not {type_!r}.",
            fix="initcfg list names the initializers.",
        )
    scope, _, name = type_.rpartition(".")
    found = INITIALIZERS.module_dict.get(type_) or INITIALIZERS.get(type_)
    if found is None and scope and "." not in scope:
        # 'mmengine.Kaiming', 'mmdet.Kaiming': a scope of the original's registries.
        found = INITIALIZERS.module_dict.get(name)
    if found is None:
        found = _from_mmengine(type_)
    if found is None:
        meant = [*_functions_of_torch(name), *nearest(name, INITIALIZERS.module_dict)]
        names = "initcfg list names them all" if meant else f"Registered are {', '.join(initializer_names())}"
        raise UnknownInitializerError(
            f"type={type_!r} names no initializer.",
            meant=meant,
            fix=f"{'Correct the name: ' if meant else ''}{names}; "
            "register your own with @INITIALIZERS.register_module().",
        )
    if _is_original(found):
        return resolve_type(found)
    if "." in type_ and not _may_be_named(found):
        raise UnknownInitializerError(
            f"type={type_!r} names {getattr(found, '__qualname__', found)!r}, which is no initializer.",
            fix="Register it: @INITIALIZERS.register_module(); or annotate it: "
            "def fn(tensor: torch.Tensor) -> torch.Tensor; in Python, give the function or class itself.",
        )
    return found


def _functions_of_torch(name: str) -> list[str]:
    from torch.nn import init

    return [f"torch.nn.init.{name}"] if name.endswith("_") and hasattr(init, name) else []


def _may_be_named(found: Any) -> bool:
    """Whether a text may lead to it: an initializer, one that is registered, or a function of a tensor."""
    if fills_tensor(found):
        return True
    if inspect.isclass(found) and any(base.__name__ in _BASES for base in found.__mro__):
        return True
    return any(found is each for each in INITIALIZERS.module_dict.values()) or any(
        found is each for registry in _mmengine_registries() for each in registry.module_dict.values()
    )


def _mmengine_registries() -> Any:
    module = sys.modules.get("mmengine.registry")
    return () if module is None else with_descendants(module.WEIGHT_INITIALIZERS)


def _from_mmengine(name: str) -> Any:
    """An initializer that the user registered with a loaded MMEngine."""
    last = name.rpartition(".")[2]
    found = (registry.module_dict.get(last) for registry in _mmengine_registries())
    return next(filter(None, found), None)


def _has_our_protocol(cls: Any) -> bool:
    """Whether a class follows our protocol: the package's own and what inherits from them."""
    return inspect.isclass(cls) and issubclass(cls, _PROTOCOL)


def is_foreign(type_: Any, given: dict[str, Any]) -> bool:
    """Whether ``type``, with these arguments, makes an initializer of the original's protocol."""
    cls = None if type_ is None else resolve_type(type_)
    if is_function(cls) and function_kind(cls, given) is not None:
        return False
    return cls is not None and not isinstance(cls, _PROTOCOL) and not _has_our_protocol(cls)


def is_pretrained(type_: Any) -> bool:
    """Whether ``type`` means the initializer that loads checkpoints."""
    cls = None if type_ is None else resolve_type(type_)
    return inspect.isclass(cls) and issubclass(cls, PretrainedInit)


def derives(type_: Any) -> bool:
    """Whether ``type`` makes another model's weights of a checkpoint."""
    return is_pretrained(type_) and resolve_type(type_).derivation is not PretrainedInit.derivation


def is_scheme(type_: Any) -> bool:
    """Whether ``type`` means a recipe of rules."""
    cls = None if type_ is None else resolve_type(type_)
    return inspect.isclass(cls) and issubclass(cls, Scheme)


def accepts(type_: Any, key: str) -> bool:
    """Whether a user's own initializer, or a scheme, takes ``key``."""
    cls = None if type_ is None else resolve_type(type_)
    return inspect.isclass(cls) and cls not in OURS and key in _signature(cls).parameters


def takes(type_: Any, key: str) -> bool:
    """Whether an initializer, ours or a user's own, takes ``key``."""
    cls = None if type_ is None else resolve_type(type_)
    return inspect.isclass(cls) and key in _signature(cls).parameters


@lru_cache(maxsize=1024)
def _signature(cls: Any) -> inspect.Signature:
    return inspect.signature(cls)


def construct(type_: Any, arguments: dict[str, Any]) -> Any:
    """The initializer of this ``type`` with these arguments."""
    cls, name = resolve_type(type_), type_label(type_)
    if isinstance(cls, _PROTOCOL):
        return _given(cls, name, arguments)
    if is_function(cls) and (kind := function_kind(cls, arguments)) is not None:
        return _of_function(cls, kind, arguments)
    signature, names = _signature(cls), _parameters(cls)
    problem = ""
    try:
        signature.bind(**arguments)
    except TypeError as error:
        problem = str(error)
    known = set(signature.parameters) if names is None else names
    unknown = [key for key in arguments if key not in known]
    if problem or (unknown and names is not None):
        own, ruled = ", ".join(sorted(known - {"layer"})), ", ".join(RULED)
        fix = f"It takes {own}; a rule also takes {ruled}."
        if not unknown:
            raise ArgumentError(f"{name}: {problem}.", fix=fix)
        meant = nearest(unknown[0], {*known, *RULED, "weight"})
        raise ArgumentError(f"{name} takes no argument {unknown[0]!r}.", meant=meant, fix=fix)
    made = cls(**arguments)
    _check_class(made, name)
    if not callable(made) and not isinstance(made, Scheme):
        raise RuleTypeError(f"type={name!r} makes {made!r}, which is not an initializer.")
    return made


def _given(made: Any, name: str, arguments: dict[str, Any]) -> Any:
    """An initializer that was given as an object."""
    if arguments:
        raise ArgumentError(
            f"{made!r} has its arguments already, and the rule gives it {next(iter(arguments))!r}.",
            fix=f"Give the argument where it is made, or name the class: type={name!r}.",
        )
    _check_class(made, name)
    return made


def _of_function(function: Any, kind: str, arguments: dict[str, Any]) -> Any:
    """A function as an initializer, with what the rule gives it."""
    given = {key: item for key, item in arguments.items() if kind == "tensor" or key != "layer"}
    if kind == "module":
        check_arguments(function, given, RULED)
        return OnModules(function, given)
    made = FunctionInit(function, given)
    check_arguments(function, made.arguments(), RULED)
    return made


def _check_class(made: Any, name: str) -> None:
    """Refuse an initializer of one's own that is not complete."""
    if not isinstance(made, BaseInit) or type(made) in OURS:
        return
    if "_values" not in vars(made):
        raise RuleTypeError(
            f"{name}.__init__ does not call that of BaseInit.",
            fix="Begin it with super().__init__(**kwargs), which takes bias and bias_prob.",
        )
    methods = ("value", "_resolve", "resolve")
    if all(getattr(type(made), each) is getattr(BaseInit, each) for each in methods):
        raise RuleTypeError(
            f"{name} has no method value(layout), so nothing says what it fills with.",
            fix="Write def value(self, layout): return initcfg.values.Normal(0.0, 0.02).",
        )


@lru_cache(maxsize=1024)
def _parameters(cls: Any) -> frozenset[str] | None:
    """All keyword names that a class takes, also through ``**kwargs``; None if that cannot be known."""
    if not _has_our_protocol(cls):
        return None
    names: set[str] = set()
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if init is None:
            continue
        parameters = inspect.signature(init).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return frozenset(names - {"self"})
