"""Make the compact copy of the recorded truth: `python compact.py FOLDER [TARGET]`.

FOLDER holds one gzipped JSON file per model, as the recorder writes them. What the tests need of
all of them goes into one xz file: everything that repeats (classes, shapes, `init_cfg`s, outcomes)
is kept once in a table, and each model refers to the tables by index. `records.py` reads it back.
"""

from __future__ import annotations

import gzip
import json
import lzma
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "data" / "truth.json.xz"
# Attributes that are no parameter and no module, and yet matter: `bias` as a plain number, and
# whether the module was initialized while it was built.
MARKS = ("is_init_before", "bias_attr", "weight_attr")


class Table:
    """Distinct JSON values in order of first use."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._index: dict[str, int] = {}

    def index(self, value: Any) -> int:
        # Sorting the keys would let two init_cfgs fall together that differ in their order.
        key = json.dumps(value)
        if key not in self._index:
            self._index[key] = len(self.values)
            self.values.append(value)
        return self._index[key]


def compact(folder: Path, target: Path = TARGET) -> int:
    """Write the copy of all models in `folder`; returns the number of bytes."""
    tables = {name: Table() for name in ("classes", "init_cfgs", "contents", "outcomes")}
    models = [
        _model(path.name.removesuffix(".json.gz"), json.loads(gzip.decompress(path.read_bytes())), tables)
        for path in sorted(folder.glob("*.json.gz"))
    ]
    data = {**{name: table.values for name, table in tables.items()}, "models": models}
    text = json.dumps(data, separators=(",", ":")).encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    return target.stat().st_size


def _model(name: str, record: dict[str, Any], tables: dict[str, Table]) -> dict[str, Any]:
    modules = record["modules"]
    aliases = {each["name"]: each["alias_of"] for each in modules if "alias_of" in each}
    model: dict[str, Any] = {
        "file": name,
        "package": record["package"],
        "config": record["config"],
        "variant": record["variant"],
        "modules": [each["name"] for each in modules],
        "alias_of": aliases,
        "classes": [],
        "init_cfgs": [],
        "contents": [],
        "overrides": {},
        "marks": {},
    }
    for each in modules:
        if each["name"] in aliases:
            continue
        cls = (each["cls"], each["module"], each["mro"], each["bases"])
        traits = (each["overrides_init_weights"], each["is_base_module"])
        model["classes"].append(tables["classes"].index([*cls, *traits]))
        model["init_cfgs"].append(tables["init_cfgs"].index(each["init_cfg"]))
        model["contents"].append(tables["contents"].index([each["params"], each["none_params"]]))
        if each.get("override_targets"):
            model["overrides"][each["name"]] = each["override_targets"]
        for key in MARKS:
            if key in each:
                model["marks"].setdefault(each["name"], {})[key] = each[key]
    names = parameter_names(modules)
    params = record["params"]
    if names != [each["name"] for each in params]:
        raise ValueError(f"{name}: the order of the parameters cannot be told from the modules.")
    model["outcomes"] = [tables["outcomes"].index(_outcome(each)) for each in params]
    model["tied_to"] = {each["name"]: each["tied_to"] for each in params if each.get("tied_to")}
    return model


def parameter_names(modules: list[dict[str, Any]]) -> list[str]:
    """Qualified names in the order of `named_parameters(remove_duplicate=False)`."""
    contents = {each["name"]: each["params"] for each in modules if "alias_of" not in each}
    return [
        f"{each['name']}.{own}" if each["name"] else own
        for each in modules
        for own, _shape in contents[each.get("alias_of", each["name"])]
    ]


def _outcome(param: dict[str, Any]) -> list[Any]:
    """The source, what was called with what, and what it did; of an initializer also its helper."""
    last = param["last"]
    if param["source"] != "initializer":
        return [param["source"], last.get("fn"), last.get("args"), last["op"], last["op_args"]]
    helper = [last["mm_fn"], last["mm_args"]]
    return [param["source"], param["event"], param["args"], last["op"], last["op_args"], *helper]


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print(f"{compact(*map(Path, sys.argv[1:])):,} bytes")
