"""Our errors are instances of what MMEngine raises in the same place, and their texts are ours."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import initcfg
from initcfg import errors
from initcfg._config.files import Config, ConfigDict

REGISTRY = initcfg.Registry("things", scope="tests_of_errors")
REGISTRY.register_module("Dict", module=dict)


def rules(*cfg: Any) -> Callable[[], Any]:
    return lambda: initcfg.initialize(nn.Sequential(nn.Linear(2, 2)), list(cfg))


def constant(**more: Any) -> dict[str, Any]:
    return dict(type="Constant", val=1, layer="Linear", **more)


@pytest.mark.parametrize(
    ("call", "builtin"),
    [
        (lambda: REGISTRY.register_module("Dict", module=list), KeyError),
        (lambda: REGISTRY.register_module(name=1), TypeError),
        (lambda: REGISTRY.build(None), TypeError),
        (lambda: REGISTRY.build({}), KeyError),
        (lambda: REGISTRY.build(dict(type="Nope")), KeyError),
        (lambda: REGISTRY.build(dict(type=1)), TypeError),
        (lambda: REGISTRY.build(dict(type="Dict", _scope_=3)), AssertionError),
        (lambda: initcfg.Registry("x", scope=1), AssertionError),  # type: ignore[arg-type]
        (lambda: initcfg.Registry("x", parent=1), AssertionError),  # type: ignore[arg-type]
        (lambda: [initcfg.Registry("x", parent=REGISTRY, scope="twice") for _ in range(2)], AssertionError),
        (lambda: Config([1]), TypeError),  # type: ignore[arg-type]
        (lambda: Config(dict(filename=1)), KeyError),
        (lambda: Config({}).missing, AttributeError),
        (lambda: Config({})["missing"], KeyError),
        (lambda: ConfigDict().missing, AttributeError),
        (lambda: Config.fromstring("a = 1", ".txt"), OSError),
        (lambda: Config.fromstring("[1]", ".json"), AttributeError),
        (lambda: Config.fromstring("_base_ = 1", ".py"), TypeError),
        (lambda: Config.fromfile("no_such_config.py"), FileNotFoundError),
        (lambda: Config({}).dump(file_format=".abc"), TypeError),
        (lambda: Config({}).dump("/no/such/folder/config.py"), FileNotFoundError),
        (lambda: Config(dict(p=[1])).merge_from_dict({"p.9.a": 1}), KeyError),
        (rules("Constant"), AttributeError),
        (lambda: initcfg.initialize(nn.Linear(2, 2), "Constant"), TypeError),  # type: ignore[arg-type]
        (rules(dict(layer="Linear")), KeyError),
        (rules(dict(type="Nope")), KeyError),
        (rules(constant(bad=1)), TypeError),
        (rules(constant(override="fc")), TypeError),
        (rules(constant(override=["fc"])), AttributeError),
        (rules(constant(override=dict(val=1))), ValueError),
        (rules(constant(override=dict(name="fc"))), RuntimeError),
        (rules(constant(bias="a")), TypeError),
        (rules(constant(bias_prob=0.0)), ZeroDivisionError),
        (rules(dict(type="Xavier", layer="Linear", distribution="x")), AssertionError),
        (rules(dict(type="Kaiming", layer="Linear", mode="x")), ValueError),
        (rules(dict(type="Normal", layer="Linear", std=-1)), RuntimeError),
        (rules(dict(type="Uniform", layer="Linear", a=2, b=1)), RuntimeError),
        (rules(dict(type="Pretrained", checkpoint=None)), TypeError),
        (rules(dict(type="Pretrained", checkpoint="no_such.pth")), FileNotFoundError),
        (rules(dict(type="Pretrained", checkpoint="no-such-scheme://x")), FileNotFoundError),
        (lambda: initcfg.xavier_init(nn.Linear(2, 2), distribution="x"), AssertionError),
        (lambda: initcfg.bias_init_with_prob(0.0), ZeroDivisionError),
    ],
)
def test_what_the_original_raises(call: Callable[[], Any], builtin: type[Exception]):
    with pytest.raises(builtin) as caught:
        call()
    error = caught.value
    assert isinstance(error, errors.InitcfgError)
    # A KeyError shows its argument in quotes; ours says its sentence.
    assert str(error).startswith(error.problem)
    assert not str(error).startswith(("'\"", '"'))
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)


def test_the_code_of_a_config_raises_what_it_raises(tmp_path: Path):
    for name, text, builtin in [
        ("division", "a = 1 / 0", ZeroDivisionError),
        ("key", "a = {}['x']", KeyError),
        ("lookup", "from os import nope\na = nope", ImportError),
        ("attribute", "_base_ = 'base.py'\na = _base_.nope", AttributeError),
    ]:
        (tmp_path / "base.py").write_text("x = 1\n")
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(builtin) as caught:
            Config.fromfile(tmp_path / f"{name}.py")
        assert isinstance(caught.value, errors.ConfigExecutionError)
        assert isinstance(caught.value, RuntimeError)
        assert f"{name}.py:" in str(caught.value)


def test_an_import_that_a_config_asks_for(tmp_path: Path):
    (tmp_path / "config.py").write_text("custom_imports = dict(imports=['raises_when_it_is_imported'])\n")
    with pytest.raises(ImportError, match="cannot be imported"):
        Config.fromfile(tmp_path / "config.py")
    (tmp_path / "raises_when_it_is_imported.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError, match="cannot be imported") as caught:
        Config.fromfile(tmp_path / "config.py")
    assert isinstance(caught.value, errors.ConfigImportError)


def test_a_class_of_both_is_made_where_there_can_be_one():
    assert errors.also(errors.ConfigError, ValueError()) is errors.ConfigError
    both = errors.also(errors.OutputError, FileNotFoundError())
    assert issubclass(both, errors.OutputError)
    assert issubclass(both, FileNotFoundError)
    assert both is errors.also(errors.OutputError, FileNotFoundError())
    assert both.__name__ == "OutputError"
    # OSError and SyntaxError store different things: no class is both.
    assert errors.also(errors.OutputError, SyntaxError()) is errors.OutputError
