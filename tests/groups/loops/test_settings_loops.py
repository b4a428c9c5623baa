"""Settings as objects of attrs, pydantic and transformers: said in YAML, and by ``--set``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import initcfg
from initcfg.errors import BuildError

CODE = """
import attr
import attrs
import pydantic
import pydantic.dataclasses
from torch import nn
from transformers import GPT2Config, PretrainedConfig


@attrs.define
class AttrsPart:
    heads: int = 2


def even(instance, attribute, value):
    if value % 2:
        raise ValueError("the width must be even")


@attrs.define
class OfAttrs:
    n_layer: int = attrs.field(default=2, validator=attrs.validators.instance_of(int))
    n_embd: int = attrs.field(default=4, validator=even)
    part: AttrsPart = attrs.field(factory=AttrsPart)
    parts: list[AttrsPart] = attrs.Factory(list)
    _hidden: int = 3
    wide: int = attrs.field(default=1, converter=int, alias="width")


@attr.s
class OfOldAttrs:
    n_layer = attr.ib(default=2)
    n_embd = attr.ib(default=4)


class PydanticPart(pydantic.BaseModel):
    heads: int = 2


class OfPydantic(pydantic.BaseModel):
    n_layer: int = 2
    n_embd: int = pydantic.Field(4, gt=0)
    part: PydanticPart = PydanticPart()
    parts: dict[str, PydanticPart] = {}


class Derived(OfPydantic):
    n_embd: int = 8


class OfAliases(pydantic.BaseModel):
    n_layer: int = pydantic.Field(2, alias="layers")
    n_embd: int = 4


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    n_layer: int = 2
    n_embd: int = 4


@pydantic.dataclasses.dataclass
class OfPydanticDataclass:
    n_layer: int = 2
    n_embd: int = 4


class OfTransformers(PretrainedConfig):
    model_type = "mine"

    def __init__(self, n_layer=2, n_embd=4, inner=None, **more):
        self.n_layer, self.n_embd, self.inner = n_layer, n_embd, inner
        super().__init__(**more)


