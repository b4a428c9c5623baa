"""What no dispatch mode sees: samplers that look at what they drew, and doors to the bare memory.

Installed while some thread builds deferred, and taken back after; other threads go through to what was
there before.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from initcfg._record.recording.origin import code_that_writes
from initcfg.values import kinds, shape_problem

if TYPE_CHECKING:
    from initcfg._record.recording.session import Session


_current: ContextVar[Session | None] = ContextVar("initcfg_session", default=None)


def current_session() -> Session | None:
    """What records the code of this thread; None if nothing does."""
    return _current.get()


# Methods that read the memory, and those that hand it out.
_READERS = ("tolist", "__deepcopy__", "__reduce_ex__", "__repr__", "__format__")
_DOORS = ("numpy", "data_ptr", "storage", "share_memory_", "__dlpack__")
_lock = threading.RLock()
_users = 0
_undo: list[Callable[[], None]] = []


@contextlib.contextmanager
def patched(session: Session) -> Iterator[None]:
    """Within this, what no dispatch mode sees of this thread's code reaches the session.

    The patches are there as long as any thread needs them; in other threads they do what was there before.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _install()
    token = _current.set(session)
    try:
        yield
    finally:
        _current.reset(token)
        with _lock:
            _users -= 1
            if _users == 0:
                while _undo:
                    _undo.pop()()


def _install() -> None:
    for name, sampler in _samplers().items():
        _replace_function(
            getattr(nn.init, name), lambda original, sampler=sampler: _recording(original, sampler)
        )
    for name in (*_READERS, *_DOORS):
        _replace(torch.Tensor, name, _reading(getattr(torch.Tensor, name), exposing=name in _DOORS))
    for home in (torch, torch.random):
        _replace(home, "manual_seed", _aside(torch.manual_seed, lambda own, seed: own.manual_seed(seed)))
        _replace(home, "seed", _aside(torch.seed, lambda own: own.manual_seed(0).initial_seed()))
        _replace(home, "set_rng_state", _aside(torch.set_rng_state, lambda own, new: own.set_state(new)))
        _replace(home, "get_rng_state", _aside(torch.get_rng_state, lambda own: own.get_state()))
    for home in (torch, torch.random):
        _replace(home, "initial_seed", _aside(torch.initial_seed, lambda own: own.initial_seed()))
    _replace(torch, "from_numpy", _fresh(torch.from_numpy))
    for owner, name in ((torch, "tensor"), (torch, "as_tensor"), (torch, "asarray")):
        _replace(owner, name, _of_numbers(getattr(owner, name)))
    _replace(torch.Tensor, "new_tensor", _of_numbers(torch.Tensor.new_tensor))
    for home in ("mmengine.model.weight_init", "mmcv.cnn.utils.weight_init"):
        compares = getattr(sys.modules.get(home), "update_init_info", None)
        if compares is not None:
            _replace_function(compares, _left_out)
    _replace(nn.Module, "__setstate__", _noting(nn.Module.__setstate__))
    register = nn.modules.module
    for hook in (
        register.register_module_parameter_registration_hook(_registered),
        register.register_module_module_registration_hook(_registered),
    ):
        _undo.append(hook.remove)


def _replace(owner: Any, name: str, new: Any) -> None:
    own = vars(owner).get(name)
    setattr(owner, name, new)
    _undo.append(lambda: delattr(owner, name) if own is None else setattr(owner, name, own))


