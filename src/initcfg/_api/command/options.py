"""The options that commands share."""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import Any

import click

from initcfg._api.command.request import Request
from initcfg.errors import ArgumentError, path_problem

_BUILDERS = ("timm:", "torchvision:", "hf:", "mmdet:", "mmseg:", "mmpretrain:")


def completed_parameters(context: Any, parameter: Any, incomplete: str) -> Any:
    """Names of parameters, for the shell; only then is a model built."""
    from initcfg._api.command.completing import parameters

    return parameters(context, parameter, incomplete)


def completed_keys(context: Any, parameter: Any, incomplete: str) -> Any:
    """Keys of ``--set``, for the shell."""
    from initcfg._api.command.completing import keys

    return keys(context, parameter, incomplete)


class _PathText(click.ParamType):
    """A path, an address or a builder: a text that could name something."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        problem = path_problem(value, of_file=False)
        if problem is not None:
            self.fail(f"{value!r} names nothing: {problem}.", param, ctx)
        return value

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        """Files, by the shell; how builders begin, and the names that a library has."""
        from click.shell_completion import CompletionItem

        # Where both are possible, a shell would list no file: builders come once they are begun.
        begun = [each for each in _BUILDERS if incomplete and each.startswith(incomplete)]
        if ":" in incomplete:
            from initcfg._api.command.library_names import begun_names

            begun = begun_names(incomplete)
        if begun and param.name in ("config", "configs", "a", "b"):
            return [CompletionItem(each) for each in begun]
        return [CompletionItem(incomplete, type="file")]


PATH = _PathText()
NO_PYTHON = click.option(
    "--no-python",
    is_flag=True,
    help="Refuse configs that are Python code. What a config names (imports, types, checkpoints) is still "
    "imported, called and opened: --untrusted refuses that too.",
)
UNTRUSTED = click.option(
    "--untrusted",
    is_flag=True,
    help="The config is somebody's whom you do not trust: data only, without imports, environment variables, "
    "re: patterns, files from elsewhere; types of torch.nn, timm, torchvision, transformers and registered.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FULL = click.option("--full", is_flag=True, help="A line for every parameter, repeated layers too.")
_HTML = click.option(
    "--html",
    "html_file",
    metavar="FILE.html",
    type=PATH,
    help="Write it as a page, too: one file, also printable.",
)
_LANG = click.option(
    "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language of that page."
)


def takes_page(command: Any) -> Any:
    """``--html`` and ``--lang``."""

    @functools.wraps(command)
    def checked(**given: Any) -> Any:
        if given.get("html_file") is None and given.get("lang") != "en":
            raise ArgumentError(
                "--lang is the language of a page, and no page was asked for.", fix="Add --html page.html."
            )
        return command(**given)

    return _HTML(_LANG(checked))


SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=completed_keys,
    help="Change the config: a.b.c=value. Of a builder: an argument.",
)
COMPAT = click.option("--compat", type=click.Choice(["mmengine"]), hidden=True)
EXAMPLE = click.option(
    "--example",
    "model_example",
    metavar="FILE.py:FUNCTION",
    help="For rules by role, and schemes: what gives an example of the model's input, where the config does "
    "not.",
)
STRICT = click.option("--strict", is_flag=True, help="A rule that reaches nothing is an error.")


def _gathering(*options: Any, metavar: str, required: bool = True) -> Any:
    """The options of a :class:`Request`, gathered into one, and ``--json``."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def command(**given: Any) -> Any:
            own = {field.name: given.pop(field.name) for field in fields(Request) if field.name in given}
            own["config"] = own["config"] or ""
            return function(request=Request(**own), **given)

        made: Any = command
        for option in (JSON, *reversed(options), UNTRUSTED, NO_PYTHON, SET):
            made = option(made)
        return click.argument("config", type=PATH, metavar=metavar, required=required)(made)

    return decorate


takes_config = _gathering(COMPAT, STRICT, EXAMPLE, metavar="CONFIG")
"""Of a command that plans the model in a config."""
takes_config_or_none = _gathering(COMPAT, STRICT, EXAMPLE, metavar="[CONFIG]", required=False)
"""Of one that can do without: then the config of the request is empty."""
takes_target = _gathering(metavar="TARGET")
"""Of a command on a model's own code, which no rule changes."""
