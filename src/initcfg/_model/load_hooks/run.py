"""Load hooks run as torch runs them: from a module to its children, each with its part of the state_dict."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

from initcfg._model.contents import buffers_of, children_of, is_compiled, parameters_of
from initcfg._model.in_place_writes import storage_of
from initcfg._model.load_hooks.found import Function, LoadHooks, counter_may_be_missing, placed
from initcfg._model.load_hooks.outcome import Filled, HookFailed, HookOutcome
from initcfg._model.load_hooks.stand_ins import stand_ins
from initcfg._model.load_hooks.watched import Watched
from initcfg._model.names import modules_in, wrapper_attribute

State = dict[str, torch.Tensor]


def run_load_hooks(
    path: str,
    hooks: Mapping[str, LoadHooks],
    given: Mapping[str, torch.Tensor],
    versions: Mapping[str, Mapping[str, Any]],
    *,
    compat: bool,
) -> HookOutcome:
    """Load what a checkpoint has into a module with hooks, and into stand-ins for its tensors.

    Args:
        path: Path of the module, in the owner that the checkpoint is loaded into.
        hooks: All of the owner, by path.
        given: Tensors by their names in the owner; all on the meta device, or none.
        versions: What the checkpoint says of modules, by path in the owner.
        compat: Names have what the original needs in them.

    Raises:
        HookFailed: A hook raised an error, or changed what a checkpoint cannot change.
    """
    module = hooks[path].module
    on_meta = any(tensor.is_meta for tensor in given.values())
    places = _places(module, path, compat)
    unnamed = _unnamed(module)
    filled = {id(each.module) for each in hooks.values()}
    with stand_ins(module, on_meta=on_meta, filled=filled) as made:
        own = {name: made.get(id(tensor), tensor) for name, (_, _, tensor) in places.items()}
        originals = {name: tensor for name, (_, _, tensor) in places.items()}
        for name, tensor in unnamed.items():
            own.setdefault(name, made.get(id(tensor), tensor))
            originals.setdefault(name, tensor)
        watched = Watched(given, own)
        loading = _Loading(hooks, versions, watched, own, compat)
        try:
            with torch.no_grad(), watched:
                loading.start(module, dict(given), f"{path}." if path else "")
            loading.refuse_added(_places(module, path, compat), places)
            outcome = loading.outcome(given, places, own)
            outcome.own = {name: originals[name] for name in sorted(loading.own_read)}
        finally:
            watched.put_back()
    return outcome


def _places(module: nn.Module, path: str, compat: bool) -> dict[str, tuple[nn.Module, str, torch.Tensor]]:
    """The tensors of a module's state by name: their module, their attribute, and they themselves."""
    found: dict[str, tuple[nn.Module, str, torch.Tensor]] = {}
    for inner_path, inner in modules_in(module, path, compat=compat):
        for attribute, tensor in _state_of(inner).items():
            found[f"{inner_path}.{attribute}" if inner_path else attribute] = inner, attribute, tensor
    return found


def _state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    items = {**parameters_of(module), **buffers_of(module)}
    left_out = module._non_persistent_buffers_set
    return {name: each for name, each in items.items() if each is not None and name not in left_out}


def _unnamed(module: nn.Module) -> dict[str, torch.Tensor]:
    """Buffers that no state has, which a hook may read all the same."""
    return {
        f"the buffer {path}.{name}".replace(" .", " "): each
        for path, inner in module.named_modules()
        for name, each in buffers_of(inner).items()
        if each is not None and name in inner._non_persistent_buffers_set
    }


