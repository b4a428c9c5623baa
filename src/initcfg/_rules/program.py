"""The program: what would run, and in which order, by the rules of the original.

``init_weights`` of the original runs a module's own rules, then its children's, then its Pretrained;
a later write wins. Here nothing runs: the same walk lists the steps, and their order is the
precedence that the planner resolves.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from torch import nn

from initcfg._model import child_items, children_of, parameters_of, wrapper_attribute
from initcfg._rules.parsing import parse_init_cfg
from initcfg._rules.rule import Rule, location
from initcfg.errors import OverrideError, OverrideTargetError, nearest


@dataclass(frozen=True, eq=False)
class Step:
    """One run of one rule over one subtree, or of a user's own code; later steps win.

    Attributes:
        target: Root of the subtree that is reached: the owner of the rule, or what an override names.
        rule: The rule; None for a user's method.
        whole: Every layer of the subtree is meant (an override, or ``name`` without ``layer``).
        kind: ``"rule"``, ``"pretrained"``, ``"foreign"`` (an initializer of the original's protocol)
            or ``"method"`` (a user's ``init_weights``).
        code: For user code: what it is and where.
    """

    order: int
    owner: nn.Module
    owner_name: str
    target: Any
    rule: Rule | None
    whole: bool = False
    kind: str = "rule"
    code: str = ""


@dataclass(eq=False)
class Program:
    """The steps in order, and what was seen on the way.

    Attributes:
        reached: Modules whose ``is_init`` is set once the program has run.
        uncalled: Modules whose own ``init_weights`` the original would not call, so that it does not run.
        nested: Modules whose ``init_cfg`` the original would skip.
    """

    steps: list[Step] = field(default_factory=list)
    reached: list[nn.Module] = field(default_factory=list)
    uncalled: list[str] = field(default_factory=list)
    nested: list[str] = field(default_factory=list)


def _home_of_init_weights(cls: type) -> type | None:
    """The class in the MRO that defines ``init_weights``; None if there is none."""
    return next((base for base in cls.__mro__ if "init_weights" in vars(base)), None)


@lru_cache(maxsize=16384)
def has_own_method(cls: type) -> bool:
    """Whether a class has an ``init_weights`` that a user wrote.

    That of a class called BaseModule is the original's (MMEngine's, MMCV's, one of the many copies
    of it that repositories carry, or ours): it runs rules, and the program stands in for it.
    """
    home = _home_of_init_weights(cls)
    return home is not None and home.__name__ != "BaseModule"


def code_label(cls: type) -> str:
    """What a user's ``init_weights`` is called, and where it is: ``Head.init_weights (head.py:41)``."""
    home = _home_of_init_weights(cls) or cls
    return location(f"{home.__name__}.init_weights", _file_and_line(vars(home).get("init_weights")))


@lru_cache(maxsize=16384)
def _file_and_line(function: Any) -> str | None:
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return code and f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"


class Compiler:
    """Lists the steps of a model.

    Args:
        compat: Reach what the original reaches, and no more.
        root_name: What the root is called in the paths of rules.
        locate: From the path of an init_cfg and what it holds: a function from the paths of its rules to
            file and line, or None if it was not written where that function looks.
    """

    def __init__(
        self, model: nn.Module, *, compat: bool, root_name: str = "model", locate: Any = None
    ) -> None:
        self.model = model
        self.compat = compat
        self.root_name = root_name
        self.locate = locate
        self.program = Program()
        self._visited: set[int] = set()
        self._called: set[int] = set()
        self._names = _first_names(model)
        # An initialized root is planned anew, with all below it.
        self._respect_is_init = not _is_init(model)

    def run(self, init_cfg: Any, *, own_method: bool = True) -> Program:
        """The program of ``init_weights`` on the model, within an outer ``init_cfg``.

        Without ``own_method``, that method of the model's class is running already, and has called its base.
        """
        outer = parse_init_cfg(init_cfg, "init_cfg", compat=self.compat)
        self._add_rules(outer, self.model, "", pretrained=False)
        model, configured = self.model, _has_init_cfg(self.model)
        method = has_init_weights(model) and not _is_attached(model)
        if method and own_method and has_own_method(type(model)) and (self.compat or configured):
            self._append(model, "", model)
        elif method and (self.compat or configured):
            self._note_called(child for _, child in child_items(model, ""))
            self._visit(model, "")
        elif not self.compat or _is_attached(model):
            self._visit(model, "", original=False)
        self._add_rules(outer, self.model, "", pretrained=True)
        return self.program

    def run_rules(self, init_cfg: Any) -> Program:
        """The program of ``initialize``: these rules, in their order, and nothing else."""
        for rule in parse_init_cfg(init_cfg, "init_cfg", compat=self.compat, bare=True):
            self._add_rule(rule, self.model, "")
        return self.program

    def _visit(self, module: nn.Module, name: str, *, original: bool = True, called: bool = True) -> None:
        """A module's own rules, its children, and its Pretrained.

        A module that lacks the original's ``init_weights``, or has one that knows no ``init_cfg`` (timm's,
        say), is taken as if it had it; of its children, those of the BaseModule family are called, and
        other people's ``init_weights`` are left alone.
        """
        self._visited.add(id(module))
        rules = self._own_rules(module, name)
        self._add_rules(rules, module, name, pretrained=False)
        if rules and not called:
            self.program.nested.append(name)
        children = list(child_items(module, name))
        if not original:
            self._note_called(child for _, child in children if _carries_rules(child))
        for child_name, child in children:
            self._child(child, child_name, called=called if original else _carries_rules(child))
        self._add_rules(rules, module, name, pretrained=True)
        if original and has_init_weights(module):
            self.program.reached.append(module)

    def _note_called(self, modules: Iterable[nn.Module]) -> None:
        """Note what the original calls there and below: such a one, met elsewhere too, waits for that."""
        for module in map(_without_wrapper, modules):
            if has_init_weights(module) and id(module) not in self._called and not self._is_done(module):
                self._called.add(id(module))
                if not has_own_method(type(module)):
                    self._note_called(child for _, child in child_items(module, ""))

    def _is_done(self, module: nn.Module) -> bool:
        return self._respect_is_init and _is_init(module)

    def _child(self, module: nn.Module, name: str, *, called: bool) -> None:
        module = _without_wrapper(module)
        # A shared module has one name, whichever way the walk reaches it.
        name = self._names[id(module)]
        if _is_attached(module) and (called or not self.compat):
            if id(module) not in self._visited:
                self._visit(module, name, original=False)
            return
        own = has_init_weights(module)
        if (own and self._is_done(module)) or (not called and id(module) in self._called):
            return
        if own and called:
            if has_own_method(type(module)):
                self._append(module, name, module)
            elif id(module) not in self._visited:
                self._visit(module, name)
        elif not self.compat:
            if own and has_own_method(type(module)):
                self.program.uncalled.append(name)
            if id(module) not in self._visited:
                self._visit(module, name, called=False)

    def _own_rules(self, module: nn.Module, name: str) -> list[Rule]:
        if not _has_init_cfg(module) or not module.init_cfg:
            return []
        where = ".".join(filter(None, (self.root_name, name, "init_cfg")))
        given = getattr(module, "_init_cfg_written", None)
        if given is None and not _is_attached(module):
            # The best that is known of an init_cfg given in code: where the class is written.
            given = _file_and_line(vars(type(module)).get("__init__"))
        locate = None if self.locate is None else self.locate(where, module.init_cfg)

        def written(path: str) -> str | None:
            return (locate(path) if locate is not None else None) or given

        return parse_init_cfg(module.init_cfg, where, written=written, compat=self.compat)

    def _add_rules(self, rules: list[Rule], owner: nn.Module, name: str, *, pretrained: bool) -> None:
        for rule in rules:
            if _counts_as_pretrained(rule) == pretrained:
                self._add_rule(rule, owner, name)

    def _add_rule(self, rule: Rule, owner: nn.Module, name: str) -> None:
        # A rule without a selection initializes nothing; it is listed, unless it carries overrides.
        whole = bool(rule.names) and not (rule.layers or rule.params or rule.buffers)
        self._append(owner, name, owner, rule, whole=whole)
        for override in rule.overrides:
            self._append(owner, name, self._override_target(override, owner), override, whole=True)

    def _append(
        self, owner: nn.Module, name: str, target: Any, rule: Rule | None = None, *, whole: bool = False
    ) -> None:
        """A step: of this rule, or the owner's own method."""
        kind, code = ("method", code_label(type(owner))) if rule is None else (rule.kind, "")
        if rule is not None and rule.foreign is not None:
            code = f"{rule.type_name} initializer"
        self.program.steps.append(Step(len(self.program.steps), owner, name, target, rule, whole, kind, code))

    def _override_target(self, rule: Rule, owner: nn.Module) -> Any:
        name = rule.override_name
        assert name is not None
        context: dict[str, Any] = {"rule": str(rule), "where": rule.place}
        if not hasattr(owner, name):
            tensors = [key for key, item in parameters_of(owner).items() if item is not None]
            raise OverrideError(
                f"The override names {name!r}, but a {type(owner).__name__} has no such attribute.",
                meant=nearest(name.split(".", maxsplit=1)[0], [*children_of(owner), *tensors]),
                fix="An override names a direct attribute of the module that owns the init_cfg"
                + ("; for a deeper one, give a rule name='...'." if "." in name else "."),
                **context,
            )
        target = getattr(owner, name)
        kinds = (nn.Module,) if self.compat else (nn.Module, nn.Parameter)
        if not isinstance(target, kinds):
            raise OverrideTargetError(
                f"The override names {name!r}, of type {type(target).__name__}: only a module"
                + ("" if self.compat else " or a parameter")
                + " can be initialized.",
                **context,
            )
        return target


def _counts_as_pretrained(rule: Rule) -> bool:
    """Only these two spellings are moved to the end, as in the original."""
    type_ = rule.cfg.get("type")
    return rule.pretrained is not None and (type_ == "Pretrained" or isinstance(type_, type))


def has_init_weights(module: nn.Module) -> bool:
    """Whether a module has a method ``init_weights``, by class or instance."""
    return hasattr(type(module), "init_weights") or "init_weights" in vars(module)


def _has_init_cfg(module: nn.Module) -> bool:
    return "init_cfg" in vars(module) or hasattr(type(module), "init_cfg")


def _is_attached(module: nn.Module) -> bool:
    """Whether a builder's model got its rules from outside, and its class knows nothing of them."""
    return "_initcfg_attached" in vars(module)


def _carries_rules(module: nn.Module) -> bool:
    """Whether a module is of the BaseModule family: it has ``init_weights``, and ``init_cfg`` too."""
    module = _without_wrapper(module)
    return has_init_weights(module) and _has_init_cfg(module)


def _without_wrapper(module: nn.Module) -> nn.Module:
    wrapped = wrapper_attribute(type(module))
    if wrapped and not has_init_weights(module):
        return module._modules[wrapped]  # type: ignore[return-value]
    return module


def _first_names(model: nn.Module) -> dict[int, str]:
    """The first canonical name of each module, by ``id``."""
    names: dict[int, str] = {}
    todo = [("", model)]
    while todo:
        name, module = todo.pop()
        if id(module) not in names:
            names[id(module)] = name
            todo += reversed(list(child_items(module, name)))
    return names


def _is_init(module: nn.Module) -> bool:
    return has_init_weights(module) and bool(getattr(module, "is_init", False))
