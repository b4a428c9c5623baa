"""Building from a config: what its type may name, and what is wrong with it."""

from __future__ import annotations

import copy
import functools
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest
from registered import Net, make
from torch import nn

import initcfg
from initcfg import MODELS, Registry, build_from_cfg
from initcfg.compat import mmengine as compat_mmengine
from initcfg.errors import (
    BuildError,
    NoTypeError,
    UnknownTypeError,
)

# -- building ------------------------------------------------------------------------------------


def test_build(nets: Registry) -> None:
    cfg = dict(type="Net", depth=50)
    before = copy.deepcopy(cfg)
    net = build_from_cfg(cfg, nets, dict(depth=18, stages=3, type="make"))
    assert (type(net), net.depth, net.stages) == (Net, 50, 3)
    assert cfg == before
    assert nets.build(dict(type=Net, depth=1)).depth == 1
    assert nets.build(dict(type=functools.partial(Net, stages=2), depth=1)).stages == 2
    assert nets.build(dict(depth=1), default_args=dict(type="Net")).depth == 1
    nested = dict(type="Net", depth=3)
    assert nets.build(dict(type="make", inner=nested))["inner"] is nested  # not built


def test_import_paths(nets: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nets.build(dict(type="collections.OrderedDict", a=1)) == {"a": 1}
    assert nets.get("os.path.join").__name__ == "join"
    assert isinstance(nets.build(dict(type="torch.nn.Linear", in_features=1, out_features=2)), nn.Linear)
    # mmcv.ops.nms is a module and, as an attribute of mmcv.ops, a function: the function is meant.
    package, module = types.ModuleType("some_ops"), types.ModuleType("some_ops.nms")
    package.__path__ = []  # type: ignore[attr-defined]
    package.nms = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_ops", package)
    monkeypatch.setitem(sys.modules, "some_ops.nms", module)
    assert nets.get("some_ops.nms") is make


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_package.Net", "'no_such_package' cannot be imported (ModuleNotFoundError: No module named"),
        ("collections.OrderedDic", "'collections' has no 'OrderedDic' (nearest: collections.OrderedDict"),
        ("collections.abc", "'collections.abc' is a module, not a class or function"),
        ("math.pi", "'math.pi' is a float, not a class or function"),
        ("collections..abc", "'collections' has no ''"),
        (".Net", "'' cannot be imported (ValueError"),
        ("broken_on_import.Net", "'broken_on_import' cannot be imported (ZeroDivisionError"),
        (
            "half_broken.inner.Net",
            "'half_broken.inner' cannot be imported (ModuleNotFoundError: No module named 'gone'",
        ),
    ],
)
def test_import_paths_that_fail(
    nets: Registry, path: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_on_import.py").write_text("1 / 0\n")
    (tmp_path / "half_broken").mkdir()
    (tmp_path / "half_broken" / "__init__.py").write_text("")
    (tmp_path / "half_broken" / "inner.py").write_text("import gone\n")
    assert nets.get(path) is None
    with pytest.raises(UnknownTypeError) as caught:
        nets.build(dict(type=path))
    assert f"the import path: {reason}" in str(caught.value)
    sys.modules.pop("half_broken", None)


def test_bare_names_of_torch_nn(nets: Registry, models: Registry) -> None:
    child = Registry("child", parent=models, scope="child_of_models")
    for registry in (models, child):
        conv = registry.build(dict(type="Conv2d", in_channels=1, out_channels=2, kernel_size=3))
        assert isinstance(conv, nn.Conv2d)
    with pytest.raises(UnknownTypeError):
        nets.build(dict(type="Conv2d"))
    with pytest.raises(UnknownTypeError):
        models.build(dict(type="Parameter"))  # of torch.nn, but no module

    @models.register_module(name="Conv2d")
    class Mine(nn.Module): ...

    assert isinstance(models.build(dict(type="Conv2d")), Mine)


def test_a_list_of_models_is_a_sequential(models: Registry) -> None:
    import initcfg

    built = models.build([dict(type="Linear", in_features=1, out_features=2), dict(type="ReLU")])
    assert isinstance(built, initcfg.Sequential)
    assert [type(each) for each in built] == [nn.Linear, nn.ReLU]


# -- errors --------------------------------------------------------------------------------------


def test_unknown_names(nets: Registry, models: Registry) -> None:
    child = Registry("child", parent=nets, scope="kid")
    child.register_module("Nest", module=Net)
    with pytest.raises(UnknownTypeError) as caught:
        child.build(dict(type="Nett"))
    message = str(caught.value)
    assert "type='Nett' names nothing that can be built." in message
    assert "registry 'child' of scope 'kid' (1 name)" in message
    assert "registry 'net' of scope 'here' (2 names)" in message
    assert "did you mean: 'Net', 'Nest'" in message
    assert "torch.nn" not in message
    assert isinstance(caught.value, KeyError)
    with pytest.raises(UnknownTypeError) as caught:
        nets.build(dict(type="kid.Nst"))
    assert caught.value.meant[0] == "kid.Nest"
    with pytest.raises(UnknownTypeError) as caught:
        models.build(dict(type="conv2D"))
    assert caught.value.meant[0] == "Conv2d"
    assert "torch.nn; " in str(caught.value)


def test_wrong_arguments(nets: Registry) -> None:
    with pytest.raises(BuildError) as caught:
        nets.build(dict(type="Net", deph=3, stages=1))
    message = str(caught.value)
    assert f"{Net.__module__}.Net takes no argument 'deph'." in message
    assert f"{Net.__module__}.Net needs the argument 'depth', which is not given." in message
    assert "did you mean: 'depth'" in message
    assert "The signature is Net(depth, stages=4, *, width=8)." in message
    assert isinstance(caught.value, TypeError)
    with pytest.raises(BuildError, match="takes no argument 'a' and 'b'"):
        nets.build(dict(type="Net", depth=1, a=1, b=2))
    with pytest.raises(
        BuildError, match=r"Linear takes no argument 'out_feature'\..*needs the argument 'out_f"
    ):
        MODELS.build(dict(type="Linear", in_features=1, out_feature=2))
    with pytest.raises(BuildError, match="cannot be called by keywords alone"):
        nets.build(dict(type=lambda x, /: x))


def test_what_the_constructor_raises_goes_through(nets: Registry) -> None:
    with pytest.raises(TypeError, match=r"^depth is negative$") as caught:
        nets.build(dict(type="Net", depth=-1))
    assert type(caught.value) is TypeError

    @nets.register_module()
    class Outer:
        def __init__(self, **arguments: Any) -> None:
            Net(**arguments)

    with pytest.raises(TypeError, match="unexpected keyword argument") as caught:
        nets.build(dict(type="Outer", wrong=1))
    assert type(caught.value) is TypeError

    @nets.register_module()
    def parent(child: dict[str, Any]) -> Any:
        return nets.build(child)

    with pytest.raises(BuildError, match="Net takes no argument 'deph'") as caught:
        nets.build(dict(type="parent", child=dict(type="Net", depth=1, deph=1)))
    assert "parent" not in str(caught.value)
    # A built-in without a signature speaks for itself.
    with pytest.raises(TypeError) as caught:
        nets.build(dict(type="builtins.range", stop=3))
    assert type(caught.value) is TypeError


def test_a_config_of_the_wrong_form(nets: Registry) -> None:
    with pytest.raises(NoTypeError) as caught:
        nets.build(dict(typ="Net"))
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, BuildError)
    assert "it has no 'type'" in str(caught.value)
    assert caught.value.meant == ("type",)
    for cfg, default_args, registry, message in (
        ("Net", None, nets, "cfg must be a dict, not str: 'Net'"),
        ([dict(type="Net")], None, nets, "cfg must be a dict, not list"),
        (dict(type="Net"), 3, nets, "default_args must be a dict, not int"),
        (dict(type="Net"), None, "nets", "takes a Registry as registry, not the text 'nets'"),
        (dict(type=3), None, nets, "type must be a name, an import path, a class or a function, not 3"),
        (dict(type=None), None, nets, "not None"),
    ):
        with pytest.raises(BuildError, match=message):
            build_from_cfg(cfg, registry, default_args)  # type: ignore[arg-type]