class _Loading:
    """One ``state_dict`` on its way through a module and what is below."""

    def __init__(
        self,
        hooks: Mapping[str, LoadHooks],
        versions: Mapping[str, Mapping[str, Any]],
        watched: Watched,
        own: Mapping[str, torch.Tensor],
        compat: bool,
    ) -> None:
        self.hooks, self.versions, self.watched, self.compat = hooks, versions, watched, compat
        # After the hooks: what there is for each tensor, and what no tensor has.
        self.state: State = {}
        self.left: State = {}
        self.messages: list[str] = []
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        # By tensor: the hooks of the module that put it there.
        self.by: dict[int, str] = {}
        # The module's own tensors, by name, that hooks computed with.
        self.own_read: set[str] = set()
        self._alive: list[torch.Tensor] = []
        self._overridden: set[str] = set()
        # Modules where torch's own copying has run, or was for the override to call.
        self._copied: set[str] = set()
        # The memory that stand-ins have at first: a hook may give them another by ``.data =``.
        self._first = {storage_of(tensor): tensor.untyped_storage() for tensor in own.values()}
        self._copying = False

    def start(self, module: nn.Module, state: State, prefix: str) -> None:
        """Load into the module, by its own ``load_state_dict`` if it has one."""
        hooks = self.hooks[prefix[:-1]]
        if hooks.whole is None:
            self._load(module, state, prefix)
        else:
            self._copying = True
            with _named(hooks.whole):
                self._load_whole(module, state, prefix)

    def _load_whole(self, module: nn.Module, state: State, prefix: str) -> None:
        """Where its own method comes to torch's, the loading is done here, and torch finds nothing to do."""
        children = module._modules
        started = False

        def load_here(state: Any, prefix: str, *_: Any) -> None:
            nonlocal started
            started = True
            vars(module).pop("_load_from_state_dict", None)
            self._load(module, state, prefix, with_after=False)
            vars(module)["_modules"] = type(children)()

        def resume(*_: Any) -> None:
            vars(module)["_modules"] = children

        own = vars(module).get("_load_from_state_dict")
        after = module._load_state_dict_post_hooks
        vars(module)["_load_from_state_dict"] = load_here
        vars(module)["_load_state_dict_post_hooks"] = OrderedDict({-1: resume, **after})
        given: Any = OrderedDict(state)
        given._metadata = {path: dict(said) for path, said in self.versions.items()}
        before = dict(given)
        try:
            module.load_state_dict(given, strict=False)
        except TypeError as error:
            if started or "strict" not in str(error):
                raise
            module.load_state_dict(given)
        finally:
            vars(module)["_modules"] = children
            vars(module)["_load_state_dict_post_hooks"] = after
            vars(module).pop("_load_from_state_dict", None)
            if own is not None:
                vars(module)["_load_from_state_dict"] = own
        if not started:
            # It fills its tensors by itself.
            self.left.update(before)

    def _load(self, module: nn.Module, state: State, prefix: str, *, with_after: bool = True) -> None:
        hidden = wrapper_attribute(type(module))
        while hidden is not None and not (self.compat and hidden == "_orig_mod"):
            module = module._modules[hidden]  # type: ignore[assignment]
            hidden = wrapper_attribute(type(module))
        path = prefix[:-1]
        hooks = self.hooks.get(path)
        copying = self._copying
        if hooks is not None:
            self._copying = copying or bool(hooks.after)
            self._run(hooks, state, prefix)
        elif self._copying and not is_compiled(module):
            self._copied.add(path)
            nn.Module._load_from_state_dict(
                module, state, prefix, self._said(path), True, self.missing, self.unexpected, []
            )
        self._divide(module, state, prefix)
        if hooks is not None and hooks.after and with_after:
            keys = _IncompatibleKeys(self.missing, self.unexpected)
            for hook in hooks.after:
                with _named(hook):
                    hook(module, keys)
        self._copying = copying

    def _run(self, hooks: LoadHooks, state: State, prefix: str) -> None:
        """The hooks of one module that run before its children are loaded."""
        before, module, said = dict(state), hooks.module, self._said(hooks.path)
        rest = (said, True, self.missing, self.unexpected, self.messages)
        if hooks.override is not None:
            self._overridden.add(hooks.path)
            self._copied.add(hooks.path)
            with _named(hooks.override):
                module._load_from_state_dict(state, prefix, *rest)
        else:
            for hook in hooks.before:
                with _named(hook):
                    hook(state, prefix, *rest)
            if self._copying:
                self._copied.add(hooks.path)
                known = [*self.missing]
                plain = nn.Module._load_from_state_dict
                registered = module._load_state_dict_pre_hooks
                vars(module)["_load_state_dict_pre_hooks"] = type(registered)()
                plain(module, state, prefix, said, True, self.missing, self.unexpected, [])
                vars(module)["_load_state_dict_pre_hooks"] = registered
                self.missing[:] = dict.fromkeys([*known, *self.missing])
        for key, tensor in state.items():
            if not isinstance(tensor, torch.Tensor):
                raise HookFailed(f"it puts a {type(tensor).__name__} under {key!r}", hooks.texts[0])
            if before.get(key) is not tensor or self.watched.was_written(tensor):
                self.by[id(tensor)] = ", ".join(hooks.texts)
                self._alive.append(tensor)

    def _said(self, path: str) -> dict[str, Any]:
        return dict(self.versions.get(path, {}))

    def _divide(self, module: nn.Module, state: State, prefix: str) -> None:
        """Each child gets what begins with its name; the rest is the module's own, or nobody's."""
        parts: dict[str, State] = {}
        own, children = _state_of(module), children_of(module)
        for key, tensor in state.items():
            name, dot, _ = key[len(prefix) :].partition(".")
            child = children.get(name) if dot else None
            if not key.startswith(prefix) or (child is None and (dot or name not in own)):
                self.left[key] = tensor
            elif child is None:
                self.state[key] = tensor
            else:
                parts.setdefault(name, {})[key] = tensor
        for name, child in children.items():
            if child is not None:
                self._load(child, parts.get(name, {}), f"{prefix}{name}.")

    def outcome(
        self,
        given: Mapping[str, torch.Tensor],
        places: Mapping[str, tuple[nn.Module, str, torch.Tensor]],
        own: Mapping[str, torch.Tensor],
    ) -> HookOutcome:
        """What came of it."""
        watched = self.watched
        copying = next((each for each in self.messages if each.startswith("While copying")), None)
        if copying is not None:
            # A hook made a tensor by itself, which takes nothing that has no numbers.
            raise HookFailed(copying, "")
        outcome = HookOutcome(random=watched.random)
        self.own_read = set(watched.read)
        outcome.messages = [each for each in self.messages if not _of_shapes(each)]
        for name, (module, attribute, original) in places.items():
            found = self._filled(name, module, attribute, own[name], tuple(original.shape))
            if found is not None and storage_of(found) in self._first and not watched.was_written(found):
                # A tensor of the module's own, under its own name: it stays as it is.
                outcome.kept.append(name)
            elif found is not None:
                depends, of_own = watched.sources(found)
                self.own_read.update(of_own)
                outcome.filled[name] = Filled(
                    watched.changed(found), watched.name_of(found), depends, self.by.get(id(found), "")
                )
            elif self._may_be_missing(name, module, attribute):
                outcome.kept.append(name)
        used = {each.given for each in outcome.filled.values()}
        outcome.unexpected = {key: watched.name_of(tensor) for key, tensor in self.left.items()}
        present = {*used, *outcome.unexpected.values()}
        outcome.dropped = [
            name
            for name in given
            if name not in present and not any(name in each.depends for each in outcome.filled.values())
        ]
        return outcome

    def _filled(
        self, name: str, module: nn.Module, attribute: str, stand_in: torch.Tensor, shape: tuple[int, ...]
    ) -> torch.Tensor | None:
        """What a tensor of the module got, if anything."""
        now = {**buffers_of(module), **parameters_of(module)}.get(attribute)
        now = stand_in if is_compiled(module) else now
        if now is None or tuple(now.shape) != shape:
            what = "takes it away" if now is None else f"gives it the shape {tuple(now.shape)}"
            raise HookFailed(
                f"it {what}: {name!r}, which has the shape {shape}",
                self._texts_above(name),
                "Load this checkpoint by load_state_dict, before or after.",
            )
        offered = self.state.get(name)
        if now is stand_in and not self.watched.was_written(stand_in):
            return self._offered(name, stand_in)
        copied = self.watched.copied_into(now)
        if copied is None:
            return now
        same = offered is not None and (copied is offered or storage_of(copied) == storage_of(offered))
        return offered if same else copied

    def _offered(self, name: str, stand_in: torch.Tensor) -> torch.Tensor | None:
        """What a tensor gets that nothing was written to: what came under its name, or its new memory."""
        offered, has_other_memory = self.state.get(name), storage_of(stand_in) not in self._first
        if name.rpartition(".")[0] not in self._copied:
            return stand_in if offered is None and has_other_memory else offered
        if has_other_memory:
            return stand_in
        # An override that does not call torch's method leaves the tensor as it is.
        fits = offered is not None and offered.shape == stand_in.shape
        return None if fits else offered

    def refuse_added(self, now: Mapping[str, object], before: Mapping[str, object]) -> None:
        """No plan has what a hook added to its module.

        Raises:
            HookFailed: The module has tensors that it did not have before.
        """
        for name in now:
            if name not in before:
                raise HookFailed(
                    f"it adds {name!r}, which the module does not have before",
                    self._texts_above(name),
                    "Make it when the model is built, or load this checkpoint by load_state_dict.",
                )

    def _texts_above(self, name: str) -> str:
        path = name.rpartition(".")[0]
        while path not in self.hooks and path:
            path = path.rpartition(".")[0]
        return ", ".join(self.hooks[path].texts) if path in self.hooks else ""

    def _may_be_missing(self, name: str, module: nn.Module, attribute: str) -> bool:
        path = name.rpartition(".")[0]
        if path in self._overridden:
            return name not in self.missing
        version = self._said(path).get("version")
        return attribute == "num_batches_tracked" and counter_may_be_missing(module, version)


def _of_shapes(message: str) -> bool:
    """Whether torch's own loading says by a message what a plan says by itself."""
    return message.startswith("size mismatch for")


@contextlib.contextmanager
def _named(hook: Function) -> Iterator[None]:
    """An error within is one of this hook."""
    try:
        yield
    except HookFailed:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise HookFailed(f"it raises {said}", placed(hook, whole_path=True)) from error
