"""What a Runner of MMEngine does in other ways: building its model, and initializing it."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

import initcfg
from initcfg._stream.writing import seeded
from initcfg.errors import log
from initcfg.integrations.initialization import Initialization
from initcfg.integrations.mmengine.hook import InitHook
from initcfg.integrations.mmengine.library import dist, is_model_wrapper, runner, strategies
from initcfg.integrations.mmengine.settings import Settings, settings_in

_originals: dict[tuple[Any, str], Any] = {}
_initialized: weakref.WeakKeyDictionary[Any, Initialization] = weakref.WeakKeyDictionary()
_runners: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()
"""The FlexibleRunner of a strategy, which builds and initializes the model, and knows no config."""


def take_over() -> None:
    """Have every Runner initialize by initcfg from now on; a second call changes nothing."""
    if _originals:
        return
    replacements: list[tuple[Any, str, Any]] = [
        (runner.Runner, "build_model", _build_model),
        (runner.Runner, "_init_model_weights", _init_model_weights),
    ]
    if strategies is not None:
        replacements += [
            (runner.FlexibleRunner, "build_strategy", _build_strategy),
            (strategies.BaseStrategy, "build_model", _build_model_of_strategy),
            (strategies.BaseStrategy, "_init_model_weights", _init_model_of_strategy),
        ]
    for cls, name, new in replacements:
        _originals[cls, name] = getattr(cls, name)
        setattr(cls, name, functools.update_wrapper(new, _originals[cls, name]))


def hand_back() -> None:
    """Have Runners initialize as MMEngine does again."""
    for (cls, name), original in _originals.items():
        setattr(cls, name, original)
    _originals.clear()


def _build_model(self: Any, model: Any) -> Any:
    original = _originals[runner.Runner, "build_model"]
    return _built(self, model, functools.partial(original, self))


def _init_model_weights(self: Any) -> None:
    """Initialize by initcfg what the Runner would have initialized, and register what keeps the account."""
    _initialize(self, self.model.module if is_model_wrapper(self.model) else self.model)


def _build_strategy(self: Any, *arguments: Any, **named: Any) -> Any:
    """Remember whose strategy it is."""
    made = _originals[runner.FlexibleRunner, "build_strategy"](self, *arguments, **named)
    _runners[made] = weakref.ref(self)
    return made


def _build_model_of_strategy(self: Any, model: Any) -> Any:
    original = functools.partial(_originals[strategies.BaseStrategy, "build_model"], self)
    of = _runner_of(self)
    return original(model) if of is None else _built(of, model, original)


def _init_model_of_strategy(self: Any, model: Any) -> Any:
    """Before the strategy wraps it, by DDP, FSDP or DeepSpeed."""
    of = _runner_of(self)
    if of is None or not self.dispatch_kwargs.get("init_weights_for_test_or_val", True):
        return _originals[strategies.BaseStrategy, "_init_model_weights"](self, model)
    _initialize(of, model.module if is_model_wrapper(model) else model)
    return model


def _runner_of(strategy: Any) -> Any:
    """The FlexibleRunner of a strategy; None where a checkpoint is to give all weights, or it has none."""
    known = _runners.get(strategy)
    return None if known is None or getattr(strategy, "skip_init_weights", False) else known()


def _built(of: Any, model: Any, original: Callable[[Any], Any]) -> Any:
    """Build as the Runner does; what constructors draw comes from the stream, if the rest does."""
    settings = settings_in(of.cfg)
    if isinstance(model, nn.Module) or settings.rng == "torch":
        return original(model)
    seed = _seed(of, settings)
    # As initcfg.build does it: the same numbers, whatever was drawn before.
    with seeded(seed, ""), initcfg.deferred(guard=False):
        built = original(model)
    # The Runner moves it and may convert it before it is initialized, so it gets its constructors' values.
    initcfg.initialize(built, [], seed=seed)
    return built


def _initialize(of: Any, module: nn.Module) -> None:
    settings = settings_in(of.cfg)
    if settings.compat is not None and not hasattr(module, "init_weights"):
        return
    start = _initialized.get(of)
    if start is not None and start.is_done(module):
        log("The model was initialized before, and stays as it is.")
        return
    seed = settings.seed if settings.rng == "torch" else _seed(of, settings)
    start = Initialization(
        settings.init_cfg,
        seed=seed,
        rng=settings.rng,
        compat=settings.compat,
        strict=settings.strict,
        roles=settings.roles,
    )
    started = start.carry_out(module)
    _initialized[of] = start
    for tensor in module.state_dict().values():
        # As the Runner does it: buffers and what is frozen, too.
        with contextlib.suppress(AttributeError):
            dist.broadcast(tensor)
    of.register_hook(InitHook(started), priority=InitHook.priority)
    said = " by rules around it" if settings.init_cfg else ""
    log("initcfg initialized the model%s: %s", said, started.ledger)


def _seed(self: Any, settings: Settings) -> int:
    """The seed of the key, else that of the run, which all ranks have."""
    return int(self.seed if settings.seed is None else settings.seed)
