"""Write the map of the house into CONTRIBUTING.md: a picture of the road, and a table of the rooms.

    python tools/house.py

Both come from the front doors (each folder's ``__init__.py``) and from the contract in pyproject.toml. A test
holds them current.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "initcfg"
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN = "<!-- The map: made by tools/house.py from the front doors. -->"
END = "<!-- The end of the map. -->"
LABELS = ("In", "Out", "Read")


@dataclass(frozen=True)
class Room:
    """A folder, as its front door describes it.

    Attributes:
        name: Its path in the package: ``"_plan/report"``.
        purpose: What it does, in a sentence.
        takes: What comes in.
        gives: What goes out.
        files: The files in reading order, each with a few words.
        exports: The names that others may take.
    """

    name: str
    purpose: str
    takes: str
    gives: str
    files: str
    exports: tuple[str, ...]


def room(folder: Path) -> Room:
    """The room that a folder is.

    Raises:
        ValueError: Its front door does not say what it should.
    """
    name = folder.relative_to(PACKAGE).as_posix()
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    docstring = re.sub(r":\w+:`", "`", (ast.get_docstring(tree) or "").replace("``", "`"))
    purpose, *_paragraphs = [" ".join(part.split()) for part in docstring.split("\n\n")]
    found: dict[str, str] = {}
    for line in "\n\n".join(docstring.split("\n\n")[1:]).splitlines():
        label = re.match(r"(In|Out|Read): ", line)
        if label:
            found[label[1]] = line[label.end() :]
        elif found and line.strip() and list(found)[-1] in LABELS and not found.get("done"):
            found[list(found)[-1]] += " " + line.strip()
        elif not line.strip() and "Read" in found:
            found["done"] = "yes"
    missing = [label for label in LABELS if label not in found]
    if not purpose.endswith(".") or missing:
        raise ValueError(f"The front door of {name} does not say: {', '.join(missing) or 'what it does'}.")
    return Room(name, purpose, found["In"], found["Out"], found["Read"], _exports(tree))


def _exports(tree: ast.Module) -> tuple[str, ...]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return tuple(ast.literal_eval(node.value))
    return ()


def stations() -> list[list[str]]:
    """The stations from top to bottom; those that stand side by side, together."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(each for each in contracts["contracts"] if each["id"] == "road")["layers"]
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def folders() -> list[Path]:
    """All rooms, station by station from top to bottom, each before its own rooms."""
    found: list[Path] = []
    for layer in stations():
        for name in layer:
            if (PACKAGE / name).is_dir():
                found += sorted(door.parent for door in (PACKAGE / name).rglob("__init__.py"))
    return found


def picture() -> str:
    """The road, as Mermaid draws it."""
    lines = ["```mermaid", "flowchart TD"]
    layers = [[name for name in layer if (PACKAGE / name).is_dir()] for layer in stations()]
    layers = [layer for layer in layers if layer]
    for layer in layers:
        for name in layer:
            words = room(PACKAGE / name).purpose.rstrip(".").replace("`", "").replace('"', "'")
            lines.append(f'    {name.strip("_")}["<b>{name}</b><br>{words}"]')
    for above, below in itertools.pairwise(layers):
        lines += [f"    {high.strip('_')} --> {low.strip('_')}" for high in above for low in below]
    return "\n".join([*lines, "```"])


def table() -> str:
    """The rooms, with what comes in, what goes out, and the files in reading order."""
    lines = ["| room | what it does | in | out | files, in reading order |", "|---|---|---|---|---|"]
    for folder in folders():
        each = room(folder)
        shown = f"`{each.name}/`"
        lines.append(f"| {shown} | {each.purpose} | {each.takes} | {each.gives} | {each.files} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """CONTRIBUTING.md with the map as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{picture()}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
