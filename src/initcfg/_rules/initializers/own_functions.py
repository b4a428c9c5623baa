"""Functions of one's own as initializers: of a tensor, as those of ``torch.nn.init``, or of a module.

What a function of a tensor writes is recorded while the plan is made, and becomes a value as any other. Where
that cannot be said (it draws from NumPy, it looks at its numbers), it runs when the plan is applied.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from initcfg._config import first_annotation
from initcfg._model import doors, storage_of
from initcfg._rules.initializers.base import BaseInit
from initcfg.errors import ArgumentError, nearest
from initcfg.values import Layout, Opaque, Value

Kind = Literal["tensor", "module"]
_OF_MODULES = ("m", "mod", "module", "model", "net", "network", "layer", "block")
_OURS = ("bias", "bias_prob")


def is_function(given: Any) -> bool:
    """Whether something is called with a tensor or a module, and is no class of initializers."""
    return callable(given) and not inspect.isclass(given) and not isinstance(given, BaseInit)


def function_label(function: Any) -> str:
    """A function as a person calls it, the same in each process.

    Example:
        >>> from functools import partial
        >>> from torch import nn
        >>> from initcfg._rules.initializers.own_functions import function_label
        >>> function_label(partial(nn.init.normal_, std=0.1)), function_label(lambda tensor: tensor)
        ('normal_', '<lambda>')
    """
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def function_kind(function: Any, given: Mapping[str, Any]) -> Kind | None:
    """What a function is called with, where a rule gives it these arguments; None if with them alone.

    The annotation of its first parameter decides, and where there is none, its name; else it is a tensor.
    """
    first = first_parameter(function)
    if first is None:
        # Written in C: a tensor's own method.
        return "tensor"
    if first.default is not first.empty or first.name in given or first.kind is first.KEYWORD_ONLY:
        return None
    hint = first_annotation(function)
    if inspect.isclass(hint):
        return "module" if issubclass(hint, nn.Module) else "tensor"
    return "module" if first.name in _OF_MODULES or "nn.Module" in str(hint) else "tensor"


def first_parameter(function: Any) -> inspect.Parameter | None:
    """The first parameter of a function, where its signature is known and it has one."""
    signature = _signature(function)
    parameters = () if signature is None else signature.parameters.values()
    return next((each for each in parameters if each.kind is not each.VAR_KEYWORD), None)


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def check_arguments(function: Any, arguments: Mapping[str, Any], ruled: tuple[str, ...]) -> None:
    """Refuse arguments that the function does not take.

    Raises:
        ArgumentError: It does not take one, or needs another.
    """
    signature, label = _signature(function), function_label(function)
    if signature is None:
        return
    _, *parameters = signature.parameters.values()
    taken = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    fix = f"It takes {', '.join(taken) or 'nothing else'}; a rule also takes {', '.join(ruled)}."
    anything = any(each.kind is each.VAR_KEYWORD for each in parameters)
    for key in () if anything else arguments:
        if key not in taken:
            meant = nearest(key, {*taken, *ruled, *_OURS} - {key})
            raise ArgumentError(f"{label} takes no argument {key!r}.", meant=meant, fix=fix)
    try:
        signature.bind(None, **arguments)
    except TypeError as error:
        raise ArgumentError(f"{label}: {error}.", fix=fix) from None


class _Function:
    """A function with the arguments that a rule gives it."""

    def __init__(self, function: Any, given: Mapping[str, Any]) -> None:
        self.function = function
        self.given = dict(given)
        self.label = function_label(function)

    def __call__(self, on: Any) -> Any:
        return self.function(on, **self.given)


class FunctionInit(BaseInit):
    """What a function of a tensor fills it with: ``fn(tensor, std=0.02)``, as those of ``torch.nn.init``.

    It is not registered itself: a rule gives the function, ``dict(type=fn, layer="Linear", std=0.02)``.
    """

    def __init__(self, function: Any, given: Mapping[str, Any]) -> None:
        parameters = getattr(_signature(function), "parameters", ())
        ours = {key: given[key] for key in _OURS if key in given and key not in parameters}
        super().__init__(**ours)
        self._call = _Function(function, {key: item for key, item in given.items() if key not in ours})

    def arguments(self) -> dict[str, Any]:
        return dict(self._call.given)

    def value(self, layout: Layout) -> Value:
        return doors.function_value(self._call, layout.shape)

    def _resolve(self, layout: Layout) -> Value:
        if layout.parts:
            parts = [self.value(each) for each in map(layout.part, layout.parts)]
            if any(isinstance(each, Opaque) for each in parts):
                return self.value(Layout(layout.shape))
        value = self.value(layout)
        return value if isinstance(value, Opaque) else super()._resolve(layout)

    def as_code(self, attributes: tuple[str, ...]) -> OnTensors:
        """The function, for tensors of a module that it has to be run on."""
        return OnTensors(self._call, attributes)

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={item!r}" for name, item in self._call.given.items())
        return f"{self._call.label}({inner})"


class OnTensors:
    """A function of a tensor as code of a module: called with some of its tensors, one after the other."""

    def __init__(self, call: _Function, attributes: tuple[str, ...]) -> None:
        self.call, self.attributes = call, attributes

    def __call__(self, module: nn.Module) -> None:
        for attribute in self.attributes:
            tensor = getattr(module, attribute).detach()
            with torch.no_grad():
                take_result(tensor, self.call(tensor))


class OnModules:
    """A function of a module as a rule: called with the owner of the rule, or with each that it selects."""

    def __init__(self, function: Any, given: Mapping[str, Any]) -> None:
        self._call = _Function(function, given)

    @property
    def label(self) -> str:
        """What it is called."""
        return self._call.label

    def arguments(self) -> dict[str, Any]:
        """What the rule gives it."""
        return dict(self._call.given)

    def __call__(self, module: nn.Module) -> None:
        with torch.no_grad():
            self._call(module)


def take_result(tensor: torch.Tensor, made: Any) -> None:
    """Take what a function returns instead of writing it: another tensor of the same shape."""
    if (
        isinstance(made, torch.Tensor)
        and made.shape == tensor.shape
        and storage_of(made) != storage_of(tensor)
    ):
        tensor.copy_(made)
