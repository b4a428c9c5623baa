"""The schema of configs, by a validator: what is right passes, and each fault of a kind is refused."""

from __future__ import annotations

import copy
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from initcfg import INITIALIZERS, BaseInit, Config
from initcfg._api.config_schema import config_schema
from initcfg.errors import InitcfgError

pytestmark = pytest.mark.group
ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(
    path
    for path in (ROOT / "examples").rglob("*")
    if path.suffix in (".yaml", ".json", ".toml", ".py")
    and path.parts[-2] in ("documentation", "retinanet", "_base_")
)
GOOD: dict[str, Any] = {
    "model": {"type": "ToyNet", "init_cfg": [{"type": "Kaiming", "layer": ["Conv2d"], "bias": 0.1}]}
}


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(json.dumps(config_schema()))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def with_rules(rules: Any) -> dict[str, Any]:
    made = copy.deepcopy(GOOD)
    made["model"]["init_cfg"] = rules
    return made


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_configs(path: Path, validator: Any) -> None:
    if path.suffix == ".py" and "\nmodel = " not in path.read_text():
        pytest.skip("a module, and no config")
    data = json.loads(json.dumps(Config.fromfile(path, import_modules=False).to_dict(), default=str))
    faults = [each.message for each in validator.iter_errors(data)]
    assert bool(faults) is path.name.startswith("invalid_"), faults


@pytest.mark.parametrize(
    "rules",
    [
        None,
        {"type": "Kaiming", "layer": "Conv2d"},
        [{"type": "Constant", "val": 1, "layer": ["BatchNorm2d", "LayerNorm"]}],
        {"type": "Normal", "std": 0.01, "param": "*.pos_embed", "exclude": ["head.*"]},
        {"type": "TruncNormal", "layer": "Linear", "std": 0.02, "a_sigma": -2, "b_sigma": 2},
        {"type": "Xavier", "layer": "Linear", "bias": {"type": "Uniform", "a": -0.1, "b": 0.1}},
        {"layer": "Linear", "weight": None, "bias": 1},
        {"type": "Pretrained", "checkpoint": "weights.pth", "prefix": "backbone."},
        {"type": "Kaiming", "layer": "Conv2d", "override": {"name": "head"}},
        {"type": "Kaiming", "override": [{"type": "Normal", "name": "head", "std": 0.01}]},
        {"type": "GPT2"},
        {"type": "GPT2", "std": 0.01, "exclude": "lm_head.*"},
        {"type": "Normal", "role": "residual_out", "scale": "1/sqrt(2*layers)", "tune": {"lr": 0.5}},
        {"type": "Normal", "layer": "Linear", "std": "{{$STD:0.02}}"},
        {"type": "mypackage.init.MyInit", "layer": "Linear", "anything": 3},
    ],
)
def test_rules_that_are_right(rules: Any, validator: Any) -> None:
    assert [each.message for each in validator.iter_errors(with_rules(rules))] == []


@pytest.mark.parametrize(
    "rules",
    [
        {"type": "Kaimign", "layer": "Conv2d"},
        {"type": "Kaiming", "layr": "Conv2d"},
        {"type": "Kaiming", "layer": "Conv2d", "distribution": "normall"},
        {"type": "Kaiming", "layer": "Conv2d", "mode": "fan_up"},
        {"type": "Kaiming", "layer": 3},
        {"type": "Constant", "layer": "Conv2d", "val": True},
        {"type": "Constant", "layer": "Conv2d", "val": "one"},
        {"type": "Constant", "layer": "Conv2d", "bias": True},
        {"type": "Constant", "layer": "Conv2d", "std": 0.1},
        {"type": "Normal", "layer": "Linear", "std": [0.1]},
        {"type": "Pretrained"},
        {"type": "Pretrained", "checkpoint": "w.pth", "layer": "Conv2d"},
        {"type": "GPT2", "layer": "Linear"},
        {"type": "GPT2", "override": {"name": "head"}},
        {"type": "Kaiming", "override": {"type": "Normal", "std": 0.1}},
        {"type": "Kaiming", "override": {"name": "head", "std": 0.1}},
        {"type": "Kaiming", "override": {"type": "GPT2", "name": "head"}},
        {"layer": "Linear", "std": 0.1},
        {"type": 3},
        "Kaiming",
        [["Kaiming"]],
        {"type": "Xavier", "layer": "Linear", "bias": {"type": "Unifrom"}},
    ],
)
def test_each_kind_of_fault(rules: Any, validator: Any) -> None:
    assert not validator.is_valid(with_rules(rules))
    # Of a module deep inside, too; and in a config that is the model itself.
    deep = {"type": "Outer", "parts": [{"type": "Inner", "init_cfg": rules}]}
    assert not validator.is_valid({"model": deep})
    assert not validator.is_valid({"type": "ToyNet", "init_cfg": rules})


def test_a_config_needs_a_model(validator: Any) -> None:
    assert not validator.is_valid({"modle": GOOD["model"]})
    assert not validator.is_valid([])
    assert validator.is_valid({"_base_": "base.yaml", "model": {"depth": 50}})


def test_no_type_takes_what_it_does_not_know(validator: Any) -> None:
    for name, item in INITIALIZERS.module_dict.items():
        assert not validator.is_valid(with_rules({"type": name, "no_such_argument": 1})), name
        with pytest.raises((InitcfgError, TypeError)):
            item(no_such_argument=1)


def test_registrations_of_ones_own() -> None:
    jsonschema = pytest.importorskip("jsonschema")

    @INITIALIZERS.register_module(name="OwnOfSchema", force=True)
    class OwnInit(BaseInit):
        """Mine."""

        def __init__(self, width: int, how: str = "a", **rest: Any) -> None:
            super().__init__(**rest)

    try:
        check = jsonschema.Draft7Validator(config_schema()).is_valid
        assert check(with_rules({"type": "OwnOfSchema", "width": 3, "layer": "Linear", "bias_prob": 0.1}))
        assert not check(with_rules({"type": "OwnOfSchema", "width": "3"}))
        assert not check(with_rules({"type": "OwnOfSchema"}))
        assert not check(with_rules({"type": "OwnOfSchema", "width": 3, "widht": 3}))
    finally:
        INITIALIZERS.module_dict.pop("OwnOfSchema", None)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_yaml_in_the_pages(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a config imports is registered first, as ``initcfg schema CONFIG`` does it."""
    jsonschema = pytest.importorskip("jsonschema")
    text, own = page.read_text(), []
    for name, code in re.findall(
        r"^```python\n# file: (\w+\.py)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    ):
        (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(INITIALIZERS.module_dict)
    try:
        for written in re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            data = yaml.safe_load(written)
            if isinstance(data, dict) and "init_cfg" in written and {"model", "type"} & set(data):
                own += [importlib.import_module(name).__name__ for name in data.get("imports", [])]
                check = jsonschema.Draft7Validator(json.loads(json.dumps(config_schema())))
                assert [each.message for each in check.iter_errors(data)] == [], written
    finally:
        for name in set(INITIALIZERS.module_dict) - before:
            INITIALIZERS.module_dict.pop(name)
        for name in own:
            sys.modules.pop(name, None)
