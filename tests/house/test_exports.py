"""The exports: one list, which the front, its stubs, the documents and this test share."""

from __future__ import annotations

import importlib
import inspect
import pickle
import subprocess
import sys
import typing
from pathlib import Path
from types import GenericAlias

import pytest
from test_road import ROOT, tool

import initcfg
import initcfg.compat.mmengine
import initcfg.sources
import initcfg.stream
import initcfg.values


def test_stubs_are_current() -> None:
    stubs = tool("stubs")
    assert stubs.STUB.read_text(encoding="utf-8") == stubs.stub(), "run python tools/stubs.py"


def test_every_export_says_where_people_import_it_from() -> None:
    for module in (initcfg, initcfg.values):
        for name in module.__all__:
            value = getattr(module, name)
            if name[0].isupper() and isinstance(value, type) and not isinstance(value, GenericAlias):
                assert value.__module__ == module.__name__, name
    for name in initcfg.__all__:
        value = getattr(initcfg, name)
        if inspect.isfunction(value):
            assert value.__module__ == "initcfg", name


def test_annotations_of_exports_lead_to_types() -> None:
    for module in (initcfg, initcfg.values):
        for name in module.__all__:
            value = getattr(module, name)
            # Of a plan's fields some are types that only type checkers import.
            if inspect.isclass(value) and value is not initcfg.Plan:
                assert all(not isinstance(hint, str) for hint in typing.get_type_hints(value).values()), name
    assert typing.get_type_hints(initcfg.Ledger)["seed"] == int | None


def test_compat_leads_to_its_modules() -> None:
    assert initcfg.compat.mmengine.BaseModule.__module__ == "initcfg.compat.mmengine"
    with pytest.raises(AttributeError, match="no attribute 'mmdet'"):
        initcfg.compat.mmdet  # noqa: B018


def test_public_modules_are_there() -> None:
    for name in ("compat", "sources", "stream", "values", "errors"):
        assert getattr(initcfg, name) is importlib.import_module(f"initcfg.{name}")
        assert name in dir(initcfg)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        initcfg.nothing  # noqa: B018


def test_every_export_is_documented() -> None:
    reference = tool("reference")
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run python tools/reference.py"
    text = reference.page()
    for module in (initcfg, initcfg.sources, initcfg.stream):
        missing = [name for name in module.__all__ if f"`{module.__name__}.{name}`" not in text]
        assert set(missing) <= {"__version__", "errors"}


@pytest.mark.parametrize(
    "program",
    [
        "from initcfg import Plan; from torch import nn\nPlan({}).apply(nn.Module())",
        "from initcfg import MODELS; from torch import nn\n"
        "MODELS.build([dict(type='Linear', in_features=1, out_features=1)]).init_weights()",
        "from initcfg import KaimingInit; from torch import nn\nKaimingInit(layer='Linear')(nn.Linear(2, 2))",
        "from initcfg.compat.mmengine import Sequential; from torch import nn\n"
        "Sequential(nn.Linear(2, 2), init_cfg=dict(type='Kaiming', layer='Linear')).init_weights()",
        "import initcfg; from torch import nn\ninitcfg.BaseModule().init_weights()",
    ],
)
def test_the_door_is_open_whatever_was_imported_first(program: str) -> None:
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_light_names_load_no_torch() -> None:
    program = (
        "import sys, initcfg; initcfg.Config, initcfg.Registry, initcfg.errors\n"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_plans_and_ledgers_are_pickled_by_their_public_names() -> None:
    from torch import nn

    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))
    ledger = plan.apply(model, seed=0)
    for each, name in ((plan["weight"], b"Assignment"), (ledger, b"Ledger")):
        data = pickle.dumps(each)
        assert b"\x8c\x07initcfg\x94\x8c" + bytes([len(name)]) + name in data
        assert pickle.loads(data) == each


def test_files_are_read_in_one_sitting() -> None:
    long = [
        path for path in (ROOT / "src" / "initcfg").rglob("*.py") if len(path.read_text().splitlines()) > 450
    ]
    assert not [str(Path(path).relative_to(ROOT)) for path in long]
