"""Registries: names, scopes and relatives."""

from __future__ import annotations

import functools
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from registered import Net, make

from initcfg import INITIALIZERS, MODELS, WEIGHT_INITIALIZERS, Registry, build_from_cfg
from initcfg.errors import (
    DuplicateNameError,
    RegistryTypeError,
    UnknownTypeError,
)

# -- registering ---------------------------------------------------------------------------------


def test_decorators_and_calls() -> None:
    registry = Registry("thing", scope="here")

    @registry.register_module()
    class A: ...

    @registry.register_module
    class B: ...

    @registry.register_module(name="see")
    class C: ...

    @registry.register_module(name=["D", "dee"])
    def d() -> None: ...

    assert registry.register_module(module=Net) is Net
    assert registry.register_module("Part", module=functools.partial(Net, 3)).args == (3,)
    assert set(registry.module_dict) == {"A", "B", "see", "D", "dee", "Net", "Part"}
    assert registry.get("A") is A
    assert registry.get("B") is B
    assert registry.get("see") is C
    assert registry.get("C") is None
    assert registry.get("D") is registry.get("dee") is d
    assert len(registry) == 7
    assert "dee" in registry
    assert "C" not in registry
    assert 3 not in registry


def test_taken_names() -> None:
    registry = Registry("thing", scope="here")
    registry.register_module(module=Net)
    with pytest.raises(DuplicateNameError) as caught:
        registry.register_module(["Fresh", "Net"], module=make)
    message = str(caught.value)
    assert "'Net' is registered already in registry 'thing' of scope 'here'." in message
    assert "Net (" in message
    assert "registered.py:" in message
    assert "force=True" in message
    assert isinstance(caught.value, KeyError)
    assert registry.get("Fresh") is None
    registry.register_module("Net", force=True, module=make)
    assert registry.get("Net") is make


def test_what_cannot_be_registered() -> None:
    registry = Registry("thing", scope="here")
    for arguments, message in (
        (dict(module=3), "Only classes and functions"),
        (dict(name=3, module=Net), "A name must be a string, or a list of strings, not 3"),
        (dict(name=["a", 3], module=Net), "A name must be a string"),
        (dict(module=Net, force="yes"), "takes True or False as force"),
        (dict(module=functools.partial(Net)), "has no name of its own"),
    ):
        with pytest.raises(RegistryTypeError, match=message) as caught:
            registry.register_module(**arguments)  # type: ignore[call-overload]
        assert isinstance(caught.value, TypeError)
    assert len(registry) == 0
    assert registry  # not falsy, though empty


def test_what_makes_no_registry(nets: Registry) -> None:
    with pytest.raises(RegistryTypeError, match="scope of a registry must be a string"):
        Registry("thing", scope=3)  # type: ignore[arg-type]
    with pytest.raises(RegistryTypeError, match="parent of a registry must be a Registry"):
        Registry("thing", parent="net")  # type: ignore[arg-type]
    with pytest.raises(RegistryTypeError, match="takes a text as key, not 3"):
        nets.get(3)  # type: ignore[arg-type]


# -- scopes --------------------------------------------------------------------------------------


def test_scope_is_the_calling_package() -> None:
    assert Registry("thing").scope == __name__.partition(".")[0]
    namespace: dict[str, Any] = {"__name__": "package.sub.module", "Registry": Registry}
    exec("registry = Registry('thing')", namespace)
    assert namespace["registry"].scope == "package"
    assert Registry.split_scope_key("mmdet.ResNet") == ("mmdet", "ResNet")
    assert Registry.split_scope_key("ResNet") == (None, "ResNet")


