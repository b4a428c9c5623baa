"""Keys of a config that look like ones with a meaning, and that nothing reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from initcfg._config.files import Config

_READ = ("model", "imports", "custom_imports", "roles", "example", "default_scope")
# Nearer than two keys of a real config come to one of these by chance.
_NEAR = 0.8


def idle_keys(config: Any) -> Iterator[str]:
    """Words on a top-level key that was perhaps meant to be another, and of rules that no model has.

    Other keys are for other programs, which read the same file.

    Example:
        >>> from initcfg import Config
        >>> from initcfg._config.idle_keys import idle_keys
        >>> list(idle_keys(Config(dict(model=dict(type="Linear"), role={}, train={}))))
        ["Nothing reads the config's key 'role'. Did you mean 'roles'?"]
    """
    if not isinstance(config, Mapping) or "model" not in config:
        return
    for key in config:
        if not isinstance(key, str) or key in _READ:
            continue
        place = config.where(key) if isinstance(config, Config) else None
        where = f" ({place})" if place else ""
        for meant in difflib.get_close_matches(key, _READ, 1, _NEAR):
            if meant not in config:
                yield f"Nothing reads the config's key {key!r}. Did you mean {meant!r}?{where}"
        if _is_init_cfg(key) and not any(each == config[key] for each in _inner(config["model"])):
            yield f"Nothing reads the config's key {key!r}: rules stand in the model, model.init_cfg.{where}"


def _is_init_cfg(key: str) -> bool:
    return bool(difflib.get_close_matches(key, ["init_cfg"], 1, _NEAR))


def _inner(node: Any) -> Iterator[Any]:
    """All values in a config."""
    yield node
    for child in (
        node.values() if isinstance(node, Mapping) else node if isinstance(node, (list, tuple)) else ()
    ):
        yield from _inner(child)
