"""Exports of timm's, torchvision's, transformers' and mmdet's models: few rules, which give the same plan."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from torch import nn

import initcfg
from initcfg import Config, Plan
from initcfg._plan.export import init_cfg_of

pytestmark = [pytest.mark.peers, pytest.mark.mm]

Row = dict[str, Any]
TITLE = "Exported rules"

# Model, and the most rules that are acceptable.
TIMM = {
    "vit_tiny_patch16_224": 8,
    "deit_tiny_distilled_patch16_224": 8,
    "swin_tiny_patch4_window7_224": 8,
    "convnextv2_atto": 6,
    "efficientnet_b0": 6,
    "resnet18": 6,
    "mixer_s16_224": 6,
    "xcit_nano_12_p16_224": 8,
    "cait_xxs24_224": 8,
    "levit_128s": 6,
    "mobilevit_xxs": 6,
    # Its two projections are scaled by depth: one rule a layer.
    "beit_base_patch16_224": 8 + 12,
}
TORCHVISION = {
    "resnet18": 6,
    "densenet121": 6,
    "efficientnet_b0": 6,
    "mobilenet_v3_small": 6,
    "regnet_y_400mf": 6,
    "swin_t": 8,
    "vit_b_16": 8,
    "maxvit_t": 6,
    "convnext_tiny": 6,
}


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config())


def bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig())


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "vocab_size": 100}
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=80, **sizes))


def quietly(function: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        # What the libraries say of themselves is none of ours.
        warnings.simplefilter("ignore")
        return function()


def pending(make: Callable[[], nn.Module]) -> nn.Module:
    with initcfg.deferred():
        return quietly(make)


def written(plan: Plan) -> dict[str, Any]:
    items = [*plan.parameters.items(), *plan.buffers.items()]
    return {k: item.value for k, item in items if item.value.kind not in ("Keep", "Computed", "Opaque")}


def check(
    name: str, make: Callable[[], nn.Module], most: int, tables: dict[str, list[Row]], tmp_path: Any
) -> None:
    """Export, write as YAML, load again, and plan for a model of the same kind."""
    model = pending(make)
    plan = quietly(lambda: initcfg.plan(model))
    start = time.perf_counter()
    rules = quietly(lambda: init_cfg_of(plan, model))
    seconds = time.perf_counter() - start
    row = {
        "model": name,
        "tensors": len(plan),
        "rules": len(rules),
        "most": most,
        "ms": round(1000 * seconds),
    }
    tables.setdefault(TITLE, []).append(row)
    assert json.loads(json.dumps(rules)) == rules
    path = tmp_path / "export.yaml"
    path.write_text(yaml.safe_dump({"init_cfg": rules}, sort_keys=False), encoding="utf-8")
    loaded = Config.fromfile(path).init_cfg
    assert loaded == rules
    again = quietly(lambda: initcfg.plan(pending(make), loaded))
    assert written(again) == written(plan)
    # Nothing of it is a constructor's: where something is written, a rule says so.
    assert [key for key in written(plan) if again[key].rule is None] == []
    assert len(rules) <= most


@pytest.mark.parametrize(("name", "most"), TIMM.items())
def test_timm(name: str, most: int, tables: dict[str, list[Row]], tmp_path: Any) -> None:
    import timm

    check(f"timm {name}", lambda: timm.create_model(name), most, tables, tmp_path)


@pytest.mark.parametrize(("name", "most"), TORCHVISION.items())
def test_torchvision(name: str, most: int, tables: dict[str, list[Row]], tmp_path: Any) -> None:
    import torchvision.models

    check(f"torchvision {name}", lambda: torchvision.models.get_model(name), most, tables, tmp_path)


@pytest.mark.parametrize(("make", "most"), [(gpt2, 4), (bert, 3), (llama, 3)])
def test_transformers(
    make: Callable[[], nn.Module], most: int, tables: dict[str, list[Row]], tmp_path: Any
) -> None:
    pytest.importorskip("transformers")
    check(f"transformers {make.__name__}", make, most, tables, tmp_path)


def test_mmdet(tables: dict[str, list[Row]], tmp_path: Any) -> None:
    """Its head has code of its own, which the rules say too."""
    from real_models import MODELS, build

    (real,) = [each for each in MODELS if each.config == "retinanet/retinanet_r18_fpn_1x_coco"]
    check("mmdet retinanet_r18", lambda: build(real), 6, tables, tmp_path)
