"""Builders of models of timm, torchvision, transformers and the OpenMMLab packages."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

import initcfg
from initcfg import MODELS, errors
from initcfg._api.command.cli import main

pytestmark = [pytest.mark.peers, pytest.mark.mm, pytest.mark.hf, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_arguments: Any, **_keywords: Any) -> None:
        raise AssertionError("The network was asked for.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def hf(stand_ins: None, no_network: None) -> Any:
    return pytest.importorskip("transformers")


@pytest.fixture
def timm(stand_ins: None, no_network: None) -> Any:
    return pytest.importorskip("timm")


@pytest.fixture
def torchvision(stand_ins: None, no_network: None) -> Any:
    return pytest.importorskip("torchvision")


@pytest.fixture(scope="session")
def openmmlab(stand_ins: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in ("mmdet", "mmseg", "mmpretrain"):
            pytest.importorskip(f"{package}.models")


def run(*arguments: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CliRunner().invoke(main, list(arguments), prog_name="initcfg")


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.stderr
    return done.stderr


def planned(*arguments: str) -> initcfg.Plan:
    done = run("plan", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return initcfg.Plan.from_json(json.loads(done.stdout))


def fits(plan: initcfg.Plan, model: nn.Module) -> None:
    """The plan is of a model like this one: same names, shapes and data types."""
    assert {name: (item.shape, item.dtype) for name, item in plan.parameters.items()} == {
        name: (tuple(item.shape), str(item.dtype).removeprefix("torch."))
        for name, item in model.named_parameters(remove_duplicate=False)
        if name not in plan.aliases
    }


# -- timm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "mixer_s32_224.untrained"])
def test_timm(timm: Any, name: str) -> None:
    plan = planned(f"timm:{name}", "--set", "num_classes=10")
    fits(plan, timm.create_model(name, num_classes=10))
    assert not plan.uncalled
    assert all(item.default is not None for item in plan.values())


def test_init_of_timm(timm: Any) -> None:
    done = run("init", "timm:resnet18", "-o", "w.safetensors", "--seed", "0", "--set", "num_classes=3")
    assert done.exit_code == 0, done.output
    model = timm.create_model("resnet18", num_classes=3)
    model.load_state_dict(load_file("w.safetensors"))
    # Spread as the constructor's: Kaiming, fan out.
    assert model.conv1.weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


def test_rules_for_timm(timm: Any) -> None:
    cfg = dict(
        type="timm:vit_tiny_patch16_224",
        depth=1,
        init_cfg=[dict(type="Constant", layer="Linear", val=2, bias=1)],
    )
    Path("vit.json").write_text(json.dumps(dict(model=cfg)))
    model = initcfg.build("vit.json", seed=0)
    assert model.head.weight.unique().tolist() == [2]
    assert model.patch_embed.proj.weight.unique().numel() > 1
    fits(planned("vit.json"), timm.create_model("vit_tiny_patch16_224", depth=1))
    assert run("diff", "vit.json", "timm:vit_tiny_patch16_224", "--set-b", "depth=1").exit_code == 1


@pytest.mark.parametrize("compat", [None, "mmengine"])
def test_timm_within_a_registered_model(timm: Any, compat: str | None) -> None:
    class Detector(initcfg.BaseModule):
        def __init__(self, backbone: dict) -> None:
            super().__init__(dict(type="Constant", layer="Conv2d", val=1))
            self.backbone = MODELS.build(backbone)
            self.neck = nn.Conv2d(512, 8, 1)

    rules = dict(type="Constant", layer="Conv2d", val=3)
    backbone = dict(type="timm:resnet18", features_only=True, out_indices=(4,), init_cfg=rules)
    model = initcfg.build(dict(type=Detector, backbone=backbone), compat=compat)
    assert model.neck.weight.unique().tolist() == [1]
    assert model.backbone.conv1.weight.unique().tolist() == [3]


def test_errors_of_timm(timm: Any) -> None:
    assert "'timm:resnet18'" in refused("plan", "timm:resnett18")
    assert "did you mean: 'num_classes'" in refused("plan", "timm:resnet18", "--set", "num_clases=3")
    assert "asks for some" in refused("plan", "timm:resnet18", "--set", "pretrained=true")
    assert "has no model" in refused("plan", "timm:hf-hub:timm/resnet18.a1_in1k")


# -- torchvision ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["resnet18", "googlenet", "fcn_resnet50", "fasterrcnn_mobilenet_v3_large_320_fpn", "r3d_18"]
)
def test_torchvision(torchvision: Any, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = initcfg.build(f"torchvision:{name}", init=False)
    plan = initcfg.plan(model)
    assert all(item.default is not None for item in plan.values())
    backbone = {"weights_backbone": None} if "_resnet50" in name or "fpn" in name else {}
    fits(plan, torchvision.models.get_model(name, weights=None, **backbone))


def test_errors_of_torchvision(torchvision: Any) -> None:
    assert "'torchvision:resnet18'" in refused("plan", "torchvision:resnett18")
    assert "'num_classes'" in refused("plan", "torchvision:resnet18", "--set", "num_clases=3")
    assert "asks for some" in refused("plan", "torchvision:resnet18", "--set", "weights=DEFAULT")


# -- transformers --------------------------------------------------------------------------------

SMALL = dict(n_layer=2, n_embd=16, n_head=2, vocab_size=64, n_positions=32)
SETTINGS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


def test_hf_model_type_and_class(hf: Any) -> None:
    config = hf.GPT2Config(**SMALL)
    fits(planned("hf:gpt2", *SETTINGS), hf.AutoModel.from_config(config))
    plan = planned("hf:GPT2LMHeadModel", *SETTINGS)
    fits(plan, hf.GPT2LMHeadModel(config))
    assert plan["transformer.wte.weight"].value.args["std"] == config.initializer_range


@pytest.mark.parametrize("architectures", [None, ["GPT2LMHeadModel"]])
@pytest.mark.parametrize("as_folder", [True, False])
def test_hf_config_file(hf: Any, architectures: list[str] | None, as_folder: bool) -> None:
    config = hf.GPT2Config(**SMALL, architectures=architectures)
    config.save_pretrained("saved")
    text = "hf:saved" if as_folder else "hf:saved/config.json"
    cls = hf.GPT2LMHeadModel if architectures else hf.GPT2Model
    # num_hidden_layers is n_layer by another name.
    plan = planned(text, "--set", "num_hidden_layers=1", "--set", "dtype=bfloat16")
    config.n_layer, config.dtype = 1, "bfloat16"
    fits(plan, cls._from_config(config))
    assert {item.dtype for item in plan.values()} == {"bfloat16"}


def test_rules_for_hf(hf: Any) -> None:
    rules = [dict(type="Constant", param="*.wte.weight", val=4)]
    model = initcfg.build(dict(type="hf:GPT2LMHeadModel", **SMALL, init_cfg=rules), seed=1)
    assert model.lm_head.weight.unique().tolist() == [4]
    # What no rule reaches is as its own code says.
    std = model.transformer.h[0].mlp.c_fc.weight.std().item()
    assert std == pytest.approx(0.02, rel=0.1)


def test_nested_config_of_hf(hf: Any) -> None:
    plan = planned(
        *("hf:CLIPModel", "--set", "text_config.num_hidden_layers=1"),
        *("--set", "vision_config.num_hidden_layers=2", "--set", "text_config.vocab_size=100"),
    )
    assert "text_model.encoder.layers.1.layer_norm1.weight" not in plan
    assert "vision_model.encoder.layers.1.layer_norm1.weight" in plan
    assert plan["text_model.embeddings.token_embedding.weight"].shape[0] == 100


def test_errors_of_hf(hf: Any) -> None:
    assert "'hf:gpt2'" in refused("plan", "hf:gpt3")
    assert "'hf:GPT2LMHeadModel'" in refused("plan", "hf:GPT2LMHeadModell")
    assert "'n_layer'" in refused("plan", "hf:gpt2", "--set", "n_layers=2")
    assert "not a floating-point type" in refused("plan", "hf:gpt2", "--set", "dtype=bfloat61")
    assert "has no such config" in refused("plan", "hf:gpt2", "--set", "n_layer=many")
    assert "no file or folder" in refused("plan", "hf:openai-community/gpt2")
    Path("config.json").write_text('{"model_type": "gpt2", "architectures": ["GPT2Mine"]}')
    assert "'GPT2Mine'" in refused("plan", "hf:config.json")
    Path("config.json").write_text('{"model_type": "gpt22"}')
    assert "'gpt2'" in refused("plan", "hf:config.json")


# -- OpenMMLab -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "mmdet:retinanet/retinanet_r18_fpn_1x_coco",
        "mmseg:fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024",
        "mmpretrain:resnet/resnet18_8xb32_in1k",
    ],
)
def test_configs_of_packages(openmmlab: None, text: str) -> None:
    from mmengine.config import Config
    from mmengine.registry import MODELS as theirs
    from mmengine.registry import DefaultScope

    from initcfg._config.builders.openmmlab import config_file

    before = getattr(DefaultScope.get_current_instance(), "scope_name", None)
    plan = planned(text)
    assert getattr(DefaultScope.get_current_instance(), "scope_name", None) == before
    path = config_file(text)
    assert planned(path) == plan
    with DefaultScope.overwrite_default_scope(text.partition(":")[0]):
        model = theirs.build(Config.fromfile(path).model)
    fits(plan, model)
    # What the config wants loaded stays in the plan.
    wanted = "Pretrained" in Config.fromfile(path).pretty_text or "pretrained='" in Path(path).read_text()
    assert bool(plan.loads) is wanted


def test_changes_to_a_package_config(openmmlab: None) -> None:
    text = "mmdet:retinanet/retinanet_r18_fpn_1x_coco"
    plan = planned(text, "--set", "model.bbox_head.num_classes=3", "--set", "model.backbone.init_cfg=None")
    assert plan["bbox_head.retina_cls.bias"].shape == (27,)
    assert not plan.loads
    model = initcfg.build(
        dict(type=text, backbone=dict(init_cfg=None), bbox_head=dict(num_classes=3)), seed=0
    )
    assert model.bbox_head.retina_cls.bias.unique().tolist() == [
        torch.tensor(initcfg.bias_init_with_prob(0.01)).item()
    ]


def test_a_part_of_a_packages_configs(openmmlab: None) -> None:
    text = "mmdet:_base_/models/retinanet_r50_fpn"
    assert planned(
        text, "--set", "model.backbone.depth=18", "--set", "model.neck.in_channels=[64,128,256,512]"
    )


def test_errors_of_packages(openmmlab: None) -> None:
    message = refused("plan", "mmdet:retinanet_r18_fpn_1x_coco")
    assert "'mmdet:retinanet/retinanet_r18_fpn_1x_coco'" in message
    with pytest.raises(errors.ConfigFileNotFoundError):
        initcfg.build(dict(type="mmdet:retinanet/x"))
