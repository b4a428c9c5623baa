"""Write the catalogue of schemes: ``docs/schemes.md``, and what is made in the pages of ``docs/schemes/``.

    python tools/schemes.py

Above the marker of a page stands what a person wrote; below it each scheme with its docstring and its rules.
The pictures are made by ``tools/scheme_pictures.py``.
A test holds the pages current.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import json
import pprint
import re
from pathlib import Path
from typing import Any

from initcfg import INITIALIZERS, Scheme

DOCS = Path(__file__).parents[1] / "docs"
CATALOGUE = DOCS / "schemes.md"
FOLDER = DOCS / "schemes"
MARKER = "<!-- Made by tools/schemes.py from the docstrings. -->"
# What has to be given, for the pages.
_GIVEN: dict[str, dict[str, Any]] = {"Chrono": {"t_max": 784}, "T5": {"d_kv": 64}, "Switch": {"d_kv": 64}}
# Of a model, they find it themselves.
_GIVEN |= {name: {"first": "net.0.weight"} for name in ("SIREN", "FINER")}
# Schemes that a page of their own tells of.
_PAGES = dict.fromkeys(("widths", "depths", "spectral"), "[width-transfer](width-transfer.md)")
_PAGES["signal"] = "[data](data.md#signalpreserving)"
_TENSORS = ("kernels", "glorot", "coordinates", "recurrent", "rwkv", "splines", "layers")
_MODULE = "initcfg._rules.initializers."


def schemes() -> dict[str, type[Scheme]]:
    """The package's own schemes, by name; of several names the first."""
    return _own(lambda cls: issubclass(cls, Scheme))


def tensors() -> dict[str, type[Any]]:
    """The initializers that papers name, by name."""
    return _own(lambda cls: cls.__module__.removeprefix(_MODULE) in _TENSORS)


def shown() -> dict[str, type[Any]]:
    """All that a page of the folder shows."""
    return {
        name: cls for name, cls in schemes().items() if (FOLDER / f"{_home(cls)}.md").exists()
    } | tensors()


def _own(fits: Any) -> dict[str, type[Any]]:
    found: dict[type[Any], str] = {}
    for name, cls in INITIALIZERS.module_dict.items():
        if isinstance(cls, type) and cls.__module__.startswith("initcfg.") and fits(cls):
            found.setdefault(cls, name)
    return {name: cls for cls, name in found.items()}


def catalogue(text: str) -> str:
    """The page of all, with its tables as they are now."""
    rows = ["", "| scheme | what it says | of | page |", "|---|---|---|---|"]
    for name, cls in sorted(schemes().items(), key=lambda item: item[0].lower()):
        page = FOLDER / f"{_home(cls)}.md"
        link = f"[{page.stem}](schemes/{page.name}#{name.lower()})" if page.exists() else _PAGES[page.stem]
        rows.append(f"| `{name}` | {_summary(cls)} | {cls.paper} | {link} |")
    rows += ["", "| initializer | what it fills a tensor with |", "|---|---|"]
    for name, cls in sorted(tensors().items(), key=lambda item: item[0].lower()):
        rows.append(f"| [`{name}`](schemes/tensors.md#{name.lower()}) | {_summary(cls)} |")
    return f"{text.partition(MARKER)[0]}{MARKER}\n" + "\n".join(rows) + "\n"


def page(path: Path) -> str:
    """One page of the folder, with its schemes as they are now."""
    text = path.read_text(encoding="utf-8")
    found: dict[str, type[Any]] = tensors() if path.stem == "tensors" else schemes()
    parts = [_entry(name, cls) for name, cls in found.items() if path.stem in ("tensors", _home(cls))]
    return f"{text.partition(MARKER)[0]}{MARKER}\n{_picture(path.stem)}" + "".join(parts)


def _picture(name: str) -> str:
    """What schemes of a page do to a signal, where there is a picture of it."""
    if not (FOLDER / "pictures" / f"{name}.svg").exists():
        return ""
    return f"\n![The standard deviation of a signal by depth, in a small model](pictures/{name}.svg)\n"


def _home(cls: type[Any]) -> str:
    """The page that a scheme is on."""
    name = cls.__module__.rpartition(".")[2]
    return "language" if name == "transformers" else name


def _summary(cls: type[Any]) -> str:
    return (
        " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
        .replace("``", "`")
        .replace("|", "\\|")
    )


def _entry(name: str, cls: type[Any]) -> str:
    doc = inspect.getdoc(cls) or ""
    words, _, rest = doc.partition("\nArgs:\n")
    arguments, _, example = (rest if rest else words).partition("\nExample:\n")
    words = words.partition("\nExample:\n")[0].strip()
    # Code spans of Markdown have one stroke.
    lines = ["", f"## {name}", "", words.replace("``", "`"), ""]
    if rest:
        items = re.sub(
            r"^ {4}(\w+): ", r"- `\1`: ", arguments.replace("``", "`").rstrip(), flags=re.MULTILINE
        )
        lines += [re.sub(r"^ {8}", "  ", items, flags=re.MULTILINE), ""]
    signature = inspect.signature(cls)
    shown = ", ".join(
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in signature.parameters.values()
        if each.kind is not each.VAR_KEYWORD
    )
    lines += [f"`{name}({shown})`", ""]
    if issubclass(cls, Scheme):
        if cls.forward:
            lines += [f"**Initial weights alone are half of it**: {cls.forward}.", ""]
        lines += _rules(name, cls)
    else:
        lines += _example(example)
    return "\n".join(lines)


def _rules(name: str, cls: type[Scheme]) -> list[str]:
    given = _GIVEN.get(name, {})
    written = "".join(f", {key}={json.dumps(item)}" for key, item in given.items())
    made = pprint.pformat(cls(**given).recipe(), width=100, sort_dicts=False)
    code = ["import pprint", "", "from initcfg import INITIALIZERS", ""]
    code += [f'cfg = dict(type="{name}"{written})', "pprint.pprint(", "    INITIALIZERS.build(cfg).recipe(),"]
    code += ["    width=100,", "    sort_dicts=False,", ")"]
    return ["```python", *code, "```", "", "```text", made, "```", ""]


def _example(text: str) -> list[str]:
    examples = doctest.DocTestParser().get_examples(inspect.cleandoc(text))
    code: list[str] = []
    output: list[str] = []
    for each in examples:
        source = each.source.rstrip()
        if each.want:
            output.append(each.want.rstrip())
            if not source.startswith("print("):
                is_tuple = isinstance(ast.parse(source, mode="eval").body, ast.Tuple)
                source = f"print(({source}))" if is_tuple else f"print({source})"
        code.append(source)
    # A blank line between imports and what follows.
    imports = [at for at, line in enumerate(code) if line.startswith(("import ", "from "))]
    if imports and imports[-1] + 1 < len(code):
        code.insert(imports[-1] + 1, "")
    shown = ["", "```text", *output, "```", ""] if output else [""]
    return ["```python", *code, "```", *shown]


def pages() -> dict[Path, str]:
    """Every page of the catalogue, as it should be."""
    found = {path: page(path) for path in sorted(FOLDER.glob("*.md"))}
    return {CATALOGUE: catalogue(CATALOGUE.read_text(encoding="utf-8")), **found}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
