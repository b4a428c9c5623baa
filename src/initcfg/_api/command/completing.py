"""Completion in a shell: commands and options by click; builders, parameters and keys of --set here.

To complete the name of a parameter, the model is built, as the command itself would build it; and nothing of
it where the command may not. What fails gives no completions, and no message.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from click import Context, Parameter
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

from initcfg._api.command.request import Request

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_VARIABLE = "_INITCFG_COMPLETE"
# Bash takes a colon for the end of a word, and would complete what stands after it by itself.
_BASH = "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}\n"


def script(shell: str, command: Any) -> str:
    """What a shell reads to complete the command."""
    made = _SHELLS[shell](command, {}, "initcfg", _VARIABLE)
    # Not its source(): that asks bash for its version, and warns.
    text = made.source_template % made.source_vars()
    return (_BASH if shell == "bash" else "") + text


def parameters(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the model's parameters and buffers."""
    from initcfg._api.command.planning import planned

    def names() -> Iterator[str]:
        _, made = planned(_request(context))
        yield from (*made.parameters, *made.buffers, *made.aliases)

    return _beginning(names, incomplete)


def keys(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """What ``--set`` can change: keys of the config, or arguments of the builder."""
    from initcfg._api.command.planning import loaded_config
    from initcfg._config.builders import is_builder, is_object, object_of
    from initcfg._config.files import Config

    def found() -> Iterator[str]:
        request = _request(context)
        loaded = loaded_config(request)
        if isinstance(loaded, Config):
            yield from (f"{path}=" for path in _paths(loaded.to_dict()))
        elif is_builder(request.config) and is_object(request.config):
            import inspect

            yield from (f"{name}=" for name in inspect.signature(object_of(request.config)).parameters)

    return _beginning(found, incomplete)


def _paths(item: Any, path: str = "") -> Iterator[str]:
    """The dotted paths of all that a config says."""
    pairs = item.items() if isinstance(item, dict) else enumerate(item)
    for key, each in pairs:
        inner = f"{path}.{key}" if path else str(key)
        yield inner
        if isinstance(each, (dict, list)):
            yield from _paths(each, inner)


def _request(context: Context) -> Request:
    given = context.params
    # Behind an option that waits for its value, click has not told arguments apart yet.
    return Request(
        given.get("config") or context.args[0],
        tuple(each for each in given.get("overrides") or () if "=" in each),
        bool(given.get("no_python")),
        bool(given.get("untrusted")),
        given.get("compat"),
    )


def _beginning(names: Callable[[], Iterator[str]], incomplete: str) -> list[CompletionItem]:
    with contextlib.suppress(Exception), contextlib.ExitStack() as stack:
        # Whatever is printed meanwhile would be taken for a completion, or stand in the line that is typed.
        nowhere = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        return [CompletionItem(each) for each in names() if each.startswith(incomplete)]
    return []
