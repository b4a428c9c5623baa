"""Building from a config that is not trusted: what it may ask for, besides the types that it names.

The limits are far above what models have, and far below what would take a machine down.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from torch import nn

from initcfg._config.files import ConfigDict, fresh, is_untrusted, said_beside, without_working_folder
from initcfg._record import listen
from initcfg.errors import InitcfgError, UntrustedError, also, in_bytes
from initcfg.values import short

_LARGEST_NUMBER = 2**24
_MOST_MODULES = 200_000
_FIX = "Read the config, and leave out --untrusted (untrusted=True) if you trust it."


def distrusted(cfg: Mapping[str, Any]) -> ConfigDict:
    """A model's config in which every ``type`` counts as written by somebody who is not trusted."""
    return cfg if isinstance(cfg, ConfigDict) and is_untrusted(cfg) else fresh(cfg, "untrusted")


@contextlib.contextmanager
def within_limits() -> Iterator[None]:
    """Within, nothing is imported from the working folder, and so many modules are made at most.

    While a model is planned, too: a scheme builds it again, as narrow as a config says.
    """
    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > _MOST_MODULES:
            raise UntrustedError(f"This config makes more than {_MOST_MODULES:,} modules.", fix=_FIX)

    end = listen(modules=count)
    try:
        with without_working_folder():
            yield
    finally:
        end()


@contextlib.contextmanager
def distrusting(cfg: Mapping[str, Any]) -> Iterator[None]:
    """Within, a model may be built from ``cfg``.

    Raises:
        UntrustedError: It asks for too much, or its making failed.
    """
    _check_arguments(cfg)
    try:
        with within_limits():
            yield
    except InitcfgError:
        raise
    except (Exception, RecursionError) as error:
        raise also(UntrustedError, error)(
            f"The model of this config cannot be built. {type(error).__name__}: {error}"
        ) from error


def _check_arguments(cfg: Mapping[str, Any]) -> None:
    waiting: list[tuple[str, Any, bool]] = [("model", cfg, False)]
    while waiting:
        path, value, of_builder = waiting.pop()
        if isinstance(value, Mapping):
            type_ = value.get("type")
            of_builder |= isinstance(type_, str) and ":" in type_
            for key, item in value.items():
                if key not in ("type", "init_cfg"):
                    waiting.append((f"{path}.{key}", item, of_builder))
        elif isinstance(value, (list, tuple, set)):
            waiting += [(f"{path}.{index}", item, of_builder) for index, item in enumerate(value)]
        elif isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
            _refuse_number(path, value, None)
        elif of_builder and (isinstance(value, str) and ("/" in value or "\\" in value)):
            # A library may take it for a repository of a hub, or a file.
            raise UntrustedError(f"{path} is {value!r}, which may name a file or a repository.", fix=_FIX)
        elif of_builder and value and path.rpartition(".")[2].startswith(("use_pretrained", "pretrained")):
            raise UntrustedError(f"{path} asks for weights.", fix=_FIX)


def check_model(config: Any, model: nn.Module, *, in_memory: bool) -> None:
    """Raise UntrustedError where a model that was built asks for too much: by its rules, or by its size.

    Args:
        config: The config, whose folder may hold checkpoints, and whose overrides are the user's own word.
        model: The model. What its classes made of arguments is in its rules by now.
        in_memory: Whether all weights will be in memory at once.
    """
    folder = os.path.dirname(os.path.abspath(config.filename)) if getattr(config, "filename", None) else None
    said = said_beside(config)
    for name, module in model.named_modules():
        rules = vars(module).get("init_cfg")
        if rules is not None:
            _check_rules(rules, f"{name}.init_cfg" if name else "init_cfg", folder, said)
    if in_memory:
        tensors = (*model.parameters(), *model.buffers())
        needed = sum(each.numel() * each.element_size() for each in tensors)
        with contextlib.suppress(ValueError, OSError, AttributeError):
            there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            if needed > there:
                raise UntrustedError(
                    f"This model's weights take {in_bytes(needed)}, and this machine has {in_bytes(there)}.",
                    fix="Write them to a folder, piece by piece: initcfg init CONFIG -o FOLDER.",
                )


def _refuse_number(path: str, value: int, where: str | None) -> NoReturn:
    raise UntrustedError(
        f"{path} is {short(value)}: larger than any number that a config which is not trusted may have, "
        f"{_LARGEST_NUMBER:,}.",
        where=where,
        fix=_FIX,
    )


def _check_rules(rules: Any, where: str, folder: str | None, said: frozenset[str]) -> None:
    waiting = [("", rules)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(str(name), item) for name, item in value.items()]
        elif isinstance(value, (list, tuple)):
            waiting += [(key, item) for item in value]
        if key in ("batch", "example") and value:
            raise UntrustedError(f"{key}= is code, which gives data.", where=where, fix=_FIX)
        if key == "base" and isinstance(value, Mapping) and not _is_of_numbers(value):
            raise UntrustedError(
                "base= builds the model a second time, and may change numbers of it only.",
                where=where,
                fix="Write base=dict(hidden_size=64); or trust the config.",
            )
        if key == "rename" and value:
            raise UntrustedError(
                "rename= is regular expressions, which may take forever.", where=where, fix=_FIX
            )
        if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
            _refuse_number(key, value, where)
        if not isinstance(value, str) or value in said:
            continue
        if value.startswith("re:"):
            raise UntrustedError(
                f"{value!r} is a regular expression, which may take forever.", where=where, fix=_FIX
            )
        # The base of an adapter is a checkpoint, too.
        if key in ("checkpoint", "base") and not _lies_in(value, folder):
            raise UntrustedError(
                f"The {key} {value!r} is not a file beside the config.",
                where=where,
                fix=f"Fetch it if you want it, and name it on the command line: --set ...{key}=FILE.",
            )


def _is_of_numbers(base: Mapping[Any, Any]) -> bool:
    """Whether a scheme's base has other numbers than the model, and no more."""
    return all(isinstance(key, str) and isinstance(item, (int, float)) for key, item in base.items())


def _lies_in(path: str, folder: str | None) -> bool:
    if folder is None or ":" in path or path.startswith("~"):
        return False
    try:
        return os.path.commonpath([os.path.realpath(path), os.path.realpath(folder)]) == os.path.realpath(
            folder
        )
    except ValueError:
        return False
