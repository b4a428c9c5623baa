"""Models that take an object with their settings: said in a config, as a dict in that place."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from torch import nn

import initcfg
from initcfg import MODELS, errors

CODE = '''
from __future__ import annotations
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union
from torch import nn

if TYPE_CHECKING:
    from nowhere import Elsewhere

@dataclass
class Attention:
    heads: int = 2
    kind: str = "full"

@dataclass
class GPTConfig:
    n_layer: int = 2
    n_embd: int = 4
    attention: Attention = field(default_factory=Attention)
    rope: dict[str, Any] | None = None

@dataclass
class LargerConfig(GPTConfig):
    n_embd: int = 8

@dataclass
class Scaled:
    type: str = "linear"
    factor: float = 1.0

class Plain:
    def __init__(self, width=3):
        self.width = width

class Named(NamedTuple):
    width: int = 5

def note(c):
    return c

class Bare(nn.Module):
    """As nanoGPT's: no annotation."""
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.h = nn.ModuleList(nn.Linear(config.n_embd, config.n_embd) for _ in range(config.n_layer))

class GPT(Bare):
    def __init__(self, c: Optional[GPTConfig] = None, more: "Union[int, Scaled]" = 1):
        super().__init__(c or GPTConfig())
        self.more = more

class Many(nn.Module):
    def __init__(self, blocks: list[Attention], by_name: dict[str, Attention] | None = None,
                 plain: Plain = None, named: Named = Named(), free: Any = None, rest: Elsewhere = None,
                 either: Plain | dict = None):
        super().__init__()
        vars(self).update(blocks=blocks, by_name=by_name, plain=plain, named=named)
        vars(self).update(free=free, rest=rest, either=either)

@dataclass
class Even:
    width: int = 2
    def __post_init__(self):
        if self.width % 2:
            raise ValueError("the width must be even")

def helper(width):
    raise RuntimeError("not today")

class Careful(nn.Module):
    def __init__(self, c: Even, fails: bool = False):
        super().__init__()
        if fails:
            helper(c.width)
