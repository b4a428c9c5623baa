"""What a command is given: a config file or a builder, as a config."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from initcfg._config.builders import OPENMMLAB, builder, is_builder, is_object, needs_no_trust, openmmlab
from initcfg._config.files import Config, ConfigDict, parse_overrides, set_path
from initcfg._config.import_paths import import_path, torch_nn_class
from initcfg._config.models import MODELS, build_model
from initcfg._config.permitted import check_types
from initcfg.errors import BuildError, InitcfgError, PythonRefusedError, UntrustedError


def load_config(
    text: str, *, overrides: Sequence[str] = (), use_python: bool = True, untrusted: bool = False
) -> Config | dict[str, Any]:
    """The config that a path or a builder means: a file's content, or ``{"type": BUILDER, **arguments}``.

    Args:
        text: Path of a config file, or a builder. A file of that very name wins.
        overrides: ``"key=value"`` pairs: they change the config, or are the builder's arguments.
        use_python: Whether configs and builders may be Python code of somebody's own.
        untrusted: See :meth:`Config.fromfile`; a builder may then be one of an installed library only.

    Example:
        >>> from initcfg._config import load_config
        >>> load_config("timm:resnet18", overrides=["num_classes=10"])
        {'type': 'timm:resnet18', 'num_classes': 10}
    """
    values = parse_overrides(overrides)
    if not is_builder(text) or os.path.exists(text):
        return Config.fromfile(text, use_python=use_python, overrides=values, untrusted=untrusted)
    if untrusted and not needs_no_trust(text):
        raise UntrustedError(
            f"The builder {text!r} is code or a file, and neither is trusted.",
            fix="Leave out --untrusted (untrusted=True) if you trust it.",
        )
    if text.partition(":")[0] in OPENMMLAB:
        return Config.fromfile(openmmlab.config_file(text), use_python=use_python, overrides=values)
    if is_object(text) and not use_python:
        raise PythonRefusedError(
            f"The builder {text!r} is Python code, and running code was refused.",
            fix="Allow Python if you trust it.",
        )
    if "type" in values:
        raise BuildError(f"The builder is {text!r}, so 'type' cannot be one of its arguments.")
    arguments = ConfigDict()
    for path, value in values.items():
        arguments = set_path(arguments, path, value)
    return {"type": text, **arguments}


@contextlib.contextmanager
def prepared(config: Any, cfg: Mapping[str, Any]) -> Iterator[None]:
    """Import what the builders in a model's config need, outside of what records; then build within.

    A config of mmdet and its relatives, whose ``type`` is not one of ours, has the package's scope within.
    """
    check_types(cfg, MODELS)
    for name in _names(cfg):
        if is_builder(name) and MODELS._registered(name) is None:
            # What is wrong is said where the name is resolved.
            with contextlib.suppress(InitcfgError):
                builder(name, build_model)
    with contextlib.ExitStack() as stack:
        type_ = cfg.get("type")
        if isinstance(type_, str) and not is_builder(type_) and not _is_ours(type_):
            scope = openmmlab.scope_of(config, cfg)
            if scope is not None:
                openmmlab.import_models(scope)
                stack.enter_context(openmmlab.default_scope(scope))
        yield


def _is_ours(type_: str) -> bool:
    if MODELS._registered(type_) is not None:
        return True
    return import_path(type_)[0] is not None if "." in type_ else torch_nn_class(type_) is not None


def _names(node: Any) -> Iterator[str]:
    """Every ``type`` in a config that is a text."""
    if isinstance(node, Mapping) and isinstance(node.get("type"), str):
        yield node["type"]
    if isinstance(node, (Mapping, list, tuple)):
        for child in node.values() if isinstance(node, Mapping) else node:
            yield from _names(child)
