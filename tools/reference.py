"""Write ``docs/reference.md``: every public name, with the first sentence of its docstring.

    python tools/reference.py

A test holds the page current.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import runpy
from pathlib import Path
from types import GenericAlias
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
    lines += _section_of_sources("Testing: `initcfg.testing`", "testing")
    lines += _section_of_sources("Other libraries: `initcfg.integrations`", "integrations")
    return "\n".join(lines) + "\n"


def _public(module: Any) -> list[str]:
    """The names that are for users: of values and errors the classes, not what the package shares."""
    if module in (initcfg.sources, initcfg.stream):
        return module.__all__
    if module is initcfg.errors:
        here = module.__name__
        return [name for name, value in vars(module).items() if getattr(value, "__module__", "") == here]
    values = {name: getattr(module, name) for name in module.__all__}
    # Python 3.10 takes tuple[int, ...] for a class.
    classes = {
        name
        for name, value in values.items()
        if isinstance(value, type) and not isinstance(value, GenericAlias)
    }
    return [name for name in values if name in classes or name in _FUNCTIONS]


def _section(title: str, prefix: str, module: Any, names: Any) -> list[str]:
    rows = [f"| `{prefix}.{name}` | {_sentence(name, getattr(module, name))} |" for name in sorted(names)]
    return ["", f"## {title}", "", "| name | what it is |", "|---|---|", *rows]


def _section_of_sources(title: str, name: str) -> list[str]:
    """A section of modules that need other libraries: read, not imported."""
    home = Path(initcfg.__file__).parent
    fronts = sorted([*home.glob(f"{name}.py"), *home.glob(f"{name}/**/__init__.py")])
    rows = []
    for front in fronts:
        inner = front.parent if front.name == "__init__.py" else front.with_suffix("")
        module = ".".join(("initcfg", *inner.relative_to(home).parts))
        for public, docstring in sorted(_documented(front, home).items()):
            rows.append(f"| `{module}.{public}` | {_first_sentence(docstring)} |")
    return ["", f"## {title}", "", "| name | what it is |", "|---|---|", *rows] if rows else []


def _documented(front: Path, home: Path) -> dict[str, str]:
    """What a front door offers, each with its docstring, wherever it is defined."""
    tree = ast.parse(front.read_text(encoding="utf-8"))
    offered: list[str] = []
    found = {}
    # What is imported when it is asked for stands there for type checkers.
    nodes = [*tree.body, *(inner for each in tree.body if isinstance(each, ast.If) for inner in each.body)]
    for node in nodes:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            offered = ast.literal_eval(node.value)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found[node.name] = ast.get_docstring(node) or ""
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("initcfg."):
            path = home.joinpath(*str(node.module).split(".")[1:])
            source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            names = {each.name for each in node.names}
            for inner in ast.parse(source.read_text(encoding="utf-8")).body:
                if isinstance(inner, (ast.ClassDef, ast.FunctionDef)) and inner.name in names:
                    found[inner.name] = ast.get_docstring(inner) or ""
    return {name: found[name] for name in offered}


def _sentence(name: str, value: Any) -> str:
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    first = inspect.getdoc(value) or ""
    assert first, f"{name} has no docstring"
    return _first_sentence(first)


def _first_sentence(docstring: str) -> str:
    first = " ".join(docstring.split("\n\n", maxsplit=1)[0].split())
    return first.replace("``", "`").replace(":class:", "").replace(":func:", "").replace(":meth:", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    # The catalogue is made with it.
    runpy.run_path(str(Path(__file__).with_name("schemes.py")), run_name="__main__")
