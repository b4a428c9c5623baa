"""The example of a whole project: the RetinaNet of examples/retinanet."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from example_draws import assert_drawn_from
from safetensors.torch import load_file
from torch import nn

import initcfg
from initcfg import Config, Ledger
from initcfg._api.command.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
RETINANET = EXAMPLES / "retinanet"
R50 = RETINANET / "retinanet_r50_fpn.py"
OWN_RULES = RETINANET / "retinanet_r50_fpn_own_rules.py"
CONFIGS = sorted(RETINANET.glob("retinanet_*.py"))


def planned(config, **changes):
    """A model of a config, built and not initialized, and its plan."""
    cfg = Config.fromfile(config, overrides={key.replace("__", "."): item for key, item in changes.items()})
    model = initcfg.build(cfg, init=False)
    return model, initcfg.plan(model, strict=True)


@pytest.fixture(scope="module")
def r50():
    """RetinaNet R50 as planned and as initialized with seed 0."""
    model, plan = planned(R50)
    plan.apply(model, seed=0)
    return model, plan


# -- RetinaNet: the plan -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("backbone.conv1.weight", math.sqrt(2 / (64 * 7 * 7))),
        ("backbone.layer1.0.conv1.weight", math.sqrt(2 / 64)),
        ("backbone.layer1.0.conv2.weight", math.sqrt(2 / (64 * 3 * 3))),
        ("backbone.layer1.0.conv3.weight", math.sqrt(2 / 256)),
        ("backbone.layer4.0.conv2.weight", math.sqrt(2 / (512 * 3 * 3))),
        ("backbone.layer4.0.downsample.0.weight", math.sqrt(2 / 2048)),
        ("bbox_head.cls_convs.0.conv.weight", 0.01),
        ("bbox_head.reg_convs.3.conv.weight", 0.01),
        ("bbox_head.retina_cls.weight", 0.01),
        ("bbox_head.retina_reg.weight", 0.01),
    ],
)
def test_normal_weights(r50, name, std):
    value = r50[1][name].value
    assert value.kind == "Normal"
    assert value.args["mean"] == 0
    assert value.args["std"] == pytest.approx(std, rel=1e-15)


def test_every_convolution_of_the_backbone_is_kaimings_by_fan_out(r50):
    model, plan = r50
    convolutions = [
        (name, module) for name, module in model.backbone.named_modules() if type(module) is nn.Conv2d
    ]
    assert len(convolutions) == 53
    for name, module in convolutions:
        item = plan[f"backbone.{name}.weight"]
        height, width = module.kernel_size
        assert item.value.args["std"] == pytest.approx(
            math.sqrt(2 / (module.out_channels * height * width)), rel=1e-15
        )
        assert item.rule == "model.backbone.init_cfg[0]"
        assert item.initializer["type"] == "Kaiming"
        assert (item.initializer["mode"], item.initializer["nonlinearity"]) == ("fan_out", "relu")


def test_residuals_start_at_zero(r50):
    model, plan = r50
    blocks = [name for name, module in model.named_modules() if type(module).__name__ == "Bottleneck"]
    assert len(blocks) == 3 + 4 + 6 + 3
    for block in blocks:
        for norm, number in (("bn1", 1), ("bn2", 1), ("bn3", 0)):
            assert plan[f"{block}.{norm}.weight"].value.args == {"val": number}
            assert plan[f"{block}.{norm}.bias"].value.args == {"val": 0}
        item = plan[f"{block}.bn3.weight"]
        assert item.rule == f"model.{block}.init_cfg.override"
        (shadowed,) = item.shadowed
        assert (shadowed.rule, shadowed.value.args) == ("model.backbone.init_cfg[1]", {"val": 1})
        assert not model.get_submodule(block).bn3.weight.any()
    assert (model.backbone.layer1[0].downsample[1].weight == 1).all()


def test_residuals_start_at_one_without_zero_init_residual():
    _, plan = planned(R50, model__backbone__zero_init_residual=False)
    norms = [name for name in plan if ".bn" in name and name.endswith(".weight")]
    assert len(norms) == 1 + 3 * 16
    assert {plan[name].value.args["val"] for name in norms} == {1}


def test_pyramid_is_xaviers(r50):
    _, plan = r50
    for name, fans in (
        ("neck.lateral_convs.0.conv.weight", 512 + 256),
        ("neck.fpn_convs.0.conv.weight", (256 + 256) * 9),
        ("neck.fpn_convs.3.conv.weight", (2048 + 256) * 9),
    ):
        value = plan[name].value
        bound = math.sqrt(3) * math.sqrt(2 / fans)
        assert value.kind == "Uniform"
        assert (value.args["a"], value.args["b"]) == pytest.approx((-bound, bound), rel=1e-15)


def test_classifier_starts_as_background(r50):
    model, plan = r50
    item = plan["bbox_head.retina_cls.bias"]
    assert item.value.args["val"] == pytest.approx(-math.log(99), rel=1e-15)
    assert item.rule == "model.bbox_head.init_cfg.override"
    assert plan["bbox_head.retina_reg.bias"].value.args == {"val": 0}
    assert model.bbox_head.retina_cls.bias.sigmoid().detach().numpy() == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_everything_is_reached(config):
    model, plan = planned(config)
    assert plan.unused == ()
    assert plan.notes == ()
    assert plan.nested == plan.uncalled == ()
    assert list(plan) == [name for name, _ in model.named_parameters()]
    assert {item.value.kind for item in plan.values()} <= {"Constant", "Normal", "Uniform", "TruncNormal"}
    assert all(item.rule for item in plan.values())
    assert {name for name, module in model.named_modules() if hasattr(module, "is_init")} == set(plan.reached)


@pytest.mark.parametrize(
    "config", [path for path in CONFIGS if path != OWN_RULES], ids=lambda path: path.stem
)
def test_the_original_would_do_the_same(config):
    model, plan = planned(config)
    exact = initcfg.plan(model, compat="mmengine")
    assert {name: item.value for name, item in exact.items()} == {
        name: item.value for name, item in plan.items()
    }


def test_it_is_mmdetections_retinanet(monkeypatch):
    """Names, order, shapes, and what each starts with, as MMDetection's were recorded (for one class)."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "truth"))
    from records import load

    (record,) = (each for each in load() if each.file == "mmdet__wider_face__retinanet_r50_fpn_1x_widerface")
    _, plan = planned(R50, model__bbox_head__num_classes=1)
    assert list(plan) == [each.name for each in record.params]
    shapes = {
        f"{module.name}.{name}": shape for module in record.modules.values() for name, shape in module.params
    }
    for each in record.params:
        item = plan[each.name]
        assert item.shape == shapes[each.name]
        numbers = [item.value.args[key] for key in ("val", "mean", "std", "a", "b") if key in item.value.args]
        assert (each.source, numbers) == ("initializer", each.op_args), each.name


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ("retinanet_r50_fpn", 37_968_692),
        ("retinanet_r101_fpn", 56_960_820),
        ("retinanet_r18_fpn", 21_410_100),
    ],
)
def test_size(config, count):
    model, _ = planned(RETINANET / f"{config}.py")
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_inheritance():
    cfg = Config.fromfile(RETINANET / "retinanet_r101_fpn.py")
    assert cfg.model.backbone == {"type": "ResNet", "depth": 101}
    assert cfg.model.neck == Config.fromfile(R50).model.neck
    model, _ = planned(RETINANET / "retinanet_r101_fpn.py")
    assert [len(getattr(model.backbone, f"layer{index}")) for index in (1, 2, 3, 4)] == [3, 4, 23, 3]


