"""The program: what would run, and in which order, by the rules of the original.

``init_weights`` of the original runs a module's own rules, then its children's, then its Pretrained;
a later write wins. Here nothing runs: the same walk lists the steps, and their order is the
precedence that the planner resolves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from initcfg._model import (
    BaseModule,
    Names,
    child_items,
    children_of,
    first_names,
    has_no_rules,
    modules_of,
    parameters_of,
)
from initcfg._rules.asked_methods import asked_methods, selected_modules
from initcfg._rules.idle import Idle, code_instead, initialized_before, not_entered
from initcfg._rules.initializers import InitWeightsInit, OnModules
from initcfg._rules.layer_names import NO_LAYERS
from initcfg._rules.methods import (
    Method,
    code_label,
    entered,
    has_base_module,
    has_init_cfg,
    has_init_weights,
    is_attached,
    is_bare,
    is_bare_node,
    is_initialized,
    is_marked,
    method_of,
    model_wrappers,
)
from initcfg._rules.own_rules import OwnRules
from initcfg._rules.parsing import Owner, parse_init_cfg
from initcfg._rules.rule import Rule, show_cfg
from initcfg._rules.steps import Program, Step
from initcfg._rules.types import derives
from initcfg._rules.written import LineOfRule, nowhere
from initcfg.errors import InitcfgError, OverrideError, OverrideTargetError, nearest

_NOT_ASKED = object()


class Compiler:
    """Lists the steps of a model.

    Args:
        compat: Reach what the original reaches, and no more.
        root_name: What the root is called in the paths of rules.
        locate: From the path of an init_cfg and what it holds: a function from the paths of its rules to
            file and line, or None if it was not written where that function looks.
        example: An example of the model's input, for schemes that look at one.
        names: The modules of the model, where they have been collected.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        compat: bool,
        root_name: str = "model",
        locate: Any = None,
        example: Any = None,
        declared: Any = None,
        names: Names | None = None,
    ) -> None:
        self.model = model
        self.compat = compat
        self.root_name = root_name
        self.locate = locate
        self.example, self.declared = example, declared
        self.program = Program()
        self._visited: set[int] = set()
        self._called: set[int] = set()
        # Modules that the original calls, not yet in the set.
        self._calls: list[list[nn.Module]] = []
        self._found: dict[tuple[int, str], Sequence[tuple[str, nn.Module]]] = {}
        self._methods: dict[int, Any] = {}
        self._wrappers = model_wrappers()
        self._own = OwnRules(compat=compat)
        # Modules whose own methods a rule asks for.
        self._asked: set[int] = set()
        self._names = first_names(model) if names is None else names.modules
        self._nodes = {} if names is None else names.nodes

    def run(self, init_cfg: Any, *, own_method: bool = True, written: LineOfRule = nowhere) -> Program:
        """The program of ``init_weights`` on the model, within an outer ``init_cfg``.

        Without ``own_method``, that method of the model's class is running already, and has called its base.
        Of the outer rules, ``written`` gives file and line.
        """
        outer = self._given(init_cfg, written)
        self._add_rules(outer, self.model, "", pretrained=False)
        self._enter_root(own_method)
        self._add_rules(outer, self.model, "", pretrained=True)
        return self.program

    def _owner(self, module: nn.Module) -> Owner:
        return Owner(module, self.example, self.declared) if module is self.model else Owner(module)

    def _enter_root(self, own_method: bool) -> None:
        model = self.model
        method = None if is_attached(model) else method_of(model)
        entered_as_original = (
            method is not None
            and method.called
            and (self.compat or has_init_cfg(model))
            and not self._is_left_alone(method)
        )
        if is_initialized(model):
            self.program.notes.append(
                f"{self.root_name} was initialized before (is_init=True), and does not run its rules again; "
                "set is_init=False on it, and on the modules in it, to initialize it anew"
            )
            self._note_idle(model, initialized_before)
        elif method is not None and entered_as_original and own_method and not method.runs_rules:
            self._call(model, "", method)
        elif entered_as_original:
            self._calls.append([child for _, child in self._parts(model, "")])
            self._visit(model, "")
        elif not self.compat or is_attached(model):
            self._visit(model, "", original=False)
        else:
            self._note_idle(model, not_entered)

    def run_rules(self, init_cfg: Any, *, written: LineOfRule = nowhere) -> Program:
        """The program of ``initialize``: these rules, in their order, and nothing else."""
        for rule in self._given(init_cfg, written, bare=True):
            self._add_rule(rule, self.model, "")
        return self.program

    def _given(self, init_cfg: Any, written: LineOfRule, *, bare: bool = False) -> list[Rule]:
        owner = self._owner(self.model)
        return parse_init_cfg(
            init_cfg, "init_cfg", written=written, compat=self.compat, bare=bare, owner=owner
        )

    def _visit(self, module: nn.Module, name: str, *, original: bool = True, called: bool = True) -> None:
        """A module's own rules, its children, and its Pretrained.

        A module that lacks the original's ``init_weights``, or has one that knows no ``init_cfg`` (timm's,
        say), is taken as if it had it; of its children, those of the BaseModule family are called, and
        other people's ``init_weights`` are left alone.
        """
        self._visited.add(id(module))
        rules = self._own_rules(module, name)
        if not called and not isinstance(module, BaseModule):
            rules = self._possible(rules, module)
        if rules:
            self._add_rules(rules, module, name, pretrained=False)
            if not called:
                self.program.nested.append(name)
        children = self._parts(module, name)
        if not original:
            self._calls.append([child for _, child in children if self._carries_rules(child)])
        for child_name, child in children:
            self._child(child, child_name, called=called if original else self._carries_rules(child))
        if rules:
            self._add_rules(rules, module, name, pretrained=True)
        if original and (method := self._method(module)) is not None and method.called:
            self.program.reached.append(module)

    def _possible(self, rules: list[Rule], owner: nn.Module) -> list[Rule]:
        """A library's rules, without those that cannot be: where the original never runs them, nobody saw."""
        possible: list[Rule] = []
        for rule in rules:
            try:
                for override in rule.overrides:
                    self._override_target(override, owner)
            except OverrideError as error:
                reason = f"its library never runs it, and it cannot be: {error.problem.rstrip('.')}"
                self.program.idle.append(Idle(rule.where, str(rule), rule.written, reason, rule))
            else:
                possible.append(rule)
        return possible

    def _parts(self, module: nn.Module, name: str) -> Sequence[tuple[str, nn.Module]]:
        """The children of a module but for plain layers, of which a program says nothing."""
        node, wrappers = self._nodes.get(id(module)), self._wrappers
        if node is not None and node.name == name:
            return [(each.name, each.module) for each in node.children if not is_bare_node(each, wrappers)]
        key = id(module), name
        if key not in self._found:
            self._found[key] = [each for each in child_items(module, name) if not is_bare(each[1], wrappers)]
        return self._found[key]

    def _method(self, module: nn.Module) -> Method | None:
        """Its ``init_weights``, which is asked for in several places."""
        found = self._methods.get(id(module), _NOT_ASKED)
        if found is _NOT_ASKED:
            found = self._methods[id(module)] = method_of(module)
        return found

    def _carries_rules(self, module: nn.Module) -> bool:
        """Whether a module is of the BaseModule family: it has ``init_weights``, and ``init_cfg`` too."""
        module = entered(module, self._wrappers)
        return has_init_weights(module) and has_init_cfg(module)

    def _is_called(self, module: nn.Module) -> bool:
        """Whether the original calls a module elsewhere, as far as the walk has come."""
        for modules in self._calls:
            self._note_called(modules)
        self._calls.clear()
        return id(module) in self._called

    def _note_called(self, modules: Iterable[nn.Module]) -> None:
        """Note what the original calls there and below: such a one, met elsewhere too, waits for that."""
        for each in modules:
            module = entered(each, self._wrappers)
            method = self._method(module)
            if method is None or not method.called or id(module) in self._called:
                continue
            if not is_marked(module) and not self._is_left_alone(method):
                self._called.add(id(module))
                if method.runs_rules:
                    self._note_called(
                        child for _, child in self._parts(module, self._names.get(id(module), ""))
                    )

    def _is_left_alone(self, method: Method) -> bool:
        """Whether a method is not called, since its library's constructors have initialized already."""
        return not self.compat and method.library is not None

    def _child(self, module: nn.Module, name: str, *, called: bool) -> None:
        inner = entered(module, self._wrappers)
        # A shared module has one name, whichever way the walk reaches it.
        module, name = (inner, self._names[id(inner)]) if id(inner) in self._names else (module, name)
        if is_attached(module) and (called or not self.compat):
            if id(module) not in self._visited:
                self._visit(module, name, original=False)
            return
        method = self._method(module)
        own = method is not None and method.called
        if own and is_marked(module):
            self._note_idle(module, initialized_before)
        elif not called and self._is_called(module):
            return
        elif method is not None and own and called and not self._is_left_alone(method):
            if not method.runs_rules:
                self._call(module, name, method)
            elif id(module) not in self._visited:
                self._visit(module, name)
        elif self.compat:
            self._note_idle(module, not_entered)
        else:
            if method is not None and own and not method.runs_rules:
                self._note_uncalled(module, name, method)
            if id(module) not in self._visited:
                self._visit(module, name, called=False)

    def _path(self, name: str, attribute: str) -> str:
        """What an attribute of a module is called in a plan."""
        return ".".join(filter(None, (self.root_name, name, attribute)))

    def _call(self, module: nn.Module, name: str, method: Method) -> None:
        """A step of the module's own method, which decides whether the rules there and below run."""
        order = len(self.program.steps)
        self._append(module, name, module, library=method.library)
        self._note_idle(module, partial(code_instead, self.program.steps[-1].code), order)
        if not self.compat and not has_base_module(module):
            self.program.notes.append(
                f"{self._path(name, 'init_weights')}() is called, "
                f"though a {type(module).__name__} is no BaseModule: it beats the rules of its parents"
            )

    def _note_uncalled(self, module: nn.Module, name: str, method: Method) -> None:
        libraries = self.program.libraries
        if id(module) in self._asked:
            return
        if method.library is not None:
            if any(name.startswith(f"{above}.") for above in libraries):
                # A part of what its library built: nobody would call it but that.
                return
            libraries[name] = method.library
        self.program.uncalled.append(name)

    def _note_idle(
        self, module: nn.Module, why: Callable[[str, bool], str], order: int | None = None
    ) -> None:
        """Note the rules there and below, which nothing runs, or perhaps the code of the step ``order``."""
        for each in modules_of(module):
            if not has_init_cfg(each) or has_no_rules(each.init_cfg):
                continue
            name = self._names[id(each)]
            where, reason = self._path(name, "init_cfg"), why(self._names[id(module)], each is module)
            try:
                rules = self._own_rules(each, name)
            except InitcfgError:
                if has_init_weights(each) and not has_base_module(each):
                    # What code of another kind keeps under that name is its own affair.
                    continue
                if not self.compat:
                    raise
                self.program.idle.append(Idle(where, _shown(each.init_cfg), None, reason, None, order))
                continue
            for rule in rules:
                told = reason + _missing_in(each, rule)
                self.program.idle.append(Idle(rule.where, str(rule), rule.written, told, rule, order))

    def _own_rules(self, module: nn.Module, name: str) -> list[Rule]:
        if not has_init_cfg(module) or has_no_rules(module.init_cfg):
            return []
        where = self._path(name, "init_cfg")
        locate = None if self.locate is None else self.locate(where, module.init_cfg)
        # Rules that were attached from outside stand in no class.
        in_code = not is_attached(module)
        return self._own.parse(module, where, self._owner(module), locate, in_code=in_code)

    def _add_rules(self, rules: list[Rule], owner: nn.Module, name: str, *, pretrained: bool) -> None:
        for rule in rules:
            if _counts_as_pretrained(rule) == pretrained:
                self._add_rule(rule, owner, name)

    def _add_rule(self, rule: Rule, owner: nn.Module, name: str) -> None:
        if isinstance(rule.foreign, InitWeightsInit):
            self._add_asked(rule, owner, name)
        elif isinstance(rule.foreign, OnModules):
            self._add_selected(rule, owner, name)
        else:
            # A rule without a selection initializes nothing; it is listed, unless it carries overrides.
            whole = bool(rule.names) and not (rule.layers or rule.params or rule.buffers or rule.roles)
            self._append(owner, name, owner, rule, whole=whole)
        for override in rule.overrides:
            target = self._override_target(override, owner)
            if isinstance(override.foreign, InitWeightsInit):
                self._asked.add(id(target))
            self._append(owner, name, target, override, whole=True)

    def _add_asked(self, rule: Rule, owner: nn.Module, name: str) -> None:
        """A rule asks for modules' own methods."""
        asked = asked_methods(rule, owner, name, self._names) if rule.selects else []
        self._asked.update(map(id, asked))
        for module in asked:
            one = replace(rule, names=(), excludes=())
            self._append(module, self._names[id(module)], module, one)
        if not asked and not rule.overrides:
            reason = "no module that it means has an init_weights()"
            self.program.idle.append(Idle(rule.where, str(rule), rule.written, reason, rule, None))

    def _add_selected(self, rule: Rule, owner: nn.Module, name: str) -> None:
        """A rule has a function that takes modules."""
        selected = selected_modules(rule, owner, name, self._names)
        for module in selected:
            one = replace(rule, names=(), excludes=(), layers=NO_LAYERS)
            self._append(module, self._names[id(module)], module, one)
        if not selected and not rule.overrides:
            reason = "it selects no module here"
            self.program.idle.append(Idle(rule.where, str(rule), rule.written, reason, rule, None))

    def _append(
        self,
        owner: nn.Module,
        name: str,
        target: Any,
        rule: Rule | None = None,
        *,
        whole: bool = False,
        library: str | None = None,
    ) -> None:
        """A step: of this rule, or the owner's own method."""
        kind, code = ("method", code_label(owner)) if rule is None else (rule.kind, "")
        if rule is not None and rule.foreign is not None:
            asked = isinstance(rule.foreign, InitWeightsInit)
            code = code_label(target) if asked else f"{rule.type_name} initializer"
            code = f"function {rule.type_name}" if isinstance(rule.foreign, OnModules) else code
        order = len(self.program.steps)
        self.program.steps.append(Step(order, owner, name, target, rule, whole, kind, code, library))

    def _override_target(self, rule: Rule, owner: nn.Module) -> Any:
        name = rule.override_name
        assert name is not None
        if not hasattr(owner, name):
            tensors = [key for key, item in parameters_of(owner).items() if item is not None]
            raise OverrideError(
                f"The override names {name!r}, but a {type(owner).__name__} has no such attribute.",
                meant=nearest(name.split(".", maxsplit=1)[0], [*children_of(owner), *tensors]),
                fix="An override names a direct attribute of the module that owns the init_cfg"
                + ("; for a deeper one, give a rule name='...'." if "." in name else "."),
                rule=str(rule),
                where=rule.place,
            )
        target = getattr(owner, name)
        kinds = (nn.Module,) if self.compat else (nn.Module, nn.Parameter)
        if not isinstance(target, kinds):
            raise OverrideTargetError(
                f"The override names {name!r}, of type {type(target).__name__}: only a module"
                + ("" if self.compat else " or a parameter")
                + " can be initialized.",
                rule=str(rule),
                where=rule.place,
            )
        return target


def _counts_as_pretrained(rule: Rule) -> bool:
    """Of Pretrained itself only these two spellings are moved to the end, as in the original."""
    type_ = rule.cfg.get("type")
    return rule.pretrained is not None and (
        type_ == "Pretrained" or isinstance(type_, type) or derives(type_)
    )


def _missing_in(owner: nn.Module, rule: Rule) -> str:
    """What overrides of a rule name that is not there: no error in a rule that does not run, but said."""
    missing = [
        repr(each.override_name) for each in rule.overrides if not hasattr(owner, each.override_name or "")
    ]
    return f"; its override names {', '.join(missing)}, which is no attribute there" if missing else ""


def _shown(init_cfg: Any) -> str:
    return show_cfg(init_cfg) if isinstance(init_cfg, Mapping) else repr(init_cfg)
