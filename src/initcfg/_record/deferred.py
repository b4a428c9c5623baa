"""The door: ``with initcfg.deferred(): model = MyModel()``."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from initcfg._model import LAZY, RUN_ONE_BATCH, buffers_of, children_of, fewer_collections, parameters_of
from initcfg._record.guard import close_pending
from initcfg._record.pending import Default, note_chances, note_defaults, note_rest, set_default
from initcfg._record.recording import (
    DrawOrder,
    Outcome,
    Recorder,
    Session,
    TrackedStorage,
    current_session,
    outcomes_of,
)
from initcfg._record.rest import Rest
from initcfg.errors import BuildError, LazyParameterError, as_annotated
from initcfg.values import Computed

# Pending parameters up to this size hold NaN, so that reading one by accident shows.
_POISONED_BYTES = 1 << 14
_NEVER_LAZY = (torch.Tensor, nn.Parameter)


@as_annotated(BuildError)
class deferred:
    """Build a model without writing its weights: its constructor's writes become the plan's defaults.

    Inside, ``torch.nn.init`` functions and in-place operations that fill a parameter are recorded, and
    memory is handed out untouched. A weight that the constructor reads is computed there and then
    (:class:`initcfg.values.Computed`). Buffers are real when the context ends. After it, the model is
    *pending*: using it is an error until its plan was applied.

    Args:
        guard: Whether to close the pending model's doors: calling it, its ``state_dict``, moving,
            copying or pickling it. The model's tensors themselves cannot be guarded.

    Raises:
        BuildError: Contexts are nested.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> with initcfg.deferred():
        ...     model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        >>> plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
        >>> print(plan["0.weight"].value, plan["1.weight"].value)
        Normal(mean=0, std=0.02) Constant(1)
        >>> ledger = plan.apply(model, seed=0)
        >>> model[1].weight.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, *, guard: bool = True) -> None:
        self._guard = guard
        self._modules: dict[int, weakref.ref[nn.Module]] = {}
        self._chances: dict[str, None] = {}

    def __enter__(self) -> deferred:
        if current_session() is not None:
            raise BuildError(
                "A deferred build was begun inside of another.",
                fix="Remove the inner initcfg.deferred().",
            )
        self._begin()
        with contextlib.ExitStack() as opened:
            opened.enter_context(fewer_collections())
            self._session.__enter__()
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            self._session.__exit__(kind, error, trace)
            # After an error the model is lost, and its records with it.
            if error is None:
                self._finish()

    def _begin(self) -> None:
        self._modules.clear()
        self._chances.clear()
        self._order = DrawOrder()
        self._recorder = Recorder(self._order)
        self._order.follow(self._recorder)
        self._session = Session(
            self._recorder,
            on_module=self._note_module,
            on_chance=lambda chance: self._chances.update({chance: None}),
            on_generator=self._order.handed_to_code,
        )

    def _note_module(self, module: nn.Module) -> None:
        known = self._modules.get(id(module))
        if known is None or known() is not module:
            # Not known, or in the place of one that is gone.
            self._modules[id(module)] = weakref.ref(module)

    def _finish(self) -> None:
        recorder, modules = self._recorder, self._all_modules()
        _refuse_lazy(modules)
        note_chances(modules, self._chances)
        # By ``id``: torch hashes tensors in Python.
        parameters = {id(each): each for module in modules for each in _parameters(module)}
        storages = {
            key: tracked
            for key, parameter in parameters.items()
            if (tracked := recorder.tracked(parameter)) is not None
        }
        parametrizations = [module for module in modules if isinstance(module, ParametrizationList)]
        originals = {id(each) for module in parametrizations for each in _parameters(module)}
        outcomes = outcomes_of(recorder, {key: parameters[key] for key in storages if key not in originals})
        for key in self._drawn_elsewhere(modules, storages, outcomes):
            outcomes[key] = replace(outcomes[key], value=None, draft=None, sources=(), uses=frozenset())
        waiting = {
            key: storages[key]
            for key, outcome in outcomes.items()
            if outcome.value is not None and storages[key].pending
        }
        # What is not a parameter, and what cannot be said as a value.
        left = set(waiting.values())
        recorder.compute([each for each in recorder.unfinished() if each not in left])
        for module in modules:
            self._clear_workspace(module)
        self._order.end()
        replay = Rest(recorder, self._order, waiting.values(), storages.values())
        for key, outcome in outcomes.items():
            parameter = parameters[key]
            if outcome.value is None and outcome.written:
                if recorder.is_random(parameter):
                    outcome = replace(outcome, value=Computed(outcome.code))
                elif not outcome.partly:
                    # It holds what its constructor wrote.
                    continue
            set_default(parameter, Default(outcome, replay))
        if not waiting and replay.matters:
            note_rest(modules, replay)
        for module in modules:
            note_defaults(module)
        if self._guard:
            _poison(parameters[key] for key in waiting)
            # What a parametrization computes from, planning looks at.
            inner = {id(each) for module in parametrizations for each in module.modules()}
            close_pending([module for module in modules if id(module) not in inner])

    def _drawn_elsewhere(
        self, modules: list[nn.Module], storages: dict[int, TrackedStorage], outcomes: dict[int, Outcome]
    ) -> list[int]:
        """Parameters that share random numbers with what is real when the context ends, and are real too."""
        held = {
            id(tensor): tracked
            for module in modules
            for tensor in (*vars(module).values(), *buffers_of(module).values())
            if isinstance(tensor, torch.Tensor) and (tracked := self._recorder.tracked(tensor)) is not None
        }
        real = [key for key in storages if key not in outcomes or outcomes[key].value is None]
        stored = {key: [tracked] for key, tracked in (*storages.items(), *held.items())}
        found = self._recorder.log.sharing(stored, [*real, *held])
        return [key for key in outcomes if key in found]

    def _clear_workspace(self, module: nn.Module) -> None:
        """Buffers that are stored and that nobody wrote hold zeros, not what the memory held."""
        for name, buffer in module._buffers.items():
            tracked = None if buffer is None else self._recorder.tracked(buffer)
            if buffer is None or tracked is None or name in module._non_persistent_buffers_set:
                continue
            if not (tracked.writers or tracked.foreign or tracked.exposed):
                with torch.no_grad():
                    buffer.zero_()

    def _all_modules(self) -> list[nn.Module]:
        found: dict[int, nn.Module] = {}
        todo = [module for each in self._modules.values() if (module := each()) is not None]
        todo.reverse()
        while todo:
            module = todo.pop()
            if id(module) not in found:
                found[id(module)] = module
                children = [each for each in children_of(module).values() if each is not None]
                todo += [each for each in reversed(children) if id(each) not in found]
        return list(found.values())


