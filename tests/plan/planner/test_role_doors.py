"""Rules by role through every door: configs, own code, parts, streams, deferred models, traces."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from role_rules import GPT, ROLES, Block, planned
from torch import nn

import initcfg
from initcfg import BaseModule
from initcfg.errors import (
    ConfigError,
    UntrustedError,
)
from initcfg.values import Normal


def test_module_init_weights_and_own_code_see_the_whole_models_roles() -> None:
    class Outer(BaseModule):
        """Its own code calls for the rules of a part."""

        def __init__(self) -> None:
            super().__init__()
            self.body = GPT(init_cfg=dict(type="GPT2"))

        def init_weights(self) -> None:
            self.body.init_weights()

    model = Outer()
    roles = {"residual_out": "*.c_proj.weight", "blocks": "body.h"}
    plan = initcfg.plan(model, roles=roles)
    item = plan["body.h.3.attn.c_proj.weight"]
    assert item.value == Normal(0.0, 0.02 / math.sqrt(24)) and item.scaling is not None
    assert abs(plan.apply(model, seed=0)["body.h.3.attn.c_proj.weight"].value.args["std"] - 0.0040825) < 1e-7


CONFIGS = {
    "a.py": "model = dict(type='tests_roles_gpt:GPT', init_cfg=dict(type='GPT2'))\nroles = {roles}",
    "a.yaml": "model: {{type: 'tests_roles_gpt:GPT', init_cfg: {{type: GPT2}}}}\nroles: {roles}",
    "a.json": '{{"model": {{"type": "tests_roles_gpt:GPT", "init_cfg": {{"type": "GPT2"}}}},'
    '"roles": {roles}}}',
    "a.toml": "[model]\ntype = 'tests_roles_gpt:GPT'\ninit_cfg = {{type='GPT2'}}\n[roles]\n"
    "residual_out = ['*.c_proj.weight']\nblocks = 'h'",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_declare_roles(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("tests_roles_gpt")
    module.GPT = GPT  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests_roles_gpt", module)
    roles = json.dumps({"residual_out": ["*.c_proj.weight"], "blocks": "h"})
    (tmp_path / name).write_text(CONFIGS[name].format(roles=roles))
    model = initcfg.build(str(tmp_path / name), init=False)
    assert initcfg.plan(model)["h.3.mlp.c_proj.weight"].value == Normal(0.0, 0.02 / math.sqrt(24))
    built = initcfg.build(str(tmp_path / name), seed=0)
    assert (
        isinstance(built, GPT) and abs(float(built.h[3].mlp["c_proj"].weight.detach().std()) - 0.0041) < 0.001
    )  # type: ignore


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("example = 3", "must be 'file.py:function'"),
        ("example = 'a.py'", "must be 'file.py:function'"),
        ("example = 'my.data:batch'", "did you mean: 'my/data.py:batch'"),
        ("example = 'none.py:f'", "here is no file"),
        ("example = 'wrong.py:f'", "cannot be run. ZeroDivisionError"),
        ("example = 'right.py:g'", "has no function 'g'"),
        ("roles = 3", "roles must be a dict or 'names'"),
    ],
)
def test_a_wrong_example_is_said(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("1/0")
    (tmp_path / "right.py").write_text("def f(): return ()")
    (tmp_path / "c.py").write_text(f"model = dict(type='Linear', in_features=1, out_features=1)\n{text}\n")
    with pytest.raises(ConfigError, match=says):
        initcfg.build(str(tmp_path / "c.py"))


def test_an_example_of_a_stranger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(
        json.dumps({"model": {"type": "Linear", "in_features": 1, "out_features": 1}, "example": "e.py:f"})
    )
    (tmp_path / "e.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(UntrustedError, match="names code"):
        initcfg.build(str(tmp_path / "c.json"), untrusted=True)


def test_a_part_keeps_scale_tune_and_role() -> None:
    plan = planned(dict(type="GPT2"), dict(type="Normal", role="mlp_in", std=1, tune=dict(lr="1/fan_in")))
    stage = nn.ModuleDict({"h": nn.ModuleList([Block()])})
    part = plan.part(stage, name_map={"h.0": "h.7"})
    assert part["h.0.mlp.c_fc.weight"].tune == {"lr": 1 / 8}
    assert part["h.0.attn.c_proj.weight"].role == plan["h.7.attn.c_proj.weight"].role


def test_streamed_weights_are_those_applied(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = GPT(layers=2)
    plan = initcfg.plan(model, dict(type="GPT2"), roles=ROLES)
    plan.apply(model, seed=1)
    with torch.device("meta"):
        empty = GPT(layers=2)
    initcfg.plan(empty, dict(type="GPT2"), roles=ROLES).save_weights(tmp_path / "w", empty, seed=1)
    stored = load_file(tmp_path / "w" / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in model.state_dict().items())


def test_rules_of_a_child_are_for_its_own_tensors() -> None:
    model = GPT(block_cfg=[dict(type="Normal", role="residual_out", std=1, scale="1/(layer+1)")])
    plan = initcfg.plan(model, roles=ROLES)
    assert plan["h.4.mlp.c_proj.weight"].value == Normal(0.0, 0.2)
    assert plan["h.4.mlp.c_fc.weight"].rule is None


def test_deferred_models_too() -> None:
    with initcfg.deferred():
        model = GPT(init_cfg=dict(type="GPT2"))
    plan = initcfg.plan(model, roles=ROLES)
    assert plan["h.1.attn.c_proj.weight"].value == Normal(0.0, 0.02 / math.sqrt(24))


class NanoBlock(nn.Module):
    """A block as small training codes write it."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(d, 4 * d), "c_proj": nn.Linear(4 * d, d)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.c_attn(self.ln_1(x)).split(x.shape[-1], dim=-1)
        scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + self.c_proj(scores @ v)
        return x + self.mlp["c_proj"](nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x))))


class NanoGPT(nn.Module):
    """GPT-2 as small training codes write it, with its own loop over ``c_proj``."""

    def __init__(self, layers: int = 6, d: int = 16) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(32, d), nn.Embedding(8, d)
        self.h = nn.ModuleList(NanoBlock(d) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, 32, bias=False)
        self.wte.weight = self.lm_head.weight
        self.apply(self._init)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                torch.nn.init.normal_(parameter, mean=0.0, std=0.02 / math.sqrt(2 * layers))

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            torch.nn.init.zeros_(module.bias)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def test_a_scheme_says_what_existing_code_does() -> None:
    """Against the trace of code that does it by hand no tensor differs; its roles were seen."""
    traced = initcfg.trace(NanoGPT)
    plan = initcfg.plan(NanoGPT(), dict(type="GPT2"), example=(torch.zeros(2, 4, dtype=torch.long),))
    values = {name: item.value for name, item in plan.items()}
    for name, item in traced.items():
        expected = item.value
        if isinstance(expected, Normal):
            assert values[name].kind == "Normal"
            assert math.isclose(values[name].args["std"], expected.std, rel_tol=1e-12), name
        else:
            assert values[name] == expected, name
    assert plan["h.5.mlp.c_proj.weight"].role.how == "seen"  # type: ignore[union-attr]
