"""Which modules have load hooks: code of their own that runs while a ``state_dict`` is loaded."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from initcfg._model.names import modules_in, wrapper_attribute

Function = Callable[..., Any]

# What these do to a state_dict is known: nothing; but a counter of batches may be missing in an old one.
_PLAIN = tuple(vars(cls)["_load_from_state_dict"] for cls in (nn.Module, _NormBase, _InstanceNorm))
# Code of torch's own that deals with names, shards or what has no shape yet; and doors that are closed here.
_OF_WRAPPERS = ("torch.distributed.", "torch.nn.modules.lazy", "initcfg.")


@dataclass(frozen=True)
class LoadHooks:
    """The load hooks of one module.

    Attributes:
        before: Those that change the ``state_dict`` before it is read.
        override: Its own ``_load_from_state_dict``, if it has one; that calls ``before`` by itself.
        after: Those that run when all below it has been loaded.
        whole: Its own ``load_state_dict``, in the module that is loaded into.
        texts: Each of them with the place where it is written.
    """

    path: str
    module: nn.Module = field(repr=False)
    before: tuple[Function, ...] = ()
    override: Function | None = None
    after: tuple[Function, ...] = ()
    whole: Function | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Each function, with its file and line."""
        functions = (self.whole, self.override, *self.before, *self.after)
        return tuple(dict.fromkeys(placed(each) for each in functions if each is not None))


def hooks_in(owner: nn.Module, *, compat: bool, inner: bool = False) -> dict[str, LoadHooks]:
    """The modules with load hooks in what a checkpoint is loaded into, by their paths in it.

    Under ``compat``, the owner's ``load_state_dict`` is not called, as the original does not; nor is it where
    the owner only lies in the module that is loaded into (``inner``).
    """
    found: dict[str, LoadHooks] = {}
    for path, module in modules_in(owner, "", compat=compat):
        hooks = _hooks_of(path, module, with_whole=not (compat or inner or path))
        if hooks is not None:
            found[path] = hooks
    return found


def _hooks_of(path: str, module: nn.Module, *, with_whole: bool) -> LoadHooks | None:
    if isinstance(module, torch.jit.ScriptModule) or wrapper_attribute(type(module)) is not None:
        return None
    before, after = (
        tuple(hook for hook in _registered(module, name) if not _module_of(hook).startswith(_OF_WRAPPERS))
        for name in ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
    )
    override = _own(module, "_load_from_state_dict", _PLAIN)
    whole = _own(module, "load_state_dict", (nn.Module.load_state_dict,)) if with_whole else None
    if not (before or after or override or whole):
        return None
    return LoadHooks(path, module, before, override, after, whole)


def _registered(module: nn.Module, name: str) -> tuple[Function, ...]:
    return tuple(getattr(module, name, {}).values())


def _own(module: nn.Module, name: str, plain: tuple[Any, ...]) -> Function | None:
    function = vars(module).get(name) or getattr(type(module), name)
    function = getattr(function, "__func__", function)
    return None if function in plain or _module_of(function).startswith(_OF_WRAPPERS) else function


def outermost(hooks: Mapping[str, LoadHooks]) -> list[str]:
    """The paths of those that lie in no other: what is loaded together."""
    found: list[str] = []
    for path in hooks:
        above = path.split(".")
        if not any(".".join(above[:depth]) in hooks for depth in range(1, len(above))) and not (
            path and "" in hooks
        ):
            found.append(path)
    return found


def counter_may_be_missing(module: nn.Module, version: Any) -> bool:
    """Whether torch does without the count of batches in a checkpoint of this version."""
    return isinstance(module, _NormBase) and (version is None or version < 2)


def _function(hook: Any) -> Any:
    """The function that was written, from what was registered."""
    hook = getattr(hook, "hook", hook)
    while isinstance(hook, functools.partial):
        hook = hook.func
    hook = getattr(hook, "__func__", hook)
    return inspect.unwrap(hook) if callable(hook) else hook


def _module_of(hook: Any) -> str:
    return str(getattr(_function(hook), "__module__", None) or "")


def placed(hook: Any, *, whole_path: bool = False) -> str:
    """A hook's name, with the file and the line where it is written."""
    function = _function(hook)
    code = getattr(function, "__code__", None)
    if code is None:
        # An object that can be called.
        code = getattr(vars(type(function)).get("__call__"), "__code__", None)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    name = name.rpartition("<locals>.")[2]
    if code is None:
        return name
    file = code.co_filename if whole_path else Path(code.co_filename).name
    return f"{name} ({file}:{code.co_firstlineno})"
