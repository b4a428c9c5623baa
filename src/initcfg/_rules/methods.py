"""Methods: what a module's ``init_weights`` is, whose it is, and where it was written."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from initcfg._model import Node, code_place, is_keras, wrapper_attribute
from initcfg._rules.layer_names import with_descendants
from initcfg._rules.libraries import library_of_class
from initcfg._rules.rule import location
from initcfg.errors import PlanError

_NAME = "init_weights"
# Under these a module has rules of its own, a method, or says that it has been initialized.
_RULES = frozenset((_NAME, "init_cfg", "_initcfg_attached", "is_init"))


@dataclass(frozen=True, eq=False)
class Method:
    """The ``init_weights`` that a module answers to.

    Attributes:
        function: What is called, as it was written: of a bound method, the function.
        home: The class that defines it; None for one that was set on the module itself.
        forwarded: Whether it is bound to another module, to which this one leads.
        called: Whether it can be called at all: some modules have a flag of that name.
    """

    function: Any
    home: type | None
    forwarded: bool = False
    called: bool = True

    @cached_property
    def runs_rules(self) -> bool:
        """Whether it is the original's, which runs the rules, and which the program stands in for.

        It is that of a class called BaseModule: MMEngine's, MMCV's, one of the many copies of it that
        repositories carry, or ours.
        """
        return self.home is not None and self.home.__name__ == "BaseModule" and not self.forwarded

    @property
    def library(self) -> str | None:
        """The library that it is of, if that initializes in its constructors."""
        return None if self.home is None else library_of_class(self.home)


def method_of(module: nn.Module) -> Method | None:
    """The ``init_weights`` of a module, by class or instance; None if it has none."""
    cls = type(module)
    if _NAME in vars(module) or _answers_by_itself(cls) or _registered(module):
        return _of_instance(module)
    found = _of_class(cls)
    return (
        _of_instance(module) if found is not None and not isinstance(found.function, FunctionType) else found
    )


def has_init_weights(module: nn.Module) -> bool:
    """Whether a module has an ``init_weights`` that can be called."""
    found = method_of(module)
    return found is not None and found.called


def is_initialized(module: nn.Module) -> bool:
    """Whether a module says that it has been initialized."""
    return has_init_weights(module) and is_marked(module)


def is_marked(module: nn.Module) -> bool:
    """Whether it has the mark, whatever it answers to."""
    return bool(getattr(module, "is_init", False))


def has_base_module(module: nn.Module) -> bool:
    """Whether the class of a module is of the BaseModule family."""
    return any(base.__name__ == "BaseModule" for base in type(module).__mro__)


def has_init_cfg(module: nn.Module) -> bool:
    """Whether a module has rules of its own, or its class says that it may."""
    return "init_cfg" in vars(module) or hasattr(type(module), "init_cfg")


def is_attached(module: nn.Module) -> bool:
    """Whether a builder's model got its rules from outside, and its class knows nothing of them."""
    return "_initcfg_attached" in vars(module)


@lru_cache(maxsize=16384)
def _of_class(cls: type) -> Method | None:
    home = _home(cls)
    return None if home is None else Method(vars(home)[_NAME], home)


def _home(cls: type) -> type | None:
    """The class in the MRO that defines ``init_weights``; None if there is none."""
    return next((base for base in cls.__mro__ if _NAME in vars(base)), None)


@lru_cache(maxsize=16384)
def _answers_by_itself(cls: type) -> bool:
    """Whether a class has a way of its own to look attributes up."""
    return cls.__getattr__ is not nn.Module.__getattr__ or cls.__getattribute__ is not object.__getattribute__  # type: ignore[attr-defined]


def is_bare(module: nn.Module, wrappers: tuple[type, ...]) -> bool:
    """Whether a module has neither parts, rules nor a method, and wraps nothing: a plain layer."""
    return (
        _is_bare_class(type(module))
        and not module._modules
        and _RULES.isdisjoint(module.__dict__)
        and not _registered(module)
        and not isinstance(module, wrappers)
    )


def is_bare_node(node: Node, wrappers: tuple[type, ...]) -> bool:
    """The same for a module of which it is known whether it is like others: these have no rules."""
    like = None if node.holding is None else node.holding.like
    if like is None:
        return is_bare(node.module, wrappers)
    return _is_bare_class(like.cls) and not (wrappers and issubclass(like.cls, wrappers))


@lru_cache(maxsize=16384)
def _is_bare_class(cls: type) -> bool:
    plain = _home(cls) is None and not hasattr(cls, "init_cfg") and not _answers_by_itself(cls)
    held_elsewhere = is_keras(cls) or issubclass(cls, torch.jit.ScriptModule)
    return plain and wrapper_attribute(cls) is None and not held_elsewhere


def _registered(module: nn.Module) -> bool:
    return _NAME in module._modules or _NAME in module._parameters or _NAME in module._buffers


def _of_instance(module: nn.Module) -> Method | None:
    """What the module itself answers, as the original asks it."""
    try:
        found = getattr(module, _NAME)
    except AttributeError:
        return None
    except Exception as error:
        raise PlanError(
            f"The init_weights of a {type(module).__name__} cannot be looked at: "
            f"{type(error).__name__}: {error}.",
            fix="Correct the property, or the __getattr__, that gives it.",
        ) from error
    if not callable(found):
        return Method(found, _home(type(module)), called=_home(type(module)) is not None)
    if not isinstance(found, MethodType):
        return Method(found, None if _NAME in vars(module) else _home(type(module)))
    owner, function = found.__self__, found.__func__
    bases = type(owner).__mro__
    home = next((base for base in bases if vars(base).get(_NAME) is function), None)
    return Method(function, home, forwarded=owner is not module)


def code_label(module: nn.Module) -> str:
    """What a module's ``init_weights`` is called, and where it is: ``Head.init_weights (head.py:41)``."""
    found = method_of(module)
    if found is None:
        return f"{type(module).__name__}.{_NAME}"
    cls = type(module) if found.home is None else found.home
    return location(f"{cls.__name__}.{_NAME}", file_and_line(found.function))


def file_and_line(function: Any) -> str | None:
    """Where a function was written; of a partial or a bound one, what it calls."""
    inner = getattr(function, "__func__", None) or getattr(function, "func", None)
    if inner is not None and not isinstance(function, FunctionType):
        return file_and_line(inner)
    return _file_and_line(function) if isinstance(function, FunctionType) else None


@lru_cache(maxsize=16384)
def _file_and_line(function: FunctionType) -> str | None:
    code = inspect.unwrap(function).__code__
    return code_place(code.co_filename, code.co_firstlineno)


def entered(module: nn.Module, wrappers: tuple[type, ...]) -> nn.Module:
    """The module that the original initializes in the place of this child: what a wrapper holds."""
    attribute = wrapper_attribute(type(module))
    if attribute is None and isinstance(module, wrappers):
        attribute = "module"
    if attribute is None:
        return module
    method = method_of(module)
    # A compiled module answers for the one inside.
    if method is not None and not method.forwarded:
        return module
    found = getattr(module, attribute, None)
    return found if isinstance(found, nn.Module) else module


def model_wrappers() -> tuple[type, ...]:
    """The classes that users have registered with MMEngine as wrappers of models."""
    home = sys.modules.get("mmengine.registry")
    root = getattr(home, "MODEL_WRAPPERS", None)
    if root is None:
        return ()
    known = (cls for registry in with_descendants(root) for cls in registry.module_dict.values())
    return tuple(cls for cls in known if isinstance(cls, type))