'''


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    (tmp_path / "own_gpt.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("own_gpt", None)


def built(text: str) -> nn.Module:
    Path("net.yaml").write_text(f"model:\n{textwrap.indent(textwrap.dedent(text), '  ')}\n")
    return initcfg.build("net.yaml", seed=0)


@pytest.mark.parametrize(
    "text",
    [
        "type: own_gpt.GPT\nc: {type: own_gpt.GPTConfig, n_layer: 3}",
        "type: own_gpt.GPT\nc: {_target_: own_gpt.GPTConfig, n_layer: 3}",
        "type: own_gpt.GPT\nc: {n_layer: 3}",
        "type: own_gpt:GPT\nc: {n_layer: 3}",
        "type: own_gpt.Bare\nconfig: {type: own_gpt.GPTConfig, n_layer: 3}",
        "type: own_gpt.Bare\nconfig: {_target_: own_gpt:GPTConfig, n_layer: 3}",
    ],
)
def test_a_dict_becomes_the_config(text: str) -> None:
    model = built(text)
    assert type(model.config).__name__ == "GPTConfig" and model.config.n_layer == len(model.h) == 3
    assert model.config.n_embd == 4


def test_what_is_nested_and_what_is_derived() -> None:
    model = built(
        "type: own_gpt.GPT\nc: {type: own_gpt.LargerConfig, attention: {heads: 8}, rope: {type: x}}"
    )
    assert (model.config.n_embd, model.config.attention.heads, model.config.rope) == (8, 8, {"type": "x"})
    assert built("type: own_gpt.GPT\nc: {}").config.n_layer == 2


def test_a_setting_may_be_called_type() -> None:
    assert built("type: own_gpt.GPT\nmore: {type: dynamic, factor: 2}").more.type == "dynamic"
    assert built("type: own_gpt.GPT\nmore: {_target_: own_gpt.Scaled, type: dynamic}").more.type == "dynamic"


def test_lists_dicts_and_other_classes() -> None:
    model = built("""
        type: own_gpt.Many
        blocks: [{type: own_gpt.Attention, heads: 1}, {heads: 3}]
        by_name: {a: {heads: 4}}
        plain: {type: own_gpt.Plain, width: 6}
        named: {width: 7}
        free: {width: 8}
        either: {width: 9}
    """)
    assert [each.heads for each in model.blocks] == [1, 3] and model.by_name["a"].heads == 4
    assert model.plain.width == 6 and model.named.width == 7
    assert model.free == {"width": 8} and model.either == {"width": 9}


def test_an_annotation_for_type_checkers_alone_needs_a_type() -> None:
    model = built("type: own_gpt.Many\nblocks: []\nrest: {type: own_gpt.Attention, heads: 5}")
    assert model.rest.heads == 5
    assert built("type: own_gpt.Many\nblocks: []\nrest: {heads: 5}").rest == {"heads": 5}


def test_registered_settings_and_python() -> None:
    import own_gpt

    model = initcfg.build(dict(type=own_gpt.GPT, c=dict(type=own_gpt.LargerConfig)))
    assert model.config.n_embd == 8
    MODELS.register_module("Sized", module=own_gpt.GPTConfig)
    try:
        assert built("type: own_gpt.Bare\nconfig: {type: Sized, n_layer: 1}").config.n_layer == 1
    finally:
        del MODELS.module_dict["Sized"]


def test_set_reaches_a_setting() -> None:
    Path("net.yaml").write_text("model: {type: own_gpt.GPT}\n")
    cfg = initcfg.Config.fromfile("net.yaml", overrides=["model.c.n_layer=6"])
    assert len(initcfg.build(cfg).h) == 6


@pytest.mark.parametrize(
    ("text", "problem", "meant", "line"),
    [
        ("type: own_gpt.GPT\nc:\n  n_layr: 3", "GPTConfig takes no argument 'n_layr'", "n_layer", 3),
        (
            "type: own_gpt.GPT\nc:\n  attention:\n    haeds: 3",
            "Attention takes no argument 'haeds'",
            "heads",
            4,
        ),
        ("type: own_gpt.GPT\nc:\n  type: own_gpt.GPTConfg", "is for a GPTConfig", "own_gpt.GPTConfig", 4),
        ("type: own_gpt.GPT\nc:\n  type: own_gpt.Attention", "a class, but no torch.nn.Module", None, None),
        (
            "type: own_gpt.Many\nblocks:\n- heads: 1\n- hats: 1",
            "Attention takes no argument 'hats'",
            "heads",
            5,
        ),
    ],
)
def test_typos_have_a_suggestion_and_a_line(text, problem, meant, line) -> None:
    with pytest.raises(errors.BuildError) as caught:
        built(text)
    assert problem in str(caught.value)
    if meant is not None:
        assert meant in caught.value.meant and caught.value.where == f"net.yaml:{line}"


def test_what_a_constructor_raises_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="the width must be even") as caught:
        built("type: own_gpt.Careful\nc: {width: 3}")
    assert caught.traceback[-1].path.name == "own_gpt.py"
    with pytest.raises(RuntimeError, match="not today") as raised:
        built("type: own_gpt.Careful\nc: {width: 2}\nfails: true")
    assert [each.name for each in raised.traceback][-2:] == ["__init__", "helper"]


def test_strangers_name_no_settings() -> None:
    for key in ("type", "_target_"):
        text = f"model: {{type: Linear, in_features: 2, out_features: 2, device: {{{key}: own_gpt.Plain}}}}\n"
        Path("net.yaml").write_text(text)
        with pytest.raises(errors.UntrustedError):
            initcfg.build("net.yaml", untrusted=True)
    assert "own_gpt" not in sys.modules


def test_a_class_of_no_settings_stays_refused_where_nothing_asks_for_it() -> None:
    with pytest.raises(errors.BuildError, match="stands in a config file"):
        built("type: own_gpt.Bare\nconfig: {type: own_gpt.Plain}")
    with pytest.raises(errors.BuildError, match="stands in a config file"):
        built("type: own_gpt.Many\nblocks: []\nfree: {type: own_gpt.Attention}")