def test_relatives(nets: Registry) -> None:
    detectors = Registry("detector", parent=nets, scope="detect")
    classifiers = Registry("classifier", parent=nets, scope="classify")
    deep = Registry("deep", parent=detectors, scope="deep")

    @detectors.register_module()
    class Box: ...

    @classifiers.register_module(name="Net")
    class OtherNet: ...

    @deep.register_module()
    class Deep: ...

    assert nets.children == {"detect": detectors, "classify": classifiers}
    assert deep.root is nets
    assert detectors.get("Net") is Net  # from its parent
    assert deep.get("Net") is Net  # and grandparent
    assert classifiers.get("Net") is OtherNet
    assert classifiers.get("here.Net") is Net
    assert nets.get("Box") is None  # a child is asked by scope only
    assert nets.get("detect.Box") is Box
    assert detectors.get("detect.Box") is Box
    assert classifiers.get("detect.Box") is Box  # a sibling
    assert nets.get("deep.Deep") is nets.get("detect.deep.Deep") is Deep
    assert detectors.get("classify.Net") is OtherNet
    assert nets.get("classify.Box") is None
    with pytest.raises(DuplicateNameError, match="child of scope 'detect' already"):
        Registry("again", parent=nets, scope="detect")


def test_scope_key_of_the_config_reaches_nested_builds(nets: Registry) -> None:
    classifiers = Registry("classifier", parent=nets, scope="classify")

    @classifiers.register_module(name="Net")
    class OtherNet: ...

    @nets.register_module()
    def outer(inner: dict[str, Any]) -> Any:
        return nets.build(inner)

    @classifiers.register_module(name="outer")
    def other_outer(inner: dict[str, Any]) -> Any:
        return [nets.build(inner)]

    assert isinstance(nets.build(dict(type="outer", inner=dict(type="Net", depth=1))), Net)
    built = nets.build(dict(type="outer", _scope_="classify", inner=dict(type="Net")))
    assert isinstance(built[0], OtherNet)
    back = nets.build(dict(type="outer", _scope_="classify", inner=dict(type="Net", _scope_="here", depth=1)))
    assert isinstance(back[0], Net)
    assert isinstance(nets.build(dict(type="Net", depth=1)), Net)  # over when the build is over
    assert nets.build(dict(type="Net", depth=1, _scope_="unknown")).depth == 1
    with pytest.raises(UnknownTypeError, match="scope 'unknown', of which there is no registry"):
        nets.build(dict(type="Nest", _scope_="unknown"))


def test_build_functions_are_inherited() -> None:
    calls = []

    def build(cfg: Any, *, registry: Registry, extra: int = 0) -> str:
        calls.append((cfg, registry, extra))
        return "built"

    parent = Registry("parent", build_func=build, scope="p")
    child = Registry("child", parent=parent, scope="c")
    assert child.build({"type": "x"}, extra=3) == "built"
    assert calls == [({"type": "x"}, child, 3)]
    assert Registry("alone", scope="a").build_func is build_from_cfg


def test_locations_are_imported_at_the_first_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_things.py").write_text(
        "import registry_of_late_things as home\n"
        "assert home.THINGS.get('absent') is None\n"  # a look-up while importing does not recurse
        "@home.THINGS.register_module()\n"
        "class Late: ...\n"
    )
    home = types.ModuleType("registry_of_late_things")
    monkeypatch.setitem(sys.modules, home.__name__, home)
    home.THINGS = things = Registry("thing", scope="here", locations=["late_things"])  # type: ignore[attr-defined]
    assert "late_things" not in sys.modules
    assert things.get("Late").__name__ == "Late"
    assert list(things.module_dict) == ["Late"]
    sys.modules.pop("late_things")
    broken = Registry("thing", scope="here", locations=["no_such_location"])
    for _ in range(2):  # it is tried again
        with pytest.raises(ModuleNotFoundError, match="no_such_location"):
            broken.get("Late")


# -- the package ---------------------------------------------------------------------------------


def test_the_registries_of_the_package() -> None:
    assert WEIGHT_INITIALIZERS is INITIALIZERS
    assert (MODELS.scope, INITIALIZERS.scope) == ("initcfg", "initcfg")
    assert "Kaiming" in INITIALIZERS
    assert "initcfg.Kaiming" in INITIALIZERS
    assert "'net' of scope 'here': nothing" in repr(Registry("net", scope="here"))


def test_torch_is_not_imported() -> None:
    program = (
        "import sys; from initcfg._config import MODELS; from initcfg import Registry\n"
        "registry = Registry('thing')\n"
        "registry.register_module(module=dict)\n"
        "assert registry.build(dict(type='dict', a=1)) == {'a': 1}\n"
        "assert len(MODELS) == 0 and 'torch' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
