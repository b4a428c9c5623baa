"""``initcfg schema``: what editors check configs by."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.text import Text

from initcfg._api.command.listing import import_modules
from initcfg._api.command.planning import loaded_config, working_folder_first
from initcfg._api.command.request import Request
from initcfg._api.config_schema import config_schema
from initcfg._apply import check_output
from initcfg._config.files import write_atomically
from initcfg.errors import UntrustedError, line, plural


def schema_said(
    config: str | None, output: str | None, imports: Sequence[str], *, no_python: bool, untrusted: bool
) -> list[Text]:
    """The schema, written to a file or as text; what a config imports is registered first."""
    if output is not None:
        check_output(output, (".json",))
    if imports and untrusted:
        raise UntrustedError(
            "--import runs code, which goes not with --untrusted.", fix="Leave out one of the two."
        )
    working_folder_first(untrusted=untrusted)
    import_modules(imports)
    if config is not None:
        loaded_config(Request(config, no_python=no_python, untrusted=untrusted))
    made = config_schema()
    text = json.dumps(made, indent=1, ensure_ascii=True)
    if output is None:
        return [line(each) for each in text.splitlines()]
    write_atomically(output, f"{text}\n".encode())
    types = made["definitions"]["rule"]["properties"]["type"]["anyOf"][0]["enum"]
    return [line(f"{output}: {plural(len(types), 'type')} of rules")]
