"""Registries: names for classes, and building from a config that holds such a name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar, TypeVar, overload

from initcfg._config.builders import call_with_rules, defined_at, target_of
from initcfg._config.config_objects import with_config_objects
from initcfg._config.files import origin_of, plain_containers
from initcfg._config.import_paths import import_path, scoped_names
from initcfg._config.made_from import note_made
from initcfg._config.permitted import named_object, permitted
from initcfg.errors import (
    BuildError,
    DuplicateNameError,
    NoTypeError,
    RegistryTypeError,
    UnknownTypeError,
    as_annotated,
    mistaken,
    nearest,
    plural,
)

Registered = TypeVar("Registered", bound=Callable[..., Any])

_current_scope: ContextVar[str | None] = ContextVar("initcfg_current_scope", default=None)


@as_annotated(RegistryTypeError, but=("__init__",))
class Registry:
    """Classes and functions by name, in a tree of scopes.

    A name is looked for in the registry and then in its parents; ``"mmdet.ResNet"`` is looked for in
    the registry whose scope is ``mmdet``, in the same tree.

    Args:
        name: What is registered here, for messages: ``"model"``.
        build_func: What :meth:`build` calls, ``build_func(cfg, registry=...)``. By default the
            parent's, or :func:`build_from_cfg`.
        parent: The registry that this one is a child of.
        scope: The name of this registry among its relatives; by default the top-level package of the
            code that creates it.
        locations: Modules that register into this registry when they are imported; they are imported
            at the first look-up.

    Attributes:
        name: What is registered here.
        scope: The name of this registry among its relatives.
        parent: The registry that this one is a child of, if any.
        children: The child registries by scope.
        build_func: What :meth:`build` calls.

    Raises:
        RegistryTypeError: an argument has the wrong type.
        DuplicateNameError: the parent has a child of that scope already.

    Example:
        >>> from initcfg import Registry
        >>> BACKBONES = Registry("backbone", scope="example")
        >>> @BACKBONES.register_module(name=["Tiny", "TinyNet"])
        ... class Tiny:
        ...     def __init__(self, depth=1):
        ...         self.depth = depth
        >>> BACKBONES.build(dict(type="TinyNet", depth=3)).depth
        3
    """

    def __init__(
        self,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Registry | None = None,
        scope: str | None = None,
        locations: Sequence[str] = (),
    ) -> None:
        if scope is not None and not isinstance(scope, str):
            raise RegistryTypeError(
                f"The scope of a registry must be a string, not {scope!r}.", fix="Give its name."
            )
        if parent is not None and not isinstance(parent, Registry):
            raise RegistryTypeError(
                f"The parent of a registry must be a Registry, not {parent!r}.",
                fix="Give the registry itself.",
            )
        if isinstance(locations, (str, bytes)) or not isinstance(locations, Collection):
            raise RegistryTypeError(
                f"The locations are a list of modules, not {locations!r}.", fix="Write ['...']."
            )
        self.name = name
        self.scope = self.infer_scope() if scope is None else scope
        self.parent = parent
        self.children: dict[str, Registry] = {}
        self._module_dict: dict[str, Any] = {}
        self._also_register: list[Callable[[Any, Sequence[str], bool], None]] = []
        self._locations = tuple(locations)
        self._imported = False
        if parent is not None:
            if self.scope in parent.children:
                raise DuplicateNameError(
                    f"Registry {parent.name!r} has a child of scope {self.scope!r} already.",
                    fix="Give the new registry another scope.",
                )
            parent.children[self.scope] = self
        inherited: Callable[..., Any] = build_from_cfg if parent is None else parent.build_func
        self.build_func = inherited if build_func is None else build_func

    @property
    def module_dict(self) -> dict[str, Any]:
        """What is registered, by name, after its locations are imported."""
        self.import_from_location()
        return self._module_dict

    @property
    def root(self) -> Registry:
        """The registry at the top of the tree."""
        return list(self._lineage())[-1]

    def _lineage(self) -> Iterator[Registry]:
        """This registry, its parent, and so on."""
        registry: Registry | None = self
        while registry is not None:
            yield registry
            registry = registry.parent

    def __len__(self) -> int:
        return len(self.module_dict)

    def __bool__(self) -> bool:
        return True  # an empty registry is one all the same

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def __repr__(self) -> str:
        names = ", ".join(sorted(self._module_dict)) or "nothing"
        return f"<Registry {self.name!r} of scope {self.scope!r}: {names}>"

    @staticmethod
    def infer_scope() -> str:
        """The top-level package of the code that creates the registry: two calls up."""
        module = sys._getframe(2).f_globals.get("__name__") or "initcfg"
        return module.partition(".")[0]

    @staticmethod
    def split_scope_key(key: str) -> tuple[str | None, str]:
        """``("mmdet", "ResNet")`` of ``"mmdet.ResNet"``, and ``(None, "ResNet")`` of ``"ResNet"``."""
        scope, dot, name = key.partition(".")
        return (scope, name) if dot else (None, key)

    @overload
    def register_module(self, name: Registered) -> Registered: ...
    @overload
    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, *, module: Registered
    ) -> Registered: ...
    @overload
    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: None = None
    ) -> Callable[[Registered], Registered]: ...
    def register_module(self, name: Any = None, force: bool = False, module: Any = None) -> Any:
        """Register a class or a function: as decorator, with or without parentheses, or as a call.

        Args:
            name: Its name, or a list of names; by default its own.
            force: Replace what has the name already.
            module: What to register; without it, a decorator is returned.

        Returns:
            What was registered, unchanged, or the decorator.

        Raises:
            DuplicateNameError: a name is taken, and ``force`` is not set; no name is registered then.
            RegistryTypeError: an argument has the wrong type.

        Example:
            >>> from initcfg import Registry
            >>> HEADS = Registry("head", scope="example")
            >>> @HEADS.register_module
            ... class Head: ...
            >>> HEADS.register_module("Dict", module=dict)
            <class 'dict'>
            >>> sorted(HEADS.module_dict)
            ['Dict', 'Head']
        """
        if module is None and callable(name):
            return self._register(name, None, force)
        names = [name] if isinstance(name, str) else name
        if names is not None and not (
            isinstance(names, Sequence) and all(isinstance(each, str) for each in names)
        ):
            raise RegistryTypeError(
                f"A name must be a string, or a list of strings, not {name!r}.", fix="Write name='...'."
            )
        if module is not None:
            return self._register(module, names, force)
        return lambda decorated: self._register(decorated, names, force)

    def _register(self, module: Any, names: Sequence[str] | None, force: bool) -> Any:
        if not callable(module):
            raise RegistryTypeError(
                f"Only classes and functions can be registered, not {module!r}.",
                fix="Give the class or the function itself.",
            )
        if names is None:
            own = getattr(module, "__name__", None)
            if own is None:
                raise RegistryTypeError(f"{module!r} has no name of its own.", fix="Give it one: name='...'.")
            names = [own]
        for name in names:
            if name in self._module_dict and not force:
                raise DuplicateNameError(
                    f"{name!r} is registered already in registry {self.name!r} of scope {self.scope!r}.",
                    where=defined_at(self._module_dict[name]),
                    fix="Choose another name, or replace it with force=True.",
                )
        for register in self._also_register:
            register(module, names, force)
        self._module_dict.update(dict.fromkeys(names, module))
        return module

    def also_register(self, register: Callable[[Any, Sequence[str], bool], None]) -> None:
        """Have another registry take what this one has, and what it gets from now on.

        Args:
            register: Called with the class or function, its names, and ``force``, before it is registered
                here; where it raises, it is not registered here either.
        """
        names: dict[int, list[str]] = {}
        for name, module in self._module_dict.items():
            names.setdefault(id(module), []).append(name)
        for same in names.values():
            register(self._module_dict[same[0]], same, False)
        self._also_register.append(register)

    def import_from_location(self) -> None:
        """Import the locations, once; what an import raises goes through."""
        if self._imported:
            return
        self._imported = True  # first, since the modules imported here may look something up
        try:
            for location in self._locations:
                importlib.import_module(location)
        except BaseException:
            self._imported = False
            raise

    def get(self, key: str) -> Any:
        """What is registered under ``key``, or what the import path ``key`` leads to, or None.

        Args:
            key: A name, a name with its scope (``"mmdet.ResNet"``), or a dotted import path.

        Raises:
            RegistryTypeError: ``key`` is not a string.

        Example:
            >>> from initcfg import MODELS
            >>> MODELS.get("collections.OrderedDict").__name__
            'OrderedDict'
            >>> MODELS.get("NoSuchModel") is None
            True
        """
        found = self._registered(key)
        if found is None and "." in key:
            found, _ = import_path(key)
        return found

    def _registered(self, key: str) -> Any:
        if not isinstance(key, str):
            raise RegistryTypeError(f"A name must be a string, not {key!r}.")
        for registry in self._lineage():
            if key in registry.module_dict:
                return registry._module_dict[key]
        scope, name = self.split_scope_key(key)
        if scope is None:
            return None
        related = self._of_scope(scope) or self.root._of_scope(scope)
        return None if related is None else related._within(name)

    def _within(self, name: str) -> Any:
        """A name in this registry itself, or with a further scope, in its children."""
        if name in self.module_dict:
            return self._module_dict[name]
        scope, rest = self.split_scope_key(name)
        child = None if scope is None else self._of_scope(scope)
        return None if child is None else child._within(rest)

    def _of_scope(self, scope: str) -> Registry | None:
        """The registry of that scope, here or below."""
        if self.scope == scope:
            return self
        return next(filter(None, (child._of_scope(scope) for child in self.children.values())), None)

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Within, ``_scope_`` is ``scope`` (where it is given) for this build and those nested in it.

        Yields:
            The registry of that scope in this tree; this registry, where there is none.
        """
        current = _current_scope.get() if scope is None else scope
        token = _current_scope.set(current)
        try:
            yield self if current is None else self.root._of_scope(current) or self
        finally:
            _current_scope.reset(token)

    def resolve(self, name: str, registry: Registry, scope: str | None) -> Any:
        """What ``type=name`` names: a registered name, or an import path.

        Args:
            name: The name.
            registry: Where to begin: a registry of this tree.
            scope: The scope that the config asks for, if it does.

        Raises:
            UnknownTypeError: It leads nowhere.
        """
        found, reason = registry._registered(name), ""
        if found is None and "." in name:
            found, reason = import_path(name)
        if found is None:
            raise self.unknown(name, registry, scope, reason)
        return found

    def further_names(self, name: str) -> tuple[list[str], list[str]]:
        """Where else than in registries ``name`` was looked for, in words, and the names there are there."""
        return [], []

    def unknown(self, name: str, registry: Registry, scope: str | None, reason: str) -> UnknownTypeError:
        """The error that says where ``name`` was looked for, and what may be meant; see :meth:`resolve`."""
        above = list(registry._lineage())
        known = dict.fromkeys([*(name for each in above for name in each.module_dict), *scoped_names(self)])
        looked = [
            f"registry {each.name!r} of scope {each.scope!r} ({plural(len(each), 'name')})" for each in above
        ]
        if scope is not None and registry.scope != scope:
            looked.append(f"scope {scope!r}, of which there is no registry")
        places, names = self.further_names(name)
        looked += places
        known.update(dict.fromkeys(names))
        looked.append(f"the import path: {reason}" if reason else "no import path, since it has no dot")
        meant = nearest(name, known)
        return UnknownTypeError(
            f"type={name!r} names nothing that can be built. Looked in: {'; '.join(looked)}.",
            meant=meant or nearest(name.rpartition(".")[2], known),
            fix="Import the module that registers it, register it with "
            f"@{registry.variable}.register_module(), or give its import path.",
        )

    variable = "registry"
    """What code calls it, in messages."""

    of_modules: ClassVar[bool] = False
    """Whether what this registry and its children build are modules, to which an import path may lead."""

    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build what ``cfg`` says, by ``build_func``; see :func:`build_from_cfg`."""
        return self.build_func(cfg, *args, **kwargs, registry=self)


@as_annotated(BuildError)
def build_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build what ``cfg["type"]`` names, with the other keys as its arguments; nothing is initialized.

    A nested dict with a ``type`` is passed on as it is: the class that takes it builds it. A dict that means
    settings (the parameter is annotated with a dataclass, say) becomes that object. A module whose
    class takes no ``init_cfg`` may have one all the same: it becomes the module's. A class of MMEngine's
    ``ManagerMixin`` gives its instance of that name.

    Args:
        cfg: A dict with the key ``type``: a registered name, a class or function, a dotted import path
            (``"torchvision.models.resnet50"``), or, for :data:`MODELS` and its children, the bare name
            of a ``torch.nn`` class or a builder (``"timm:resnet18"``, ``"package.module:function"``).
            ``_scope_`` chooses the registry of that scope, for this build and those nested in it.
            ``cfg`` is not changed.
        registry: Where names are looked for.
        default_args: Arguments for the keys that ``cfg`` does not have; ``type`` may be among them.

    Raises:
        NoTypeError: neither has a ``type``.
        UnknownTypeError: ``type`` leads nowhere.
        BuildError: the class or function does not take these arguments, or an argument of this
            function has the wrong type. What is raised inside the call goes through unchanged.

    Example:
        >>> from initcfg import MODELS, build_from_cfg
        >>> build_from_cfg(dict(type="Linear", in_features=2, out_features=3), MODELS)
        Linear(in_features=2, out_features=3, bias=True)
    """
    arguments = _as_dict(cfg, "cfg")
    for key, value in _as_dict({} if default_args is None else default_args, "default_args").items():
        arguments.setdefault(key, value)
    if "type" not in arguments:
        raise NoTypeError(
            f"The config does not say what to build: it has no 'type'{mistaken('type', arguments)}.",
            rule=arguments,
            meant=["type"] if mistaken("type", arguments) else (),
            fix=f"Add type='...', a name in registry {registry.name!r}, a class, or an import path.",
        )
    # Who wrote the type is known of the dict that has it.
    check = cfg if "type" in cfg else default_args
    type_ = arguments.pop("type")
    scope = arguments.pop("_scope_", None)
    if scope is not None and not isinstance(scope, str):
        raise RegistryTypeError(f"_scope_ is the name of a scope, not {scope!r}.")
    with registry.switch_scope_and_registry(scope) as chosen, permitted(check, chosen):
        if isinstance(type_, str):
            factory = chosen.root.resolve(type_, chosen, _current_scope.get())
        elif callable(type_):
            factory = type_
        else:
            raise BuildError(
                f"type must be a name, an import path, a class or a function, not {type_!r}.",
                fix="Name what is to be built.",
            )
        target = target_of(factory)
        origin = origin_of(check)
        with_objects = (
            arguments
            if target is None
            else with_config_objects(target, arguments, origin, partial(named_object, chosen))
        )
        made = call_with_rules(factory, with_objects)
    note_made(made, {"type": type_, **arguments}, registry)
    return made


def _as_dict(given: Any, what: str) -> dict[str, Any]:
    # MMEngine's Config is not a Mapping, but has items.
    if isinstance(given, Mapping) or type(given).__name__ == "Config":
        return dict(plain_containers(given, package="omegaconf").items())
    raise BuildError(
        f"{what} must be a dict, not {type(given).__name__}: {given!r}.", fix="Write dict(type=..., ...)."
    )
