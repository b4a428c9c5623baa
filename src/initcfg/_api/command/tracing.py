"""``initcfg trace``: the plan of what a target's own code does, shown or written as a config."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from torch import nn

from initcfg._api import functions
from initcfg._api.command.planning import loaded_config
from initcfg._api.command.request import Request
from initcfg._api.command.terminal import spinner
from initcfg._api.declared_roles import remember
from initcfg._apply import check_output
from initcfg._config.builders import is_builder
from initcfg._config.files import SUFFIXES, Config, replacing
from initcfg._plan import Plan
from initcfg._record import trace
from initcfg.errors import ConfigError, OutputError


def traced_target(
    request: Request,
    output: str | None,
    plan_file: str | None,
    *,
    buffers: bool,
    page: str | None = None,
    lang: str = "en",
) -> tuple[Plan, list[str]]:
    """The plan of what a target's own code does, and the files that were written.

    Args:
        request: The target.
        output: A config to write: the target with its plan as rules. Only of a builder.
        plan_file: A JSON file to write the plan to.
        buffers: Whether the config also has rules for buffers without random numbers.
        page: An HTML file to write the plan to, in the language ``lang``.
    """
    if output is not None:
        check_output(output, SUFFIXES)
    if plan_file is not None:
        check_output(plan_file, (".json",))
    if page is not None:
        check_output(page, (".html",))
    files = [file for file in (output, plan_file, page) if file is not None]
    if len({os.path.realpath(file) for file in files}) < len(files):
        raise OutputError("The config and the plan cannot both be written to one file.")
    loaded = loaded_config(request)
    cfg = functions.model_cfg(loaded, untrusted=request.untrusted)[1]
    if output is not None and not (isinstance(cfg.get("type"), str) and is_builder(cfg["type"])):
        raise ConfigError(
            f"{request.config!r} is a config already, so no config is written.",
            fix="Omit -o, or trace a builder: timm:NAME, package.module:function.",
        )

    def built() -> nn.Module:
        model = functions.construct(cfg)
        # For who asks which schemes this is.
        remember(loaded, model, untrusted=request.untrusted)
        return model

    with spinner("tracing"), functions.making(loaded, cfg, untrusted=request.untrusted):
        made = trace(built)
    texts: list[str] = []
    if output is not None:
        model = {**cfg, "init_cfg": made.to_init_cfg(buffers=buffers)}
        texts.append(Config({"model": model}).dump(file_format=Path(output).suffix))
    if plan_file is not None:
        texts.append(json.dumps(made.to_json(), indent=1, default=str) + "\n")
    if page is not None:
        texts.append(made.to_html(lang=lang))
    with contextlib.ExitStack() as stack:
        # Both files appear, or neither does.
        for file, text in zip(files, texts, strict=True):
            Path(stack.enter_context(replacing(file))).write_text(text, encoding="utf-8")
    return made, files
