"""The BaseModule family: modules that carry an ``init_cfg``; and copies of one."""

from __future__ import annotations

import copy
import dis
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import CodeType, FrameType, FunctionType
from typing import Any, ClassVar, Literal

from torch import nn

from initcfg._model import doors
from initcfg._model.code_places import TORCH_FOLDER, frame_place
from initcfg.errors import RuleTypeError

Rules = dict[str, Any] | list[dict[str, Any]]


class BaseModule(nn.Module):
    """A module with rules of its own.

    Args:
        init_cfg: A rule (dict) or a list of rules for this module and those below it.

    Attributes:
        init_cfg: The rules, a copy of what was given.
        is_init: Whether the weights have been initialized.

    Example:
        >>> from initcfg import BaseModule
        >>> from torch import nn
        >>> class FooModel(BaseModule):
        ...     def __init__(self, init_cfg=None):
        ...         super().__init__(init_cfg)
        ...         self.linear = nn.Linear(2, 2)
        >>> model = FooModel(init_cfg=dict(type="Constant", layer="Linear", val=1, bias=2))
        >>> model.init_weights()
        >>> model.linear.bias.tolist()
        [2.0, 2.0]
    """

    _initcfg_compat: ClassVar[str | None] = None
    _initcfg_rng: ClassVar[Literal["stream", "torch"]] = "stream"

    def __init__(self, init_cfg: Rules | None = None) -> None:
        super().__init__()
        self._is_init = False
        self.init_cfg = copied_rules(init_cfg)
        # An array has no truth value; that it is no rule is said where rules are read.
        if init_cfg is not None:
            self._init_cfg_written = _caller(init_cfg)

    @property
    def is_init(self) -> bool:
        """Whether the weights have been initialized."""
        return self._is_init

    @is_init.setter
    def is_init(self, value: bool) -> None:
        self._is_init = value

    def init_weights(self) -> None:
        """Initialize the weights by the rules: this module's, then its children's, then Pretrained.

        A second call warns and does nothing.
        """
        doors.init_base_module(self, compat=self._initcfg_compat, rng=self._initcfg_rng)

    def __repr__(self) -> str:
        text = super().__repr__()
        return text if has_no_rules(self.init_cfg) else f"{text}\ninit_cfg={self.init_cfg}"


class Sequential(BaseModule, nn.Sequential):
    """:class:`torch.nn.Sequential` with rules of its own.

    Args:
        args: The modules.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(self, *args: Any, init_cfg: Rules | None = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.Sequential.__init__(self, *args)


class ModuleList(BaseModule, nn.ModuleList):
    """:class:`torch.nn.ModuleList` with rules of its own.

    Args:
        modules: The modules.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(self, modules: Iterable[nn.Module] | None = None, init_cfg: Rules | None = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleList.__init__(self, modules)


class ModuleDict(BaseModule, nn.ModuleDict):
    """:class:`torch.nn.ModuleDict` with rules of its own.

    Args:
        modules: The modules by name.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(self, modules: Any = None, init_cfg: Rules | None = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleDict.__init__(self, modules)


def _caller(rules: Any) -> str | None:
    """File and line of the call that gave the rules.

    It is outside of this file, and outside of constructors that only hand on what they were given.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    while frame is not None and _hands_on(frame, rules):
        outer = frame.f_back
        # From a registry on, nobody knows whose the rules are.
        if outer is None or frame_place(outer) is None or outer.f_code.co_filename.startswith(TORCH_FOLDER):
            break
        frame = outer
    return None if frame is None else frame_place(frame)


def _hands_on(frame: FrameType, rules: Any) -> bool:
    """Whether a frame is that of a constructor whose caller gave it these rules."""
    code = frame.f_code
    taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if code.co_name != "__init__" or "init_cfg" not in taken or _makes_rules(code):
        return False
    if frame.f_locals.get("init_cfg") is not rules:
        return False
    for cls in type(frame.f_locals.get(taken[0])).__mro__:
        function = vars(cls).get("__init__")
        if isinstance(function, FunctionType) and function.__code__ is code:
            defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
            return not any(each is rules for each in defaults)
    return False


@lru_cache(maxsize=1024)
def _makes_rules(code: CodeType) -> bool:
    """Whether a constructor says itself what its ``init_cfg`` is."""
    return any(
        each.opname.startswith("STORE") and "init_cfg" in each.argrepr for each in dis.get_instructions(code)
    )


def has_no_rules(init_cfg: Any) -> bool:
    """Whether an ``init_cfg`` is empty. An array never is: it is an error where rules are read."""
    return not hasattr(init_cfg, "dtype") and not init_cfg


def copied_rules(rules: Any) -> Any:
    """A deep copy that shares the tensors: a state_dict given in code is as large as a model."""
    try:
        return copy.deepcopy(rules, {id(tensor): tensor for tensor in _tensors(rules)})
    except RecursionError:
        raise RuleTypeError("An init_cfg is nested too deeply, or contains itself.") from None


def holds_tensors(item: Any) -> bool:
    """Whether a mapping is a state_dict, as far as a look at its values tells."""
    return isinstance(item, Mapping) and any(map(_is_tensor, item.values()))


def _tensors(item: Any) -> Iterator[Any]:
    if isinstance(item, (Mapping, list, tuple)):
        for each in item.values() if isinstance(item, Mapping) else item:
            yield from _tensors(each)
    elif _is_tensor(item):
        yield item


def _is_tensor(item: Any) -> bool:
    # By name, since torch is not imported for a look at a config.
    return any(base.__name__ == "Tensor" and base.__module__ == "torch" for base in type(item).__mro__)
