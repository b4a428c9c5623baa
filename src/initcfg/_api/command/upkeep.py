"""Commands that keep a repository in order: what its models start with, and what its configs may say."""

from __future__ import annotations

from typing import Any

import click

from initcfg._api.command.options import COMPAT, FULL, JSON, NO_PYTHON, PATH, SET, STRICT, UNTRUSTED
from initcfg._api.command.terminal import Command, answer
from initcfg.errors import line


@click.command(cls=Command, epilog="Example:  initcfg lock configs/vit.yaml -o init.lock")
@click.argument("configs", type=PATH, nargs=-1, metavar="[CONFIG]...")
@click.option(
    "-o", "--output", default="init.lock", show_default=True, type=PATH, help="File to write (.lock)."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    help="Lock the numbers that this seed gives, too: the models are initialized in memory.",
)
@SET
@NO_PYTHON
@UNTRUSTED
@COMPAT
@STRICT
@JSON
def lock(
    configs: tuple[str, ...], output: str, as_json: bool, overrides: tuple[str, ...], **how: Any
) -> None:
    """Write down what the models in CONFIGs start with, as a text to keep in git.

    A line for tensors that are alike; `initcfg check` compares. Without CONFIG, what the file locks already
    is locked anew.
    """
    from initcfg._api.command.locking import lock_json, lock_said, lock_written

    made = lock_written(configs, overrides, output, **how)
    answer(as_json, lambda: lock_json(made, output), lambda: map(line, lock_said(made, output)))


@click.command(cls=Command, epilog="Example:  initcfg schema configs/vit.yaml -o initcfg.schema.json")
@click.argument("config", type=PATH, required=False)
@click.option("-o", "--output", type=PATH, help="File to write (.json); else it is printed.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Import a module first.")
@NO_PYTHON
@UNTRUSTED
def schema(
    config: str | None, output: str | None, imports: tuple[str, ...], no_python: bool, untrusted: bool
) -> None:
    """Print a JSON Schema of configs: by it editors complete and check `init_cfg` in YAML and JSON.

    It knows what is registered: with CONFIG or --import, initializers and models of your own, too.
    """
    from initcfg._api.command.schema_file import schema_said

    answer(
        False, dict, lambda: schema_said(config, output, imports, no_python=no_python, untrusted=untrusted)
    )


@click.command(cls=Command, epilog="Example:  initcfg check init.lock")
@click.argument("locks", type=PATH, nargs=-1, metavar="[LOCK]...")
@NO_PYTHON
@UNTRUSTED
@JSON
@FULL
def check(locks: tuple[str, ...], no_python: bool, untrusted: bool, as_json: bool, full: bool) -> int:
    """Say whether the models in LOCK (init.lock) still start with what it says; and if not, what changed.

    Ends with 1 if something differs.
    """
    from initcfg._api.command.locking import lock_checked
    from initcfg._api.locks import check_view

    found = lock_checked(locks or ("init.lock",), untrusted=untrusted, no_python=no_python)
    answer(as_json, found.to_json, lambda: [check_view(found, full=full)])
    return 0 if found.same else 1


@click.command(cls=Command, epilog='Example:  eval "$(initcfg completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what SHELL reads to complete commands, options, parameters and the keys of --set.

    To complete the name of a parameter or a key, CONFIG is read, or its model built, as the command would.
    """
    from initcfg._api.command.completing import script

    text = script(shell, context.find_root().command)
    answer(False, dict, lambda: map(line, text.rstrip("\n").split("\n")))
