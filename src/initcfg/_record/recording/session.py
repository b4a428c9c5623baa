"""The context in which other people's code is recorded: a dispatch mode, and patches.

These are for what no mode sees: samplers that look at what they drew, and methods that read memory. They are
there while some thread records; in other threads, but for those that the code starts, they do what was there
before.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.utils.dlpack
from torch import nn

from initcfg._model import give_body, original_of
from initcfg._record.process_wide import ProcessWide, replace_attribute
from initcfg._record.recording.chance import keep_watching, told_of_chance, watch_nothing
from initcfg._record.recording.erfinv_functions import OPERATIONS, erfinv_functions, erfinv_value
from initcfg._record.recording.handed_out import keep_telling, tell_nobody, told_of_memory
from initcfg._record.recording.loads import load_noted
from initcfg._record.recording.origin import code_that_writes
from initcfg._record.recording.recorder import Recorder
from initcfg._record.recording.threads import Followed, follow_nothing, keep_following, threads_follow
from initcfg._record.registrations import listen
from initcfg._stream.writing import answers_who_records, lock
from initcfg.errors import PlanError, also
from initcfg.values import Dirac, Eye, Orthogonal, Sparse, TruncNormal, Value, shape_problem

# Methods that read the memory.
_READERS = ("tolist", "__deepcopy__", "__reduce_ex__", "__repr__", "__format__")
OWN_WRITE = "initcfg.apply"
"""What a write of this package's is called among operations."""
_OF_GENERATORS = ("manual_seed", "seed", "initial_seed", "set_rng_state", "get_rng_state")


class OwnGenerator:
    """A state of torch's CPU generator, for what recorded code draws.

    Calling it gives a context within which the process's generator has that state, for whichever operation
    of the log. The methods do to it what
    torch's functions of these names do to the process's. ``touched`` is where code seeded it, or read or set
    its state; None if it only drew.
    """

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)
        self.touched: str | None = None

    @contextlib.contextmanager
    def __call__(self, index: int = 0) -> Iterator[None]:
        generator = torch.default_generator
        with lock:
            before = generator.get_state()
            generator.set_state(self._state)
            try:
                yield
            finally:
                self._state = generator.get_state()
                generator.set_state(before)

    def manual_seed(self, seed: int) -> torch.Generator:
        self._state = torch.Generator().manual_seed(seed).get_state()
        return torch.default_generator

    def seed(self) -> int:
        return self.manual_seed(0).initial_seed()

    def initial_seed(self) -> int:
        generator = torch.Generator()
        generator.set_state(self._state)
        return generator.initial_seed()

    def set_rng_state(self, new_state: torch.Tensor) -> None:
        self._state = new_state.clone()

    def get_rng_state(self) -> torch.Tensor:
        return self._state.clone()


def _ignored(*_: object) -> None:
    pass


