"""Adaptation: what is made to fit, how it is declared, and what it computes."""

from __future__ import annotations

import pytest
import torch
from adapted import Holder, loaded, numbers, only_load
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import initcfg
from initcfg import errors

# -- nothing silent ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "state", "kind"),
    [
        (Holder(pos_embed=(1, 26, 4)), {"pos_embed": numbers(1, 17, 4)}, "resize"),
        (Holder(conv=nn.Conv2d(4, 2, 3)), {"conv.weight": numbers(2, 3, 3, 3)}, "channels"),
        (Holder(conv=nn.Conv2d(3, 2, 8, 8)), {"conv.weight": numbers(2, 3, 4, 4)}, "patch"),
        (Holder(conv=nn.Conv3d(3, 2, 3)), {"conv.weight": numbers(2, 3, 3, 3)}, "inflate"),
        (Holder(wte=nn.Embedding(6, 4)), {"wte.weight": numbers(4, 4)}, "grow"),
        (Holder(wte=nn.Embedding(3, 4)), {"wte.weight": numbers(4, 4)}, "shrink"),
        (Holder(fc=nn.Linear(4, 3)), {"fc.weight": numbers(4, 3)}, "transpose"),
        (Holder(fc=nn.Linear(4, 3)), {"fc.weight": numbers(9, 4)}, "drop"),
    ],
)
def test_without_a_declaration_it_is_reported_with_what_would_fit(model, state, kind):
    (name,) = state
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=state))
    assert plan[name].value.kind == "Keep"
    load = only_load(plan)
    assert load.mismatched == ((name, tuple(model.state_dict()[name].shape), tuple(state[name].shape)),)
    would = f"leave {name} to the next rule" if kind == "drop" else f"fit {name}"
    assert load.hints == (f"adapt={{{name!r}: {kind!r}}} would {would}",)
    again = initcfg.plan(model, dict(type="Pretrained", checkpoint=state, adapt={name: kind}))
    assert not again.loads[0].mismatched


def test_what_another_model_has_is_not_made_to_fit():
    model = Holder(stem=nn.Conv2d(3, 4, 3), conv=nn.Conv2d(4, 8, 3), fc=nn.Linear(8, 4))
    state = {"stem.weight": numbers(8, 3, 3, 3), "conv.weight": numbers(8, 3, 3, 3)}
    state["fc.weight"] = numbers(5, 8)
    load = only_load(initcfg.plan(model, dict(type="Pretrained", checkpoint=state, adapt="auto")))
    assert [name for name, _, _ in load.mismatched] == list(state)


@pytest.mark.parametrize(
    ("adapt", "says"),
    [
        ("resise", "not an adaptation"),
        (3, "adapt must be"),
        ("drop", "for which tensors"),
        ("transpose", "for which tensors"),
        ({"fc": "select"}, "needs the rows"),
        ({"fc": dict(type="select", classes="all")}, "a list of row numbers"),
        ({"fc": dict(type="grow", by="median")}, "'mean' or 'covariance'"),
        ({"fc": dict(type="grow", how="mean")}, "takes no 'how'"),
        ({"fc": dict(type="auto", by="mean")}, "not an adaptation"),
        (["channels", dict(type="resize", size=4)], "two numbers"),
    ],
)
def test_wrong_declarations(adapt, says):
    with pytest.raises(errors.ArgumentError, match=says):
        initcfg.plan(nn.Linear(2, 2), dict(type="Pretrained", checkpoint={}, adapt=adapt))


# -- positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_positions_of_a_vision_transformer(tokens, dtype):
    there = numbers(1, 16 + tokens, 8).to(dtype)
    model = Holder(pos_embed=(1, 36 + tokens, 8)).to(dtype)
    plan = loaded(model, {"pos_embed": there}, "auto")
    assert plan["pos_embed"].value.steps == (("resize_tokens", tokens, 4, 4, 6, 6),)
    image = there[:, tokens:].float().reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
    grid = functional.interpolate(image, size=(6, 6), mode="bicubic", antialias=True)
    expected = torch.cat([there[:, :tokens], grid.permute(0, 2, 3, 1).reshape(1, 36, 8).to(dtype)], dim=1)
    assert torch.equal(model.pos_embed, expected)
    assert only_load(plan).adapted[0][1].startswith("positions 4×4 → 6×6")


