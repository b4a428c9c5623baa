"""The door: ``with initcfg.deferred(): model = MyModel()``."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from initcfg import _guard
from initcfg._deferral import patches
from initcfg._deferral.held import Group, Held
from initcfg._deferral.layers import parts_of, value_of
from initcfg._deferral.recorder import Recorder, carry_out
from initcfg._deferral.regions import Region, region_of
from initcfg._pending import Default, Recording, set_default
from initcfg._values import Computed
from initcfg.errors import BuildError

# Pending parameters up to this size hold NaN, so that reading one by accident shows.
_POISONED_BYTES = 1 << 14


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
        self.recorder = Recorder()
        self._guard = guard
        self._modules: dict[int, weakref.ref[nn.Module]] = {}
        self._token = None

    def __enter__(self) -> deferred:
        if patches.current.get() is not None:
            raise BuildError(
                "A deferred build was begun inside of another.",
                mend="Take the inner initcfg.deferred() away.",
            )
        patches.install()
        self._token = patches.current.set(self)
        self.recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.recorder.__exit__(kind, error, trace)
            # After an error nobody has the model; its records go with it.
            if error is None:
                self._finish()
        finally:
            assert self._token is not None
            patches.current.reset(self._token)
            patches.remove()
            self._modules.clear()

    def note_module(self, module: nn.Module) -> None:
        """Remember a module that was made."""
        self._modules.setdefault(id(module), weakref.ref(module))

    def note_sampler(self, tensor: torch.Tensor, function: str) -> None:
        """The layers have it."""

    def _finish(self) -> None:
        modules = self._all_modules()
        parameters = {
            id(parameter): (parameter, isinstance(module, ParametrizationList))
            for module in modules
            for parameter in module._parameters.values()
            if parameter is not None
        }
        self._make_rest_real(list(parameters.values()))
        recording = Recording(_replay(self.recorder))
        for parameter, _ in parameters.values():
            default = self._default(parameter, recording)
            if default is None:
                continue
            set_default(parameter, default)
            held = self.recorder.held_by(parameter)
            small = parameter.numel() * parameter.element_size() <= _POISONED_BYTES
            if self._guard and small and held is not None and held.pending and default.value is not None:
                with torch.no_grad():
                    parameter.fill_(float("nan"))
        if self._guard:
            # What a parametrization computes from, planning looks at.
            inner = {
                id(each)
                for module in modules
                if isinstance(module, ParametrizationList)
                for each in module.modules()
            }
            for module in modules:
                if id(module) not in inner:
                    _guard.close_pending(module)

    def _make_rest_real(self, parameters: list[tuple[nn.Parameter, bool]]) -> None:
        """Compute what is no parameter, and what cannot be said as a value."""
        recorder = self.recorder
        waiting: set[int] = set()
        due: list[Group] = []
        for parameter, parametrized in parameters:
            held = recorder.held_by(parameter)
            if held is None:
                continue
            if parametrized or _unspeakable(held, region_of(parameter)):
                due.append(held.group)
            else:
                waiting.add(id(held))
        due += [held.group for held in recorder.in_use() if held.pending and id(held) not in waiting]
        recorder.compute(due)

    def _default(self, parameter: nn.Parameter, recording: Recording) -> Default | None:
        held = self.recorder.held_by(parameter)
        if held is None:
            return None
        region = region_of(parameter)
        layers = parts_of(held.layers, region)
        if layers is None:
            if held.pending or held.layers:
                return None
            return Default(None, "", {}, (), recording)
        top = layers[0]
        if held.tainted:
            return Default(Computed(top.code), top.code, top.call, (), recording)
        value = value_of(layers, region)
        if value is None:
            return None
        sources = tuple(layer.known for layer in layers)
        return Default(value, top.code, top.call, sources, recording)

    def _all_modules(self) -> list[nn.Module]:
        found: dict[int, nn.Module] = {}
        for reference in self._modules.values():
            module = reference()
            if module is not None and id(module) not in found:
                found.update((id(each), each) for each in module.modules())
        return list(found.values())


def _unspeakable(held: Held, region: Region) -> bool:
    """Whether a pending tensor must be computed: it holds something that is no Value."""
    if not held.pending:
        return False
    return value_of(held.layers, region) is None


def _replay(recorder: Recorder) -> Callable[[], None]:
    steps = recorder.steps

    def replay() -> None:
        carry_out(steps)

    return replay
