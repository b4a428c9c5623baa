"""Write ``docs/reference.md``: every public name, with the first sentence of its docstring.

    python tools/reference.py

A test holds the page current.
"""

from __future__ import annotations

import importlib
import inspect
import runpy
from pathlib import Path
from typing import Any

import initcfg

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
_TITLES = {
    "_api": "Plan, initialize, build",
    "_record": "Existing code",
    "_plan": "Plans and ledgers",
    "_api.weights": "Checkpoints: what is in them, what differs",
    "_apply": "Verifying",
    "_plan.compare": "Differences from MMEngine",
    "_diagnose": "Diagnosing",
    "_rules": "Libraries that initialize in their constructors",
    "_rules.initializers": "Initializers",
    "_rules.schemes": "Schemes for whole models",
    "_config": "Registries",
    "_config.files": "Config files",
    "_model": "Modules with rules of their own",
}
_FUNCTIONS = ("from_json", "to_json")
# Objects whose class says what they are, not which.
_CONSTANTS = {
    "INITIALIZERS": "The registry of initializers: `type` in a rule is a name in it.",
    "MODELS": "The registry of modules: `type` in a model's config is a name in it.",
    "STREAM_VERSION": "The version of the stream: changing any bit of it is a new one.",
    "Source": "The protocol of a function that finds the checkpoints of one scheme.",
    "WEIGHT_INITIALIZERS": "MMEngine's name of `INITIALIZERS`.",
}


def page() -> str:
    """The text of the page."""
    lines = [
        "# Reference",
        "",
        "Every public name, in a sentence. `help(initcfg.plan)` has arguments, errors and an example. What",
        "is not on this page is private, and may change.",
    ]
    for home, title in _TITLES.items():
        lines += _section(title, "initcfg", initcfg, initcfg.EXPORTS[home])
    for name, title in {
        "values": "Values: `initcfg.values`",
        "sources": "Where checkpoints come from: `initcfg.sources`",
        "stream": "The random stream: `initcfg.stream`",
        "errors": "Errors: `initcfg.errors`",
    }.items():
        module = importlib.import_module(f"initcfg.{name}")
        lines += _section(title, f"initcfg.{name}", module, _public(module))
    return "\n".join(lines) + "\n"


def _public(module: Any) -> list[str]:
    """The names that are for users: of values and errors the classes, not what the package shares."""
    if module in (initcfg.sources, initcfg.stream):
        return module.__all__
    if module is initcfg.errors:
        here = module.__name__
        return [name for name, value in vars(module).items() if getattr(value, "__module__", "") == here]
    names = module.__all__
    return [name for name in names if inspect.isclass(getattr(module, name)) or name in _FUNCTIONS]


def _section(title: str, prefix: str, module: Any, names: Any) -> list[str]:
    rows = [f"| `{prefix}.{name}` | {_sentence(name, getattr(module, name))} |" for name in sorted(names)]
    return ["", f"## {title}", "", "| name | what it is |", "|---|---|", *rows]


def _sentence(name: str, value: Any) -> str:
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    first = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    assert first, f"{name} has no docstring"
    return first.replace("``", "`").replace(":class:", "").replace(":func:", "").replace(":meth:", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    # The catalogue is made with it.
    runpy.run_path(str(Path(__file__).with_name("schemes.py")), run_name="__main__")