def _replace_function(function: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Give a function another body, so that it is found by whatever name it was imported under."""
    code = function.__code__
    original = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__)
    original.__kwdefaults__ = function.__kwdefaults__
    wrapped = wrap(original)
    body: dict[str, Any] = {}
    exec("def body(*args, **kwargs):\n    function = 'wrapped'\n    return function(*args, **kwargs)", body)
    new = body["body"].__code__
    # The wrapper is a constant of the code: no name is added anywhere.
    constants = tuple(wrapped if each == "wrapped" else each for each in new.co_consts)

    def undo() -> None:
        function.__code__ = code

    # One assignment, so that no other thread sees half of it; a body without names of its own arguments
    # has no use for the defaults, which stay.
    function.__code__ = new.replace(co_consts=constants, co_filename=__file__, co_name=function.__name__)
    _undo.append(undo)


class Sampler(NamedTuple):
    """A function of torch.nn.init that cannot be followed operation by operation.

    Attributes:
        value: Its arguments to a value.
        takes: Whether it takes a tensor; what it refuses, it shall refuse itself.
    """

    value: Callable[..., kinds.Value]
    takes: Callable[[torch.Tensor], bool]


def _samplers() -> dict[str, Sampler]:
    return {
        "_no_grad_trunc_normal_": Sampler(
            lambda mean, std, a, b, generator=None: kinds.TruncNormal(
                float(mean), float(std), float(a), float(b)
            ),
            lambda tensor: True,
        ),
        "orthogonal_": Sampler(
            lambda gain=1, generator=None: kinds.Orthogonal(float(gain)), lambda tensor: tensor.dim() >= 2
        ),
        "sparse_": Sampler(
            lambda sparsity, std=0.01, generator=None: kinds.Sparse(float(sparsity), float(std)),
            lambda tensor: tensor.dim() == 2,
        ),
        "dirac_": Sampler(lambda groups=1: kinds.Dirac(int(groups)), lambda tensor: 3 <= tensor.dim() <= 5),
        "eye_": Sampler(kinds.Eye, lambda tensor: tensor.dim() == 2),
    }


def _recording(original: Callable[..., Any], sampler: Sampler) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        session = current_session()
        if session is None or kwargs.get("generator") is not None or not sampler.takes(tensor):
            return original(tensor, *args, **kwargs)
        value = sampler.value(*args, **kwargs)
        if shape_problem(value, tuple(tensor.shape)) is not None:
            return original(tensor, *args, **kwargs)
        recorded = session.recorder.record_sampler(
            tensor, value, lambda alias: original(alias, *args, **kwargs)
        )
        if not recorded:
            return original(tensor, *args, **kwargs)
        session.on_sampler(tensor, f"nn.init.{original.__name__.removeprefix('_no_grad_')}")
        return tensor

    return function


def _reading(original: Callable[..., Any], *, exposing: bool) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        session = current_session()
        if session is not None:
            session.recorder.make_real(self, exposing=exposing, looking=True)
        return original(self, *args, **kwargs)

    return method


def _aside(original: Callable[..., Any], instead: Callable[..., Any]) -> Callable[..., Any]:
    """What code does to torch's generator, done to one of its own while it is traced."""

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        session = current_session()
        if session is None or session.generator is None:
            return original(*args, **kwargs)
        origin = code_that_writes()
        session.generator.note(f"{origin.place} {origin.code}")
        return instead(session.generator, *args, **kwargs)

    return function


def _fresh(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> torch.Tensor:
        tensor = original(*args, **kwargs)
        session = current_session()
        if session is not None:
            session.recorder.know_fresh(tensor)
        return tensor

    return function


def _of_numbers(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A list of tensors becomes one tensor: their numbers are read where no dispatch mode sees it."""

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> torch.Tensor:
        session = current_session()
        if session is not None:
            for item in (*args, *kwargs.values()):
                if isinstance(item, (list, tuple)):
                    for each in _inner(item):
                        session.recorder.make_real(each, looking=True)
        return original(*args, **kwargs)

    return function


def _inner(items: Any) -> list[torch.Tensor]:
    """The tensors in nested lists."""
    found: list[torch.Tensor] = []
    for item in items:
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif isinstance(item, (list, tuple)):
            found += _inner(item)
    return found


def _left_out(original: Callable[..., Any]) -> Callable[..., Any]:
    """MMEngine compares the mean of every parameter with an earlier one, only to say so in its log."""

    def function(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) if current_session() is None else None

    return function


def _noting(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def set_state(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        session = current_session()
        if session is not None:
            session.on_module(self)

    return set_state


def _registered(module: nn.Module, name: str, item: Any) -> None:
    session = current_session()
    if session is not None:
        session.on_module(module)
        if isinstance(item, nn.Module):
            session.on_module(item)