@dataclass(eq=False)
class Session(contextlib.ExitStack):
    """Within this, what code of this thread, and of those that it starts, writes goes to a recorder.

    ``on_sampler`` is told of each call of a sampler, which no dispatch mode sees; ``on_module`` of each
    module that is made; ``on_chance``, if it is given, of what torch's generator does not decide, and of
    loads that load next to nothing.

    The code seeds and draws from the generator; None is the process's own, which it gets hold of within
    ``on_generator`` (where it sets that; None if it only reads it). With ``stops_threads``, threads that
    outlive the code are ended.
    """

    recorder: Recorder
    generator: OwnGenerator | None = None
    on_sampler: Callable[[torch.Tensor, str], None] = _ignored
    on_module: Callable[[nn.Module], None] = _ignored
    on_chance: Callable[[str], None] | None = None
    on_generator: Callable[[str | None], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    stops_threads: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.followed = Followed(self.recorder, stops=self.stops_threads)

    def __enter__(self) -> Session:
        self.enter_context(_patches.needed(self))
        self.enter_context(
            told_of_memory(lambda tensor: self.recorder.make_real(tensor, exposing=True, looking=True))
        )
        if self.on_chance is not None:
            self.enter_context(told_of_chance(self.on_chance))
            self.callback(self._tell_of_threads, self.on_chance)
        self.enter_context(threads_follow(self.followed))
        self.enter_context(self.recorder)
        return self

    def note_write(
        self,
        tensor: torch.Tensor,
        value: Value | None,
        write: Callable[[torch.Tensor], object],
        **facts: Any,
    ) -> None:
        """This package writes a tensor, which no dispatch mode sees."""
        self.recorder.note_write(tensor, value, write, **facts)
        self.on_sampler(tensor, OWN_WRITE)

    def note_draw(self, draw: Callable[[], object]) -> None:
        """Code draws a seed from the generator."""
        self.recorder.note_draw(draw)

    def _tell_of_threads(self, tell: Callable[[str], None]) -> None:
        for place in self.followed.unfinished:
            tell(f"{place} starts a thread that goes on after it: what that writes later is not in the plan")


@contextlib.contextmanager
def ready_to_record() -> Iterator[None]:
    """Within this, sessions that follow each other find what they patch in place: nothing is recorded yet."""
    kept = keep_telling(), keep_watching(), keep_following()
    with _patches.needed(_patches.here()), kept[0], kept[1], kept[2]:  # type: ignore[arg-type]
        yield


@contextlib.contextmanager
def set_aside(*, draws: bool = False) -> Iterator[None]:
    """Within this, nothing of this thread is recorded; ``draws``: it draws as the recorded code would.

    Who writes what the record knows says so before and after (:meth:`Recorder.begin_write`).
    """
    session = current_session()
    if session is None:
        yield
        return
    recorder = session.recorder
    with (
        recorder.lock,
        recorder.drawing() if draws else contextlib.nullcontext(),
        _patches.needed(None),  # type: ignore[arg-type]
        tell_nobody(),
        watch_nothing(),
        follow_nothing(),
        recorder.passed_by(),
    ):
        yield


def current_session() -> Session | None:
    """What records the code of this thread; None if nothing does."""
    return _patches.here()


def _who_records() -> Session | None:
    session = current_session()
    # What a recorder does itself is done.
    return None if session is None or session.recorder.passes else session


answers_who_records(_who_records)


def _install(undo: contextlib.ExitStack) -> None:
    for name, meaning in _SAMPLERS.items():
        _replace_code(undo, getattr(nn.init, name), functools.partial(_sample, meaning))
    for function in erfinv_functions():
        _replace_code(undo, function, _truncate)
    for home in ("mmengine.model.weight_init", "mmcv.cnn.utils.weight_init"):
        compares = getattr(sys.modules.get(home), "update_init_info", None)
        if compares is not None:
            _replace_code(undo, compares, _leave_out)

    def patch(owner: Any, name: str, instead: Callable[..., Any]) -> None:
        replace_attribute(undo, owner, name, _while_recorded(getattr(owner, name), instead))

    for name in _READERS:
        patch(torch.Tensor, name, _read)
    for home in (torch, torch.random):
        for name in _OF_GENERATORS:
            patch(home, name, functools.partial(_use_generator, name))
    for home, name in (
        (torch, "from_numpy"),
        (torch, "frombuffer"),
        (torch, "from_dlpack"),
        (torch.utils.dlpack, "from_dlpack"),
    ):
        patch(home, name, _fresh)
    for name in ("tensor", "as_tensor", "asarray"):
        patch(torch, name, functools.partial(_of_numbers, name != "tensor"))
    patch(torch.Tensor, "new_tensor", functools.partial(_of_numbers, False))
    for name in ("trace", "trace_module"):
        patch(torch.jit, name, _traced)
    patch(nn.Module, "__setstate__", _set_state)
    patch(nn.Module, "load_state_dict", _load)
    undo.callback(listen(parameters=_registered, modules=_registered))


_patches: ProcessWide[Session] = ProcessWide(_install)


def _while_recorded(original: Callable[..., Any], instead: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls ``instead(session, original, ...)`` where code is recorded."""

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        session = current_session()
        return original(*args, **kwargs) if session is None else instead(session, original, *args, **kwargs)

    return function


def _replace_code(undo: contextlib.ExitStack, function: Any, instead: Callable[..., Any]) -> None:
    """Give a function another body where code is recorded."""
    undo.callback(give_body(function, _while_recorded(original_of(function), instead)))


# Functions of torch.nn.init that cannot be followed operation by operation, and what their arguments say.
_SAMPLERS: dict[str, Callable[..., Value]] = {
    "_no_grad_trunc_normal_": lambda mean, std, a, b, generator=None: TruncNormal(
        *map(float, (mean, std, a, b))
    ),
    "orthogonal_": lambda gain=1, generator=None: Orthogonal(float(gain)),
    "sparse_": lambda sparsity, std=0.01, generator=None: Sparse(float(sparsity), float(std)),
    "dirac_": lambda groups=1: Dirac(int(groups)),
    "eye_": lambda: Eye(),  # noqa: PLW0108 - eye_ takes no argument, and Eye takes one
}


def _sample(
    meaning: Callable[..., Value],
    session: Session,
    original: Callable[..., Any],
    tensor: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    # What a sampler refuses, it shall refuse itself.
    value = None
    if kwargs.get("generator") is None:
        with contextlib.suppress(TypeError, ValueError):
            value = meaning(*args, **kwargs)
    if (
        value is None
        or shape_problem(value, tuple(tensor.shape)) is not None
        or not session.recorder.record_sampler(tensor, value, lambda alias: original(alias, *args, **kwargs))
    ):
        return original(tensor, *args, **kwargs)
    session.on_sampler(tensor, f"nn.init.{original.__name__.removeprefix('_no_grad_')}")
    return tensor


def _truncate(session: Session, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    tensor, *numbers = args or (None,)
    value = None
    if len(numbers) == 4 and not kwargs and all(type(each) in (int, float) for each in numbers):
        value = erfinv_value(*numbers)
    if (
        value is None
        or not isinstance(tensor, torch.Tensor)
        or (tensor.requires_grad and torch.is_grad_enabled() and not _without_gradient(original))
        or not session.recorder.record_sampler(
            tensor, replace(value), lambda alias: original(alias, *numbers)
        )
    ):
        return original(*args, **kwargs)
    for operation in OPERATIONS:
        session.on_sampler(tensor, f"aten.{operation}")
    return tensor


def _without_gradient(function: Callable[..., Any]) -> bool:
    """Whether a function turns gradients off itself; else autograd refuses what it does to a leaf."""
    return "no_grad" in function.__code__.co_names


def _traced(session: Session, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Where something is followed, torch traces the recorder's own operations, too, and its check fails."""
    try:
        return original(*args, **kwargs)
    except RuntimeError as error:
        raise also(PlanError, error)(
            f"torch.jit.{original.__name__} failed while this code was recorded: both follow each operation.",
            fix="Trace it when the model has been built, or take torch.jit.script, which reads the code.",
        ) from error


def _leave_out(*_: Any, **__: Any) -> None:
    """MMEngine compares the mean of every parameter with an earlier one, only to say so in its log."""


def _read(session: Session, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    session.recorder.make_real(args[0], looking=True)
    return original(*args, **kwargs)


def _use_generator(
    name: str, session: Session, original: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """What code does to torch's generator is done to its own."""
    function = original
    origin = code_that_writes()
    if session.generator is not None:
        session.generator.touched = session.generator.touched or f"{origin.place} {origin.code}"
        function = getattr(session.generator, name)
    elif session.on_chance is not None and name in ("manual_seed", "seed", "set_rng_state"):
        session.on_chance(f"{origin.place} {origin.code} sets torch's generator (torch.{name})")
    if session.generator is None and name != "initial_seed":
        with session.on_generator(None if name == "get_rng_state" else origin.place):
            made = function(*args, **kwargs)
    else:
        made = function(*args, **kwargs)
    given: Any = (*args, *kwargs.values(), None)[0]
    repeats = session.recorder.repeats
    if name == "get_rng_state":
        repeats.saved(made)
    elif name == "set_rng_state":
        repeats.restored(given)
    elif name != "initial_seed":
        repeats.seeded(given)
    return made


def _load(session: Session, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return load_noted(session.on_chance or _ignored, original, *args, **kwargs)


def _fresh(session: Session, original: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
    tensor = original(*args, **kwargs)
    session.recorder.track_foreign(tensor, fresh=True, outside=True)
    return tensor


def _of_numbers(
    shares: bool, session: Session, original: Callable[..., Any], *args: Any, **kwargs: Any
) -> torch.Tensor:
    """A list of tensors becomes one tensor: their numbers are read where no dispatch mode sees it.

    What is made of a NumPy array may share its memory.
    """
    items: list[Any] = [each for each in (*args, *kwargs.values()) if isinstance(each, (list, tuple))]
    for item in items:
        if isinstance(item, torch.Tensor):
            session.recorder.make_real(item, looking=True)
        elif isinstance(item, (list, tuple)):
            items += item
    tensor = original(*args, **kwargs)
    if shares and not isinstance(args[0] if args else None, torch.Tensor):
        session.recorder.track_foreign(tensor, fresh=True, outside=True)
    return tensor


def _set_state(
    session: Session, original: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any
) -> None:
    original(module, *args, **kwargs)
    session.on_module(module)


def _registered(module: nn.Module, name: str, item: Any) -> None:
    session = current_session()
    if session is not None:
        session.on_module(module)
        if isinstance(item, nn.Module):
            session.on_module(item)