class Bare(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.h = nn.ModuleList(nn.Linear(c.n_embd, c.n_embd) for _ in range(c.n_layer))


def taking(cls):
    class Net(Bare):
        def __init__(self, c: cls = None):
            super().__init__(cls() if c is None else c)

    Net.__name__ = Net.__qualname__ = f"Net{cls.__name__}"
    globals()[Net.__name__] = Net


KINDS = [OfAttrs, OfOldAttrs, OfPydantic, OfPydanticDataclass, Open, OfTransformers]
for each in [*KINDS, OfAliases, GPT2Config, PretrainedConfig]:
    taking(each)
"""
KINDS = ("OfAttrs", "OfOldAttrs", "OfPydantic", "OfPydanticDataclass", "Open", "OfTransformers")


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_settings.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("own_settings", None)


def built(kind: str, settings: Any, *overrides: str) -> Any:
    model = {"type": f"own_settings.Net{kind}", **({} if settings is None else {"c": settings})}
    Path("net.yaml").write_text(yaml.safe_dump({"model": model}, sort_keys=False))
    return initcfg.build(initcfg.Config.fromfile("net.yaml", overrides=list(overrides)), seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dict_becomes_the_object_and_set_reaches_it(kind: str) -> None:
    model = built(kind, {"n_layer": 3})
    assert type(model.c).__name__ == kind and (len(model.h), model.c.n_embd) == (3, 4)
    assert len(built(kind, {"n_layer": 3}, "model.c.n_layer=6").h) == 6
    assert len(built(kind, None, "model.c.n_layer=1").h) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Open"])
def test_an_unknown_field_has_its_line_and_a_suggestion(kind: str) -> None:
    with pytest.raises(BuildError, match="takes no argument 'n_layr'") as caught:
        built(kind, {"n_layr": 3})
    assert caught.value.meant == ("n_layer",) and caught.value.where == "net.yaml:3"


def test_what_takes_any_field_takes_it() -> None:
    assert built("Open", {"n_layr": 3}).c.n_layr == 3


def test_settings_within_settings() -> None:
    model = built("OfAttrs", {"part": {"heads": 4}, "parts": [{"heads": 3}], "hidden": 7, "width": "5"})
    assert (model.c.part.heads, model.c.parts[0].heads, model.c._hidden, model.c.wide) == (4, 3, 7, 5)
    assert type(model.c.parts[0]).__name__ == "AttrsPart"
    model = built("OfPydantic", {"part": {"heads": "4"}, "parts": {"a": {"heads": 3}}})
    assert (model.c.part.heads, model.c.parts["a"].heads) == (4, 3)
    assert built("OfAliases", {"layers": 5}).c.n_layer == 5
    assert built("OfTransformers", {"inner": {"a": 1}, "id2label": {0: "a"}}).c.inner == {"a": 1}


@pytest.mark.parametrize(
    ("kind", "settings", "problem", "where"),
    [
        ("OfPydantic", {"n_embd": 2, "n_layer": "three"}, "n_layer='three': Input should be a valid int", 5),
        ("OfPydantic", {"n_layer": 1, "n_embd": -1}, "n_embd=-1: Input should be greater than 0", 5),
        ("OfPydantic", {"n_layer": 1, "part": {"heads": "many"}}, "heads='many': Input should be a valid", 6),
        ("OfPydanticDataclass", {"n_layer": 1, "n_embd": "x"}, "n_embd='x': Input should be a valid int", 5),
        ("OfAttrs", {"n_embd": 2, "n_layer": "three"}, "'n_layer' must be <class 'int'>", 5),
        ("OfAttrs", {"width": "v"}, "invalid literal for int", 3),
        ("GPT2Config", {"n_layer": "three"}, "'n_layer' expected int, got str", 3),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_with_its_place(
    kind: str, settings: Any, problem: str, where: int
) -> None:
    with pytest.raises(BuildError) as caught:
        built(kind, settings)
    assert problem in str(caught.value) and "https" not in str(caught.value)
    assert caught.value.where == f"net.yaml:{where}"
    assert caught.value.__cause__ is not None


def test_who_catches_what_the_library_raises_still_does() -> None:
    with pytest.raises(ValueError, match="refuses its settings"):
        built("OfPydantic", {"n_layer": "three"})
    # A validator of one's own keeps its file and line.
    with pytest.raises(ValueError, match="the width must be even") as caught:
        built("OfAttrs", {"n_embd": 3})
    assert not isinstance(caught.value, BuildError) and caught.traceback[-1].path.name == "own_settings.py"


def test_a_type_chooses_the_class() -> None:
    assert built("OfPydantic", {"type": "own_settings.Derived"}).c.n_embd == 8
    assert built("PreTrainedConfig", {"_target_": "own_settings.OfTransformers", "n_layer": 1}).c.n_layer == 1
    model = built("PreTrainedConfig", {"type": "transformers.GPT2Config", "n_layer": 1, "n_embd": 8})
    assert model.c.model_type == "gpt2" and model.c.n_embd == 8
    with pytest.raises(BuildError, match="is for a OfPydantic, and names") as caught:
        built("OfPydantic", {"_target_": "own_settings.OfAttrs", "n_layer": 1})
    assert "own_settings.OfPydantic" in str(caught.value)
    with pytest.raises(BuildError, match="PreTrainedConfig has no such attribute"):
        built("PreTrainedConfig", {"n_layer": 1})


@pytest.mark.parametrize("kind", ["OfAttrs", "OfPydantic", "OfTransformers"])
def test_the_command(kind: str) -> None:
    Path("net.yaml").write_text(f"model:\n  type: own_settings.Net{kind}\n  c: {{n_layer: 1}}\n")

    def run(*words: str) -> Any:
        whole = [sys.executable, "-m", "initcfg", "plan", "net.yaml", *words]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    done = run("--json", "--set", "model.c.n_layer=3")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["parameters"]) == 6
    wrong = run("--set", "model.c.n_layr=3")
    assert wrong.returncode == 2 and "'n_layer'" in wrong.stderr and "unexpected error" not in wrong.stderr