def test_unknown_depth():
    with pytest.raises(ValueError, match="no ResNet of depth 51; take one of"):
        planned(R50, model__backbone__depth=51)


def test_rules_from_the_config_replace_the_defaults():
    _, plan = planned(OWN_RULES)
    assert plan["backbone.conv1.weight"].value.args["std"] == pytest.approx(
        math.sqrt(2 / (3 * 49)), rel=1e-15
    )
    assert plan["backbone.layer3.5.bn3.weight"].value.args == {"val": 0}
    assert plan["backbone.layer3.5.bn3.weight"].rule == "model.backbone.init_cfg[2]"
    assert plan["backbone.layer3.5.bn2.weight"].value.args == {"val": 1}
    tower = plan["bbox_head.cls_convs.0.conv.weight"].value
    assert (tower.kind, tower.args) == ("TruncNormal", {"mean": 0, "std": 0.01, "a": -0.02, "b": 0.02})
    assert plan["bbox_head.retina_cls.weight"].value.kind == "Normal"
    assert plan["bbox_head.retina_cls.bias"].value.args["val"] == pytest.approx(-math.log(49), rel=1e-15)
    assert plan["neck.fpn_convs.0.conv.weight"].rule == "model.neck.init_cfg"


# -- RetinaNet: the model ------------------------------------------------------------------------


def test_forward(r50):
    model, _ = r50
    model.eval()
    with torch.no_grad():
        scores, deltas = model(torch.randn(2, 3, 96, 64))
    sizes = [(12, 8), (6, 4), (3, 2), (2, 1), (1, 1)]
    assert [tuple(level.shape) for level in scores] == [(2, 9 * 80, *size) for size in sizes]
    assert [tuple(level.shape) for level in deltas] == [(2, 9 * 4, *size) for size in sizes]
    # What the initialization is for: nearly everything is background, and no box moves far.
    probabilities = torch.cat([level.flatten() for level in scores]).sigmoid()
    assert probabilities.mean().item() == pytest.approx(0.01, abs=0.002)
    assert torch.cat([level.flatten() for level in deltas]).abs().max() < 0.5


def test_blocks_start_as_the_identity(r50):
    """With the last norm at zero, a block without a projection passes on what it gets."""
    block = r50[0].backbone.layer1[1].eval()
    features = torch.rand(1, 256, 8, 8)
    assert torch.equal(block(features), features)


