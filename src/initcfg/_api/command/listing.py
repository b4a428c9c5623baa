"""``initcfg list``: what a config can name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from initcfg._api.command.terminal import table
from initcfg._config import MODELS
from initcfg._rules import known_layer_names
from initcfg._rules.initializers import INITIALIZERS
from initcfg._rules.schemes import Scheme, schemes
from initcfg.errors import ConfigError, add_row


def listed(what: str, imports: Sequence[str], like: str) -> list[dict[str, Any]]:
    """The initializers, schemes, layers or models whose names contain a text, letter case aside."""
    import_modules(imports)
    if what == "layers":
        names = sorted(known_layer_names(), key=str.lower)
        entries = [{"name": name} for name in names if "." not in name]
    elif what == "models":
        entries = [
            {"name": name, "class": f"{item.__module__}.{item.__qualname__}"}
            for name, item in sorted(MODELS.module_dict.items())
        ]
    elif what == "schemes":
        entries = [
            {"name": name, "family": cls.family, "what": _first_line(cls), "paper": cls.paper}
            for name, cls in schemes().items()
        ]
    else:
        entries = [
            {"name": name, "arguments": _arguments(item), "what": _first_line(item)}
            for name, item in sorted(INITIALIZERS.module_dict.items())
            if not (isinstance(item, type) and issubclass(item, Scheme))
        ]
    return [entry for entry in entries if like.lower() in entry["name"].lower()]


def import_modules(names: Sequence[str]) -> None:
    """Import modules, which register something."""
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, ValueError, TypeError) as error:
            raise ConfigError(
                f"The module {name!r} cannot be imported: {error}.",
                fix="Check its name, and the folder that you are in.",
            ) from error


def listing_view(entries: Sequence[dict[str, Any]]) -> Table:
    """A row for each entry."""
    shown = table(*(entries[0] if entries else ("nothing found",)), overflow="fold")
    for entry in entries:
        add_row(shown, *entry.values())
    return shown


def _first_line(item: Any) -> str:
    return (inspect.getdoc(item) or "").split("\n")[0]


def _arguments(cls: Any) -> str:
    parameters = inspect.signature(cls).parameters.values()
    return ", ".join(
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in parameters
        if each.kind is not each.VAR_KEYWORD and each.name not in ("bias", "bias_prob", "layer")
    )