# -- a loaded MMEngine ---------------------------------------------------------------------------


class TheirRegistry:
    def __init__(self, names: dict[str, Any], children: dict[str, TheirRegistry] | None = None) -> None:
        self.module_dict, self.children = names, children or {}

    def get(self, key: str) -> Any:
        scope, _, name = key.partition(".")
        if scope not in self.children:
            raise RuntimeError(f"Failed to get {key}")
        return self.children[scope].module_dict.get(name)


@pytest.fixture
def mmengine(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """What of ``mmengine.registry`` is used; the real one is tried in ``tests/peers``."""
    scopes: list[str] = []
    module = types.ModuleType("mmengine.registry")
    module.scopes = scopes  # type: ignore[attr-defined]
    children = {
        "one": TheirRegistry({"Both": list, "OnlyOne": set, "Same": dict}),
        "two": TheirRegistry({"Both": tuple, "Same": dict}, {"three": TheirRegistry({"Deep": frozenset})}),
    }
    module.MODELS = TheirRegistry({"Root": dict, "Linear": dict}, children)  # type: ignore[attr-defined]

    class DefaultScope:
        @staticmethod
        def get_current_instance() -> Any:
            return types.SimpleNamespace(scope_name=scopes[-1]) if scopes else None

    module.DefaultScope = DefaultScope  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmengine.registry", module)
    return module


def test_a_loaded_mmengine_is_the_last_resort(models: Registry, nets: Registry, mmengine: Any) -> None:
    assert models.build(dict(type="Root", a=1)) == {"a": 1}
    assert isinstance(models.build(dict(type="Linear", in_features=1, out_features=1)), nn.Linear)
    assert models.build(dict(type="OnlyOne")) == set()
    assert models.build(dict(type="Same")) == {}
    assert models.build(dict(type="Deep")) == frozenset()
    assert models.build(dict(type="one.Both")) == []
    assert models.build(dict(type="Both", _scope_="two")) == ()
    with pytest.raises(UnknownTypeError, match="different classes in the registries of one, two") as caught:
        models.build(dict(type="Both"))
    assert caught.value.meant == ("one.Both", "two.Both")
    mmengine.scopes.append("two")
    assert models.build(dict(type="Both")) == ()
    for name in ("Absent", "one.Absent", "absent.Both"):
        with pytest.raises(UnknownTypeError, match="the registries of mmengine"):
            models.build(dict(type=name))
    with pytest.raises(UnknownTypeError) as caught:
        models.build(dict(type="one.OnlyOn"))
    assert caught.value.meant[0] == "one.OnlyOne"
    with pytest.raises(UnknownTypeError):
        nets.build(dict(type="Root"))


def test_a_class_that_takes_no_rules_may_have_some_in_its_config():
    rules = dict(type="Constant", layer="Linear", val=3, bias=4)
    cfg = dict(type="Linear", in_features=2, out_features=1, init_cfg=rules)
    module = MODELS.build(cfg)
    assert module.init_cfg == rules
    assert module.init_cfg is not rules
    assert cfg["init_cfg"] is rules
    model = initcfg.build(cfg)
    assert model.weight.tolist() == [[3.0, 3.0]]
    assert model.bias.tolist() == [4.0]
    plan = initcfg.plan(nn.ModuleDict({"head": MODELS.build(cfg)}))
    assert plan["head.weight"].rule == "model.head.init_cfg"
    assert not hasattr(MODELS.build({**cfg, "init_cfg": None}), "init_cfg")


def test_a_base_module_that_takes_no_rules_gets_them():
    class Plain(initcfg.BaseModule):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.linear = nn.Linear(width, 1)

    cfg = dict(type=Plain, width=1, init_cfg=dict(type="Constant", layer="Linear", val=5))
    module = initcfg.build_from_cfg(cfg, MODELS)
    module.init_weights()
    assert module.linear.weight.item() == 5
    made = initcfg.build_from_cfg(dict(type=lambda width: nn.Linear(width, 1), width=3, init_cfg=[]), MODELS)
    assert made.init_cfg == []


def test_what_makes_no_module_takes_no_rules():
    def count(start: int) -> int:
        return start

    with pytest.raises(BuildError, match="takes no argument 'init_cfg', and makes no module"):
        initcfg.build_from_cfg(dict(type=count, start=1, init_cfg=dict(type="Constant", val=1)), MODELS)


def test_a_list_of_configs_is_a_sequential():
    layer = dict(type="Linear", in_features=2, out_features=2)
    model = initcfg.build_model_from_cfg([layer, dict(layer, bias=True)], MODELS, dict(bias=False))
    assert type(model) is initcfg.Sequential
    assert [each.bias is None for each in model] == [True, False]
    assert compat_mmengine.build_model_from_cfg(layer, MODELS).out_features == 2
    ours = compat_mmengine.build_model_from_cfg([layer], MODELS)
    assert type(ours) is compat_mmengine.Sequential


def test_a_globally_accessible_class_gives_its_instance():
    class ManagerMixin:
        """As MMEngine's: an instance for each name."""

        instances: ClassVar[dict[str, Any]] = {}

        def __init__(self, name: str, size: int = 1) -> None:
            self.name, self.size = name, size

        @classmethod
        def get_instance(cls, name: str, **arguments: Any) -> Any:
            if name not in cls.instances:
                cls.instances[name] = cls(name, **arguments)
            return cls.instances[name]

    class Hub(ManagerMixin):
        pass

    first = initcfg.build_from_cfg(dict(type=Hub, name="hub", size=3), MODELS)
    assert first.size == 3
    assert initcfg.build_from_cfg(dict(type=Hub, name="hub"), MODELS) is first
    assert initcfg.build_from_cfg(dict(type=Hub, name="other"), MODELS) is not first


@pytest.mark.parametrize("key", [None, 5, (1, 2), True])
def test_arguments_are_named_by_texts(key: Any) -> None:
    with pytest.raises(BuildError, match=r"takes arguments by their names, and .* is no name"):
        initcfg.build({"type": "Linear", "in_features": 2, "out_features": 2, key: 1})