def test_the_grid_that_the_module_says_it_has():
    model = Holder(pos_embed=(1, 12 + 1, 4), patch_embed=nn.Identity())
    model.patch_embed.grid_size = (2, 6)  # type: ignore[assignment]
    plan = loaded(model, {"pos_embed": numbers(1, 17, 4)}, {"pos_embed": "resize"})
    assert plan["pos_embed"].value.steps == (("resize_tokens", 1, 4, 4, 2, 6),)


def test_sizes_that_are_given():
    model = Holder(positions=(12, 4))
    resize = dict(type="resize", size=[3, 4], old_size=[2, 3], prefix_tokens=0)
    plan = loaded(model, {"positions": numbers(6, 4)}, {"positions": resize})
    assert plan["positions"].value.steps == (("resize_tokens", 0, 2, 3, 3, 4),)
    # The numbers of a row are no positions of an image.
    load = only_load(
        initcfg.plan(model, dict(type="Pretrained", checkpoint={"positions": numbers(6, 4)}, adapt="auto"))
    )
    assert load.mismatched


@pytest.mark.parametrize(("here", "there"), [((1, 6, 6, 4), (1, 3, 3, 4)), ((1, 4, 6, 8), (1, 4, 3, 3))])
def test_positions_that_lie_as_an_image_does(here, there):
    model = Holder(pos_embed=here)
    loaded(model, {"pos_embed": torch.ones(there)}, "auto")
    assert torch.allclose(model.pos_embed, torch.ones(here))


@pytest.mark.parametrize("extra", [0, 3])
def test_relative_positions(extra):
    there = numbers(13 * 13 + extra, 3)
    model = Holder(
        relative_position_bias_table=(23 * 23 + extra, 3), relative_position_index=torch.zeros(4, 4).long()
    )
    state = {"relative_position_bias_table": there, "relative_position_index": torch.zeros(2, 2).long()}
    plan = loaded(model, state, "auto")
    image = there[: 13 * 13].permute(1, 0).reshape(1, 3, 13, 13)
    grid = functional.interpolate(image, size=(23, 23), mode="bicubic").reshape(3, -1).permute(1, 0)
    assert torch.equal(model.relative_position_bias_table, torch.cat([grid, there[13 * 13 :]]))
    # The indices are the module's own.
    assert only_load(plan).excluded == ("relative_position_index",)


def test_windows_that_are_not_square():
    model = Holder(relative_position_bias_table=(3 * 7, 2))
    model.window_size = (2, 4)  # type: ignore[assignment]
    plan = loaded(model, {"relative_position_bias_table": numbers(9, 2)}, "resize")
    assert plan["relative_position_bias_table"].value.steps == (("resize_table", 0, 3, 3, 3, 7),)


# -- the first convolution -----------------------------------------------------------------------


