"""The one door up: what a lower station has an upper one do.

A plan applies itself, a module initializes itself, an initializer can be called: the code that carries this
out is in the stations above, which these cannot import. So each such task is a :class:`Door` here. The
station that does it registers its function when it is imported (``@doors.apply_plan.leads_to``), and the one
below calls the door. Nothing here imports upward, and nothing is imported by name: the package's front,
``initcfg/__init__``, loads the upper stations as soon as anything that may need them is taken from it, even
if that is only ``Plan``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from torch import nn

Function = TypeVar("Function", bound=Callable[..., Any])


class Door:
    """A function that an upper station carries out; ``task`` is for the error where none registered."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._function: Callable[..., Any] | None = None

    def leads_to(self, function: Function) -> Function:
        """Register the function: a decorator."""
        self._function = function
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._function is None:
            raise RuntimeError(f"What {self._task} is not loaded: import it from initcfg, not from inside.")
        return self._function(*args, **kwargs)


apply_plan = Door("applies a plan")
"""``Plan.apply``."""
make_tensor = Door("makes one tensor of a plan")
"""``Plan.tensor`` and ``Ledger.tensor``."""
save_plan = Door("writes the weights of a plan to disk")
"""``Plan.save_weights``."""
export_plan = Door("turns a plan into rules")
"""``Plan.to_init_cfg``."""
recognize_plan = Door("finds the schemes that a plan amounts to")
"""``Plan.recognize``."""
init_base_module = Door("initializes a BaseModule")
"""``BaseModule.init_weights``."""
initialize = Door("initializes a module by rules")
"""The original's ``initialize``, where code of its users calls it."""
code_apart = Door("keeps the process as it was while other people's code runs")
"""A context for load hooks: ``code_apart(files=False)`` also keeps checkpoints closed."""
function_value = Door("records what a function fills a tensor with")
"""The value that a rule's function of a tensor gives one of this shape."""
call_initializer = Door("carries out an initializer")
"""``KaimingInit(layer="Conv2d")(module)``."""


class ActiveRun(Protocol):
    """The run whose user code is executing: what that code calls for is done by it."""

    @property
    def compat(self) -> bool:
        """Whether it reaches exactly what the original reaches."""
        ...

    def run_part(self, plan: Any, model: nn.Module) -> None:
        """Carry out the plan that the code called for."""

    def part_roles(self, module: nn.Module) -> Any:
        """What is known of the roles of a module's tensors in the whole model; None if nothing is."""

    def part_name(self, module: nn.Module) -> str:
        """Path of a module, for the rules found in it."""
        ...


_active: ContextVar[ActiveRun | None] = ContextVar("initcfg_run", default=None)


def active_run() -> ActiveRun | None:
    """The run whose user code is executing in this thread, if any."""
    return _active.get()


@contextlib.contextmanager
def running(run: ActiveRun) -> Iterator[None]:
    """Within this, what user code calls for comes to this run."""
    token = _active.set(run)
    try:
        yield
    finally:
        _active.reset(token)
