"""What was meant, where a name is near to another one: keys, builders, and Hydra's key in place of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import initcfg
from initcfg._config import load_config
from initcfg.errors import BuildError, ConfigFileNotFoundError, MissingTypeError, NoTypeError, RuleError

CODE = """
from torch import nn

class TinyLM(nn.Module):
    def __init__(self, depth=2, width=4):
        super().__init__()
        self.h = nn.Linear(width, depth)
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "near_lm.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (dict(dpeth=3), ("depth",)),
        (dict(depth=3, dpeth=3), ("depth",)),
        (dict(wdith=3), ("width",)),
        (dict(depth=3, widht=3), ("width",)),
        (dict(nothing_like_it=3), ()),
    ],
)
def test_the_nearest_argument_is_meant_also_where_it_is_given(given: dict[str, Any], meant: Any) -> None:
    with pytest.raises(BuildError) as caught:
        initcfg.build(dict(type="near_lm:TinyLM", **given))
    assert caught.value.meant == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("near_lm.TinyLM", ("near_lm:TinyLM",)),
        ("json.decoder.JSONDecoder", ("json.decoder:JSONDecoder",)),
        ("no_such_module.TinyLM", ()),
        ("near_lm.yaml", ("near_lm.py",)),
        ("near_lm", ("near_lm.py",)),
        ("near_lm.Tiny-LM", ("near_lm.py",)),
    ],
)
def test_a_dotted_class_is_meant_as_a_builder(text: str, meant: Any) -> None:
    with pytest.raises(ConfigFileNotFoundError, match="does not exist") as caught:
        load_config(text)
    assert caught.value.meant == meant


def test_hydras_key_in_place_of_type() -> None:
    with pytest.raises(MissingTypeError, match="no type, but a '_target_', so") as caught:
        initcfg.plan(_linear(), {"_target_": "initcfg.NormalInit", "layer": "Linear", "std": 0.1})
    assert caught.value.meant == ("type",) and isinstance(caught.value, RuleError)
    with pytest.raises(NoTypeError, match="no 'type', but a '_target_'") as of_model:
        initcfg.build({"model": {"_target_": "near_lm.TinyLM"}})
    assert of_model.value.meant == ("type",)


def _linear() -> Any:
    from torch import nn

    return nn.Linear(2, 2)
