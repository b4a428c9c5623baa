"""What the commands share: errors as messages, the options of a target, and what is shown how."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from dataclasses import fields
from typing import Any

import click

from initcfg._api.command.request import Request
from initcfg.errors import InitcfgError

# Seconds that other ranks leave the first to say what went wrong.
_PATIENCE = 20.0


class Group(click.Group):
    """A group whose errors are messages, never tracebacks."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
            sys.exit(code if isinstance(code, int) else 0)
        except InitcfgError as error:
            _fail(str(error))
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except (click.Abort, KeyboardInterrupt):
            _fail("Interrupted; no file was left half-written.", code=130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            if os.environ.get("INITCFG_TRACEBACK"):
                raise
            _fail(_unexpected(error))


def _fail(message: str, code: int = 2) -> None:
    if launched_rank() > 0:
        # The first rank tells of any failure, and its end ends the others. It may have ended already.
        time.sleep(_PATIENCE)
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)
    sys.exit(code)


def launched_rank() -> int:
    """The rank of this process, where torchrun started several."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() and os.environ.get("WORLD_SIZE", "1") != "1" else 0


def _unexpected(error: Exception) -> str:
    """An error from somebody else's code: what, and where."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    place = ""
    if traceback is not None:
        place = f" ({traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno})"
    return (
        f"{type(error).__name__}: {error}{place}\n"
        "  INITCFG_TRACEBACK=1 shows the whole traceback of this unexpected error."
    )


NO_PYTHON = click.option("--no-python", is_flag=True, help="Refuse configs that are Python code.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FULL = click.option("--full", is_flag=True, help="A line for every parameter, repeated layers too.")


def takes_request(*rules: Any, metavar: str = "CONFIG") -> Any:
    """The options of a :class:`Request`, gathered into one, and ``--json``."""

    def decorate(function: Any) -> Any:
        names = [field.name for field in fields(Request)]

        @functools.wraps(function)
        def command(**options: Any) -> Any:
            request = Request(**{name: options.pop(name) for name in names if name in options})
            return function(request=request, **options)

        options = [
            click.argument("config", type=click.Path(), metavar=metavar),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="Change the config: a.b.c=value. Of a builder: an argument.",
            ),
            NO_PYTHON,
            *rules,
            JSON,
        ]
        made: Any = command
        for option in reversed(options):
            made = option(made)
        return made

    return decorate


common = takes_request(
    click.option("--compat", type=click.Choice(["mmengine"]), help="Reach exactly what MMEngine reaches."),
    click.option("--strict", is_flag=True, help="A rule that reaches nothing is an error."),
)


def show(*views: Any) -> None:
    """On a terminal with colors; in a pipe as plain lines that stay whole."""
    from rich.console import Console

    from initcfg._plan.report import render

    for view in views:
        if sys.stdout is not None and sys.stdout.isatty():
            Console(highlight=False).print(view)
        else:
            click.echo(render(view, width=int(os.environ.get("COLUMNS", "200"))))


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=1, default=str))
