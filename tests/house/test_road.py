"""The house holds: names are taken from front doors, nothing goes in a circle, the map is current."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import defaultdict
from types import ModuleType

from imports import PACKAGE, exported, folder, imports, modules

ROOT = PACKAGE.parents[1]


def tool(name: str) -> ModuleType:
    """A script of the folder tools."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_names_are_taken_from_front_doors() -> None:
    wrong: list[str] = []
    known = modules()
    doors = [name for name, path in known.items() if path.name == "__init__.py"]
    for each in imports():
        source = each.source
        if source in ("initcfg", "initcfg._version") or each.module == "initcfg":
            continue
        assert source in known, f"{each.module}:{each.line} imports {source}, which does not exist"
        home = folder(source)
        if f"{folder(each.module)}.".startswith(f"{home}."):
            # Inside of a room, its files are taken one by one, never by its own front door.
            if source == home and each.target == source:
                wrong.append(f"{each.module}:{each.line} takes {each.name} from its own front door")
        elif source != home:
            wrong.append(f"{each.module}:{each.line} reaches into {home} for {source}")
        elif each.target not in (source, *doors) and each.name not in exported(source):
            wrong.append(f"{each.module}:{each.line} reaches into {home} for {each.target}")
        elif each.target == source and each.name is not None and each.name not in exported(source):
            wrong.append(f"{each.module}:{each.line} takes {each.name}, which {source} does not offer")
    assert not wrong, "\n".join(wrong)


def test_front_doors_offer_what_somebody_takes() -> None:
    taken: dict[str, set[str]] = defaultdict(set)
    for each in imports():
        if each.name is not None and not f"{folder(each.module)}.".startswith(f"{each.source}."):
            taken[each.source].add(each.name)
    front = tool("stubs").initcfg
    for home, names in front.EXPORTS.items():
        taken[f"initcfg.{home}"] |= set(names)
    idle = {
        name: sorted(set(exported(name)) - taken[name])
        for name, path in modules().items()
        # What stands in the public modules is taken by users.
        if path.name == "__init__.py" and name.split(".")[1:2] and name.split(".")[1].startswith("_")
    }
    assert not {name: names for name, names in idle.items() if names}


def test_no_circle() -> None:
    """Of files, with the imports inside of functions, and each front door as the files behind it."""
    leads: dict[str, set[str]] = defaultdict(set)
    for each in imports():
        if not each.typing:
            leads[each.module].add(each.target)
    state: dict[str, int] = {}
    trail: list[str] = []

    def visit(module: str) -> None:
        state[module] = 1
        trail.append(module)
        for following in sorted(leads[module]):
            if state.get(following) == 1:
                raise AssertionError(" → ".join([*trail[trail.index(following) :], following]))
            if following not in state:
                visit(following)
        trail.pop()
        state[module] = 2

    for module in modules():
        if module not in state:
            visit(module)


def test_entries_of_the_package() -> None:
    entries = {
        path.name for path in PACKAGE.iterdir() if not path.name.startswith(("__pycache__", "_kernel"))
    }
    stations = {name for layer in tool("house").stations() for name in layer}
    files = {"__init__.py", "__init__.pyi", "__main__.py", "py.typed"}
    assert entries == files | {name if (PACKAGE / name).is_dir() else f"{name}.py" for name in stations}
    assert sum((PACKAGE / name).is_dir() for name in stations) == 15


def test_the_map_is_current() -> None:
    house = tool("house")
    text = house.PAGE.read_text(encoding="utf-8")
    assert text == house.page(text), "run python tools/house.py"


def test_front_doors_name_their_files_in_reading_order() -> None:
    house = tool("house")
    for path in house.folders():
        each = house.room(path)
        named = re.findall(r"`([\w]+(?:\.py|/))`", each.files)
        there = {file.name for file in path.glob("*.py")} - {"__init__.py"}
        there |= {f"{door.parent.name}/" for door in path.glob("*/__init__.py")}
        assert sorted(named) == sorted(there), each.name


def test_doors_import_nothing_upward() -> None:
    door = "initcfg._model.doors"
    assert not [each for each in imports() if each.module == door]
    assert "import_module" not in modules()[door].read_text(encoding="utf-8")


def test_the_road_is_checked_without_exceptions() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "ignore_imports" not in text and "unmatched_ignore" not in text
    assert "lint-imports" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_documents_send_nobody_into_private_modules() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "README.zh-CN.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "examples").rglob("*.*"),
    ]
    wrong = [
        f"{page.relative_to(ROOT)}: {found}"
        for page in pages
        if page.suffix in (".md", ".py", ".yaml", ".toml") and page.name != "decisions.md"
        for found in re.findall(r"initcfg\._[a-z]\w*", page.read_text(encoding="utf-8"))
    ]
    assert not wrong