@given(there=st.sampled_from([1, 3, 4]), here=st.integers(1, 9), kernel=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_input_channels_keep_what_equal_channels_give(there, here, kernel):
    weight = numbers(2, there, kernel, kernel)
    model = Holder(conv=nn.Conv2d(here, 2, kernel, bias=False))
    plan = loaded(model, {"conv.weight": weight}, "auto")
    assert (plan["conv.weight"].value.kind == "Adapted") == (there != here)
    image = numbers(1, 1, kernel, kernel, seed=1)
    if here == 1 or here % there == 0:
        ours = model.conv(image.expand(1, here, kernel, kernel))
        theirs = functional.conv2d(image.expand(1, there, kernel, kernel), weight)
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_patches_and_channels_together():
    model = Holder(proj=nn.Conv2d(1, 5, 8, 8))
    plan = loaded(model, {"proj.weight": numbers(5, 3, 4, 4)}, "auto")
    assert plan["proj.weight"].value.steps == (("channels", 1), ("patch", 8, 8))
    # On an enlarged image, the enlarged patches see what the old ones saw.
    image = functional.interpolate(numbers(1, 1, 4, 4), size=(8, 8), mode="bicubic", antialias=True)
    old = functional.conv2d(numbers(1, 1, 4, 4), numbers(5, 3, 4, 4).sum(dim=1, keepdim=True))
    assert torch.allclose(model.proj(image) - model.proj.bias[:, None, None], old, atol=1e-4)


@pytest.mark.parametrize("by", ["mean", "center"])
def test_inflation(by):
    model = Holder(conv=nn.Conv3d(2, 4, 3, bias=False))
    weight = numbers(4, 2, 3, 3)
    loaded(model, {"conv.weight": weight}, {"conv": dict(type="inflate", by=by)})
    still = numbers(1, 2, 1, 5, 5).expand(1, 2, 3, 5, 5)
    assert torch.allclose(model.conv(still)[:, :, 0], functional.conv2d(still[:, :, 0], weight), atol=1e-5)
    assert torch.equal(model.conv.weight[:, :, 0], torch.zeros_like(weight)) == (by == "center")


# -- heads and vocabularies ----------------------------------------------------------------------


@pytest.mark.parametrize("classes", [10, 3])
def test_a_head_is_dropped_whether_it_would_fit_or_not(classes):
    model = Holder(body=nn.Linear(4, 4), head=nn.Linear(4, classes))
    state = {name: numbers(*item.shape) for name, item in model.state_dict().items()}
    state["head.weight"], state["head.bias"] = numbers(10, 4), numbers(10)
    rules = [
        dict(type="Constant", layer="Linear", val=2),
        dict(type="Pretrained", checkpoint=state, adapt=dict(head="drop"), strict="model"),
    ]
    initcfg.init_weights(model, rules)
    assert model.head.weight.unique().tolist() == [2.0]
    assert torch.equal(model.body.weight, state["body.weight"])


def test_classes_are_selected():
    model = Holder(head=nn.Linear(4, 3))
    state = {"head.weight": numbers(10, 4), "head.bias": numbers(10)}
    plan = loaded(model, state, {"head": dict(type="select", classes=[7, 0, 7])})
    assert torch.equal(model.head.weight, state["head.weight"][[7, 0, 7]])
    assert torch.equal(model.head.bias, state["head.bias"][[7, 0, 7]])
    assert dict(only_load(plan).adapted)["head.bias"] == "3 selected rows"
    beyond = {"head": dict(type="select", classes=[7, 0, 10])}
    with pytest.raises(errors.CheckpointError, match="'select' is for rows that the checkpoint has"):
        initcfg.plan(model, dict(type="Pretrained", checkpoint=state, adapt=beyond))


def test_vocabularies():
    state = {"wte.weight": numbers(40, 4)}
    small, large = Holder(wte=nn.Embedding(30, 4)), Holder(wte=nn.Embedding(50, 4))
    loaded(small, state, "shrink")
    assert torch.equal(small.wte.weight, state["wte.weight"][:30])
    loaded(large, state, "grow")
    assert torch.equal(large.wte.weight[:40], state["wte.weight"])
    assert torch.equal(large.wte.weight[40:], state["wte.weight"].mean(dim=0).expand(10, 4))


def test_new_rows_by_covariance_come_from_the_stream():
    state = {"wte.weight": numbers(200, 4) * 1000}
    adapt = {"wte": dict(type="grow", by="covariance")}
    models = [Holder(wte=nn.Embedding(5000, 4)) for _ in range(2)]
    plan = loaded(models[0], state, adapt)
    loaded(models[1], state, adapt)
    assert plan["wte.weight"].value.random
    assert torch.equal(models[0].wte.weight, models[1].wte.weight)
    rows = models[0].wte.weight[200:].detach()
    assert torch.allclose(rows.mean(dim=0), state["wte.weight"].mean(dim=0), atol=1e-2)
    expected = 1e-9 * torch.cov(state["wte.weight"].T, correction=0)
    assert torch.allclose(torch.cov(rows.T), expected, rtol=0.2, atol=2e-4)
    other = Holder(wte=nn.Embedding(5000, 4))
    plan.apply(other, seed=4)
    assert not torch.equal(other.wte.weight[200:], rows)
    assert torch.equal(other.wte.weight[:200], state["wte.weight"])


def test_new_rows_under_torchs_generator_move_it_only_where_they_show():
    state = {"wte.weight": numbers(20, 4)}
    rule = dict(type="Pretrained", checkpoint=state, adapt={"wte": dict(type="grow", by="covariance")})
    model = Holder(wte=nn.Embedding(30, 4))
    torch.manual_seed(0)
    initcfg.init_weights(model, rule, rng="torch")
    moved = torch.get_rng_state()
    torch.manual_seed(0)
    torch.randn(10, 4)
    assert torch.equal(torch.get_rng_state(), moved)


# -- attention -----------------------------------------------------------------------------------


def split_state(rows: tuple[int, int, int] = (4, 4, 4)) -> dict[str, torch.Tensor]:
    made = {}
    for seed, (letter, count) in enumerate(zip("qkv", rows, strict=True)):
        made[f"attn.{letter}_proj.weight"] = numbers(count, 4, seed=seed)
        made[f"attn.{letter}_proj.bias"] = numbers(count, seed=seed)
    return made


@pytest.mark.parametrize("fused", ["qkv.{}", "in_proj_{}"])
@pytest.mark.parametrize("rows", [(4, 4, 4), (4, 2, 2)])
def test_three_projections_become_one(fused, rows):
    state = split_state(rows)
    attn = Holder(qkv=nn.Linear(4, sum(rows))) if "qkv" in fused else nn.MultiheadAttention(4, 2)
    if "qkv" not in fused and rows != (4, 4, 4):
        attn = Holder(in_proj_weight=(sum(rows), 4), in_proj_bias=(sum(rows),))
    model = Holder(attn=attn)
    # As a file may list them.
    plan = loaded(model, dict(sorted(state.items())), "auto")
    for role in ("weight", "bias"):
        expected = torch.cat([state[f"attn.{letter}_proj.{role}"] for letter in "qkv"])
        assert torch.equal(model.state_dict()["attn." + fused.format(role)], expected)
    assert not only_load(plan).unexpected


@pytest.mark.parametrize("rows", [(4, 4, 4), (4, 2, 2)])
def test_one_projection_becomes_three(rows):
    state = {"attn.qkv.weight": numbers(sum(rows), 4), "attn.qkv.bias": numbers(sum(rows))}
    names = ("query", "key", "value")
    parts = {name: nn.Linear(4, count) for name, count in zip(names, rows, strict=True)}
    model = Holder(attn=Holder(**parts))
    plan = loaded(model, state, "qkv")
    for name, part in zip(names, state["attn.qkv.weight"].split(rows), strict=True):
        assert torch.equal(model.attn.get_submodule(name).weight, part)
    assert only_load(plan).loaded == 6
    assert not only_load(plan).unexpected


def test_without_a_declaration_projections_are_missing_with_a_hint():
    model = Holder(attn=Holder(qkv=nn.Linear(4, 12)), fc=nn.Linear(2, 2))
    state = split_state() | {"fc.weight": numbers(2, 2), "fc.bias": numbers(2)}
    load = only_load(initcfg.plan(model, dict(type="Pretrained", checkpoint=state)))
    assert load.missing == ("attn.qkv.weight", "attn.qkv.bias")
    assert load.hints == ("adapt='qkv' would fit 2 tensors",)


@pytest.mark.parametrize(
    "rename",
    [
        {r"\.[qkv]_proj\.": ".merged."},
        [["q_proj", "merged"], ["k_proj", "merged"], ["v_proj", "merged"]],
    ],
)
def test_keys_of_one_name_are_joined(rename):
    state = split_state()
    model = Holder(attn=Holder(merged=nn.Linear(4, 12)))
    loaded(model, dict(sorted(state.items())), None, rename=rename)
    assert torch.equal(model.attn.merged.bias, torch.cat([state[f"attn.{each}_proj.bias"] for each in "qkv"]))


def test_joined_in_the_order_of_the_renames():
    state = {"a.weight": numbers(2, 2), "b.weight": numbers(2, 2, seed=1)}
    model = nn.Linear(2, 4, bias=False)
    loaded(model, state, None, rename=[["^b[.]", ""], ["^a[.]", ""]])
    assert torch.equal(model.weight, torch.cat([state["b.weight"], state["a.weight"]]))


def test_conv1d_of_transformers():
    state = {"c_attn.weight": numbers(4, 12), "c_attn.bias": numbers(12), "c_proj.weight": numbers(4, 4)}
    model = Holder(c_attn=nn.Linear(4, 12), c_proj=nn.Linear(4, 4, bias=False))
    loaded(model, state, {"c_*": "transpose"})
    assert torch.equal(model.c_attn.weight, state["c_attn.weight"].t())
    # A square matrix, too: it was declared.
    assert torch.equal(model.c_proj.weight, state["c_proj.weight"].t())
    model = Holder(q_proj=nn.Linear(4, 4), k_proj=nn.Linear(4, 4), v_proj=nn.Linear(4, 4))
    loaded(model, state, "qkv")
    assert torch.equal(model.k_proj.weight, state["c_attn.weight"][:, 4:8].t())
    assert torch.equal(model.k_proj.bias, state["c_attn.bias"][4:8])


# -- types ---------------------------------------------------------------------------------------


def test_types_that_change_are_counted():
    model = Holder(fc=nn.Linear(4, 4)).bfloat16()
    state = {"fc.weight": numbers(4, 4), "fc.bias": numbers(4).double()}
    plan = loaded(model, state, None)
    assert set(only_load(plan).converted) == {("float32", "bfloat16", 1), ("float64", "bfloat16", 1)}
    assert torch.equal(model.fc.weight, state["fc.weight"].bfloat16())
    assert "2 converted" in str(plan)


def test_types_that_lose_their_kind_are_declared():
    model = Holder(count=torch.zeros(2, dtype=torch.int64), fc=nn.Linear(2, 2))
    state = {"count": torch.tensor([1.5, 2.5]), "fc.bias": torch.tensor([1, 2])}
    with pytest.raises(errors.CheckpointError, match=r"has 'fc\.bias' as int64, and it is float32 here"):
        initcfg.plan(model, dict(type="Pretrained", checkpoint=state, exclude="count"))
    with pytest.raises(
        errors.CheckpointError, match=r"'count' as float32, and it is int64 .* not hold 1\.5 and"
    ):
        initcfg.plan(model, dict(type="Pretrained", checkpoint=state, adapt={"fc": "dtype"}))
    rule = dict(type="Pretrained", checkpoint=state, adapt={"fc": "dtype"}, exclude="count")
    assert only_load(initcfg.plan(model, rule)).converted == (("int64", "float32", 1),)
    loaded(model, state, "dtype")
    assert model.count.tolist() == [1, 2]
    assert model.fc.bias.tolist() == [1.0, 2.0]


# -- plans -----------------------------------------------------------------------------------------


def test_a_plan_with_steps_that_mean_nothing_writes_nothing():
    model = Holder(conv=nn.Conv2d(4, 2, 3), fc=nn.Linear(2, 2))
    torch_state = {"conv.weight": numbers(2, 3, 3, 3)}
    plan = initcfg.plan(
        model,
        [
            dict(type="Constant", layer="Linear", val=7),
            dict(type="Pretrained", checkpoint=torch_state, adapt="auto"),
        ],
    )
    data = plan.to_json()
    data["parameters"]["conv.weight"]["value"]["steps"] = [["transpose"]]
    broken = initcfg.Plan.from_json(data)
    object.__setattr__(broken, "loads", plan.loads)
    before = {name: item.clone() for name, item in model.state_dict().items()}
    with pytest.raises(errors.PlanError, match="has no meaning"):
        broken.apply(model)
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())


def test_an_adapted_plan_as_rules(tmp_path):
    torch.save({"conv.weight": numbers(2, 3, 3, 3), "conv.bias": numbers(2)}, tmp_path / "a.pth")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth"), adapt="auto")
    model, other = Holder(conv=nn.Conv2d(4, 2, 3)), Holder(conv=nn.Conv2d(4, 2, 3))
    plan = initcfg.plan(model, rule)
    plan.apply(model)
    again = initcfg.plan(other, plan.to_init_cfg(other))
    assert not again.diff(plan)
    again.apply(other)
    assert torch.equal(other.conv.weight, model.conv.weight)
