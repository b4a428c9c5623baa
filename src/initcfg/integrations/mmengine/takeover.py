"""What a Runner of MMEngine does in other ways: building its model, and initializing it."""

from __future__ import annotations

import contextlib
import functools
import weakref
from typing import Any

from torch import nn

import initcfg
from initcfg._stream.writing import seeded
from initcfg.errors import log
from initcfg.integrations.initialization import Initialization
from initcfg.integrations.mmengine.hook import InitHook
from initcfg.integrations.mmengine.library import dist, is_model_wrapper, runner
from initcfg.integrations.mmengine.settings import Settings, settings_in

_originals: dict[tuple[str, str], Any] = {}
_initialized: weakref.WeakKeyDictionary[Any, Initialization] = weakref.WeakKeyDictionary()


def take_over() -> None:
    """Have every Runner initialize by initcfg from now on; a second call changes nothing."""
    if _originals:
        return
    replacements: dict[tuple[str, str], Any] = {
        ("Runner", "build_model"): _build_model,
        ("Runner", "_init_model_weights"): _init_model_weights,
        ("FlexibleRunner", "train"): _train_flexible,
    }
    for (kind, name), new in replacements.items():
        cls = getattr(runner, kind, None)
        if cls is not None:
            _originals[kind, name] = getattr(cls, name)
            setattr(cls, name, functools.update_wrapper(new, _originals[kind, name]))


def hand_back() -> None:
    """Have Runners initialize as MMEngine does again."""
    for (kind, name), original in _originals.items():
        setattr(getattr(runner, kind), name, original)
    _originals.clear()


def _train_flexible(self: Any) -> Any:
    """Train as it is, and say that the weights are none of ours: a strategy initializes its model."""
    log("A FlexibleRunner initializes its model by itself: initcfg takes over MMEngine's Runner alone.")
    return _originals["FlexibleRunner", "train"](self)


def _build_model(self: Any, model: Any) -> Any:
    """Build as the Runner does; what constructors draw comes from the stream, if the rest does."""
    original = _originals["Runner", "build_model"]
    settings = settings_in(self.cfg)
    if isinstance(model, nn.Module) or settings.rng == "torch":
        return original(self, model)
    seed = _seed(self, settings)
    # As initcfg.build does it: the same numbers, whatever was drawn before.
    with seeded(seed, ""), initcfg.deferred(guard=False):
        built = original(self, model)
    # The Runner moves it and may convert it before it is initialized, so it gets its constructors' values.
    initcfg.initialize(built, [], seed=seed)
    return built


def _init_model_weights(self: Any) -> None:
    """Initialize by initcfg what the Runner would have initialized, and register what keeps the account."""
    module = self.model.module if is_model_wrapper(self.model) else self.model
    settings = settings_in(self.cfg)
    if settings.compat is not None and not hasattr(module, "init_weights"):
        return
    start = _initialized.get(self)
    if start is not None and start.is_done(module):
        log("The model was initialized before, and stays as it is.")
        return
    seed = settings.seed if settings.rng == "torch" else _seed(self, settings)
    start = Initialization(
        settings.init_cfg,
        seed=seed,
        rng=settings.rng,
        compat=settings.compat,
        strict=settings.strict,
        roles=settings.roles,
    )
    started = start.carry_out(module)
    _initialized[self] = start
    for tensor in module.state_dict().values():
        # As the Runner does it: buffers and what is frozen, too.
        with contextlib.suppress(AttributeError):
            dist.broadcast(tensor)
    self.register_hook(InitHook(started), priority=InitHook.priority)
    said = " by rules around it" if settings.init_cfg else ""
    log("initcfg initialized the model%s: %s", said, started.ledger)


def _seed(self: Any, settings: Settings) -> int:
    """The seed of the key, else that of the run, which all ranks have."""
    return int(self.seed if settings.seed is None else settings.seed)