def test_it_trains():
    model, plan = planned(RETINANET / "retinanet_r18_fpn.py", model__bbox_head__num_classes=3)
    plan.apply(model, seed=0)
    scores, deltas = model(torch.randn(2, 3, 64, 64))
    loss = sum(each.square().mean() for each in (*scores, *deltas))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    # A zero-init norm blocks its branch at first, but is itself the way out.
    assert model.backbone.layer2[0].bn2.weight.grad.abs().max() > 0
    assert model.backbone.layer2[0].conv1.weight.grad.abs().max() == 0


# -- the weights are what the plan says ----------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "backbone.conv1.weight",
        "backbone.layer1.0.conv2.weight",
        "backbone.layer2.0.downsample.0.weight",
        "backbone.layer3.2.conv1.weight",
        "neck.lateral_convs.1.conv.weight",
        "neck.fpn_convs.2.conv.weight",
        "bbox_head.cls_convs.0.conv.weight",
        "bbox_head.retina_reg.weight",
    ],
)
def test_weights_follow_the_planned_distribution(r50, name):
    model, plan = r50
    assert_drawn_from(model.get_parameter(name), plan[name].value)


def test_truncated_weights_follow_the_planned_distribution():
    model, plan = planned(OWN_RULES)
    plan.apply(model, seed=0)
    name = "bbox_head.retina_reg.weight"
    weight = model.get_parameter(name)
    assert_drawn_from(weight, plan[name].value)
    assert weight.abs().max() <= 0.02


def test_a_wrong_distribution_is_seen(r50):
    """The test above has teeth: a deviation that is wrong by 3 % does not pass."""
    model, plan = r50
    item = plan["backbone.layer3.2.conv1.weight"]
    wrong = type(item.value)(item.value.args["mean"], item.value.args["std"] * 1.03)
    with pytest.raises(AssertionError):
        assert_drawn_from(model.get_parameter(item.name), wrong)


def test_deeper_model_shares_the_weights_of_the_same_names(r50):
    """A weight depends on seed, name and place alone: R101 has those of R50, but for its added blocks."""
    model, _ = r50
    deeper, plan = planned(RETINANET / "retinanet_r101_fpn.py")
    plan.apply(deeper, seed=0)
    others = dict(deeper.named_parameters())
    assert all(torch.equal(tensor, others[name]) for name, tensor in model.named_parameters())


# -- RetinaNet: the command ----------------------------------------------------------------------


def run(*arguments):
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_plan_of_r101_fits_on_a_screen():
    text = run("plan", RETINANET / "retinanet_r101_fpn.py")
    assert len(text.splitlines()) <= 60
    assert "348 parameters, 56,960,820 elements" in text
    full = run("plan", RETINANET / "retinanet_r101_fpn.py", "--full").splitlines()
    assert sum(line.startswith(("backbone.", "neck.", "bbox_head.")) for line in full) == 348


def test_explain():
    text = run("explain", R50, "bbox_head.retina_cls.bias")
    assert "becomes Constant(-4.595)" in text
    assert "1. model.bbox_head.init_cfg (head.py:" in text
    assert "2. model.bbox_head.init_cfg.override (head.py:" in text
    assert "bias_prob=0.01" in text
    assert "an override beats the rule that it stands in" in text
    text = run("explain", R50, "backbone.layer1.0.bn3.weight")
    assert "overridden: a child's init_cfg beats its parents'" in text
    assert "fan_in 2304, fan_out 2304" in run("explain", R50, "bbox_head.reg_convs.0.conv.weight")


def test_a_rule_that_fits_no_more_is_an_error_and_says_where_it_stands():
    """The blocks of ResNet-18 have no bn3, so the config's rule for it cannot mean anything."""
    result = CliRunner().invoke(main, ["plan", str(OWN_RULES), "--set", "model.backbone.depth=18"])
    assert result.exit_code == 2
    assert "name='layer*.*.bn3' matches nothing." in result.output
    assert "model.backbone.init_cfg[2] (retinanet_r50_fpn_own_rules.py:" in result.output
    assert "did you mean: 'layer*.*.bn2', 'layer*.*.bn1'" in result.output


def test_explain_names_the_config_where_the_rule_stands_there():
    assert "(retinanet_r50_fpn_own_rules.py:" in run("explain", OWN_RULES, "bbox_head.retina_cls.bias")


def test_init_writes_the_weights_that_build_makes(tmp_path):
    config, output = RETINANET / "retinanet_r18_fpn.py", tmp_path / "retinanet.safetensors"
    text = run("init", config, "-o", output, "--seed", 0)
    assert "96 tensors written (96 by rules, 0 by code of the model's own)" in text
    state = load_file(output)
    model = initcfg.build(config, seed=0)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    ledger = Ledger.load(output)
    assert (ledger.seed, ledger["bbox_head.retina_cls.bias"].rule) == (0, "model.bbox_head.init_cfg.override")
    assert Ledger.load(tmp_path / "retinanet.ledger.json").to_json() == ledger.to_json()