def _parameters(module: nn.Module) -> list[nn.Parameter]:
    return [each for each in parameters_of(module).values() if each is not None]


def _poison(waiting: Iterable[nn.Parameter]) -> None:
    """Small parameters that wait for their numbers hold NaN."""
    with torch.no_grad():
        for parameter in waiting:
            small = parameter.numel() * parameter.element_size() <= _POISONED_BYTES
            if small and not parameter.is_inference():
                parameter.fill_(float("nan"))


def _refuse_lazy(modules: list[nn.Module]) -> None:
    """A lazy layer writes its weights when it sees data, which a model without weights is not shown."""
    if not any(
        each is not None and type(each) not in _NEVER_LAZY and is_lazy(each)
        for module in modules
        for each in (*parameters_of(module).values(), *buffers_of(module).values())
    ):
        return
    tensors = (each for module in modules for each in (*module.named_parameters(), *module.named_buffers()))
    # The model's own name for it is the longest.
    lazy = max((name for name, tensor in tensors if is_lazy(tensor)), key=len, default=None)
    if lazy is not None:
        raise LazyParameterError(
            LAZY,
            parameter=lazy,
            fix=f"{RUN_ONE_BATCH[:-12]}, outside of initcfg.deferred() and initcfg.build(); then plan.",
        )
