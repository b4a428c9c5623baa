"""Positions in a line, positions of a picture, and what says which they are."""

from __future__ import annotations

import pytest
import torch
from adapted import Holder, loaded, numbers, only_load
from torch import nn
from torch.nn import functional

import initcfg
from initcfg import errors


def along_a_line(there: torch.Tensor, prefix: int, new: int) -> torch.Tensor:
    line = there[prefix:].float().T[None]
    made = functional.interpolate(line, size=new, mode="linear", align_corners=False)[0].T
    return torch.cat([there[:prefix], made.to(there.dtype)])


def refused(model: nn.Module, state: dict[str, torch.Tensor], adapt: object) -> errors.CheckpointError:
    with pytest.raises(errors.CheckpointError) as caught:
        initcfg.plan(model, dict(type="Pretrained", checkpoint=state, adapt=adapt))
    return caught.value


@pytest.mark.parametrize("name", ["position_embeddings", "position_embedding", "wpe", "embed_positions"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (512, 1024),
        (77, 154),
        (77, 248),
        (1024, 2048),
        (1500, 3000),
        (1024, 4096),
        (514, 1026),
        (8, 16),
        (512, 256),
    ],
)
@pytest.mark.parametrize("auto", [False, True])
def test_an_embedding_holds_positions_in_a_line(name, old, new, auto):
    there = numbers(old, 4)
    model = Holder(**{name: nn.Embedding(new, 4)})
    plan = loaded(model, {f"{name}.weight": there}, "auto" if auto else {name: "resize"})
    assert plan[f"{name}.weight"].value.steps == (("resize_line", 0, 0, old, new),)
    assert torch.equal(model.state_dict()[f"{name}.weight"], along_a_line(there, 0, new))
    assert only_load(plan).adapted == ((f"{name}.weight", f"positions {old} → {new}"),)


def test_a_ramp_stays_one():
    there = torch.linspace(0, 1, 512)[:, None].expand(512, 4).contiguous()
    model = Holder(position_embeddings=nn.Embedding(1024, 4))
    loaded(model, {"position_embeddings.weight": there}, {"position_embeddings": "resize"})
    line = model.position_embeddings.weight[:, 0]
    assert bool((line.diff() >= 0).all()) and line[0] == 0 and line[-1] == 1


class Offset(nn.Embedding):
    """As in OPT and BART."""

    offset = 2


@pytest.mark.parametrize(
    ("embedding", "prefix"),
    [(Offset(1026, 4), 2), (nn.Embedding(1026, 4, padding_idx=1), 2), (nn.Embedding(1026, 4), 0)],
)
def test_rows_that_no_position_has_stay(embedding, prefix):
    there = numbers(514, 4).bfloat16()
    model = Holder(embed_positions=embedding)
    plan = loaded(model, {"embed_positions.weight": there}, "auto")
    expected = along_a_line(there, prefix, 1026 - prefix).float()
    assert torch.equal(model.embed_positions.weight, expected)
    words = f"positions {514 - prefix} → {1026 - prefix}" + (" after 2 rows" if prefix else "")
    assert only_load(plan).adapted[0][1] == words


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (dict(prefix_tokens=1), ("resize_line", 0, 1, 16, 64)),
        (dict(old_size=[15]), ("resize_line", 0, 2, 15, 63)),
        (dict(old_size=[16], size=[64]), ("resize_line", 0, 1, 16, 64)),
        (dict(old_size=[4, 4], size=[8, 8]), ("resize_tokens", 1, 4, 4, 8, 8)),
        (dict(old_size=[2, 8], size=[4, 16], prefix_tokens=1), ("resize_tokens", 1, 2, 8, 4, 16)),
    ],
)
def test_what_the_rule_says_goes_first(options, steps):
    model = Holder(table=nn.Embedding(65, 4))
    plan = loaded(model, {"table.weight": numbers(17, 4)}, {"table": dict(type="resize", **options)})
    assert plan["table.weight"].value.steps == (steps,)


@pytest.mark.parametrize("beside", [dict(class_embedding=(4,)), dict(patch_embedding=nn.Identity())])
def test_an_embedding_beside_patches_is_of_a_picture(beside):
    model = Holder(position_embedding=nn.Embedding(37, 4), **beside)
    there = numbers(17, 4)
    plan = initcfg.plan(
        model, dict(type="Pretrained", checkpoint={"position_embedding.weight": there}, adapt="auto")
    )
    assert plan["position_embedding.weight"].value.steps == (("resize_tokens", 1, 4, 4, 6, 6),)


@pytest.mark.parametrize(
    ("here", "there", "step"),
    [
        ((1, 154, 4), (1, 77, 4), ("resize_line", 1, 0, 77, 154)),
        ((154, 4), (77, 4), ("resize_line", 0, 0, 77, 154)),
        ((50, 1, 4), (25, 1, 4), ("resize_line", 0, 0, 25, 50)),
        ((82, 4), (50, 4), ("resize_tokens", 1, 7, 7, 9, 9)),
        ((1, 36, 4), (1, 16, 4), ("resize_tokens", 0, 4, 4, 6, 6)),
    ],
)
def test_parameters(here, there, step):
    model = Holder(positional_embedding=here)
    state = numbers(*there)
    plan = loaded(model, {"positional_embedding": state}, "auto")
    assert plan["positional_embedding"].value.steps == (step,)
    if step[0] == "resize_line":
        expected = along_a_line(state.reshape(-1, 4), 0, step[-1]).reshape(here)
        assert torch.equal(model.positional_embedding, expected)


# -- an adaptation that does nothing ---------------------------------------------------------------


def test_a_grid_that_is_not_known_is_asked_for():
    model = Holder(pos_embed=(1, 1214, 4), patch_embed=nn.Identity())
    error = refused(model, {"pos_embed": numbers(1, 146, 4)}, {"pos_embed": "resize"})
    assert "adapt={'pos_embed': 'resize'} does nothing" in str(error)
    assert "old_size=[HEIGHT, WIDTH]" in str(error.fix)
    assert error.parameter == "pos_embed"
    sizes = dict(type="resize", old_size=[12, 12], size=[12, 101], prefix_tokens=2)
    loaded(model, {"pos_embed": numbers(1, 146, 4)}, {"pos_embed": sizes})


@pytest.mark.parametrize(
    ("adapt", "says", "fix"),
    [
        (
            {"fc": "resize"},
            "'fc.weight' is of a Linear, and 'resize' is for positions",
            "'drop'} would leave",
        ),
        ({"fc": "grow"}, "'grow' is for tensors that have fewer rows", "'drop'} would leave"),
        ("shrink", "without a name it is not used for 'fc.weight'", "adapt={'fc.weight': 'shrink'}"),
        ({"other": "resize"}, "holds no 'other.weight'", "prefix or rename"),
    ],
)
def test_one_that_was_asked_for_and_cannot_help_is_an_error(adapt, says, fix):
    model = Holder(fc=nn.Linear(4, 3, bias=False), other=nn.Embedding(3, 3), body=nn.Linear(2, 2, bias=False))
    state = {"fc.weight": numbers(9, 4), "body.weight": numbers(2, 2)}
    error = refused(model, state, adapt)
    assert says in str(error)
    assert fix in str(error.fix)


def test_one_that_is_not_needed_and_auto_are_said():
    model = Holder(body=nn.Linear(2, 2, bias=False), head=nn.Linear(2, 2, bias=False))
    state = {"body.weight": numbers(2, 2), "head.weight": numbers(2, 2)}
    plan = loaded(model, state, {"body": "resize"})
    assert only_load(plan).idle == ("adapt={'body': 'resize'} did nothing: what it is for fits as it is",)
    assert "what it is for fits as it is" in str(plan)
    assert only_load(loaded(model, state, "auto")).remarks == (
        "adapt='auto' did nothing: no tensor needs it",
    )
    state["head.weight"] = numbers(5, 2)
    assert only_load(loaded(model, state, "auto")).remarks == (
        "adapt='auto' did nothing: it has nothing for head.weight",
    )


def test_strict_does_not_allow_one_without_effect():
    model = Holder(body=nn.Linear(2, 2, bias=False))
    rule = dict(type="Pretrained", checkpoint={"body.weight": numbers(2, 2)})
    with pytest.raises(errors.CheckpointError, match="without effect: adapt='grow' did nothing"):
        initcfg.plan(model, rule | dict(adapt="grow"), strict=True)
    initcfg.plan(model, rule | dict(adapt="auto"), strict=True)


def test_nothing_to_drop_is_said():
    model = Holder(body=nn.Linear(2, 2, bias=False), head=nn.Embedding(3, 2))
    state = {"body.weight": numbers(2, 2)}
    plan = loaded(model, state, {"head": "drop"})
    assert only_load(plan).idle == ("adapt={'head': 'drop'} did nothing: the checkpoint has none of it",)
    assert only_load(plan).excluded == ("head.weight",)
    plan = loaded(model, state | {"head.weight": numbers(5, 2)}, {"head": "drop"})
    assert only_load(plan).idle == () and only_load(plan).excluded == ("head.weight",)


@pytest.mark.parametrize("layer", [nn.Linear(2, 3), nn.LayerNorm((3, 2)), nn.Bilinear(2, 2, 3)])
def test_weights_of_layers_are_never_taken_for_positions(layer):
    model = Holder(pos_embed=layer)
    shape = tuple(layer.weight.shape)
    state = {"pos_embed.weight": numbers(5, *shape[1:])}
    if layer.bias is not None:
        state["pos_embed.bias"] = torch.zeros_like(layer.bias)
    error = refused(model, state, {"pos_embed": "resize"})
    assert f"'pos_embed.weight' is of a {type(layer).__name__}, and 'resize' is for positions" in str(error)


def test_a_pattern_that_matches_nothing_names_what_is_near():
    model = Holder(pos_embed=nn.Embedding(3, 2), fc=nn.Linear(2, 2, bias=False))
    for adapt, told, near in (
        ({"pos": "resize"}, "adapt={'pos': ...} matches nothing", "did you mean: 'pos_embed'"),
        ({"position_embedding": "drop"}, "{'position_embedding': ...} matches", "'pos_embed'"),
        (
            {"neck": "drop"},
            "adapt={'neck': ...} matches nothing",
            "There are 'pos_embed.weight', 'fc.weight'.",
        ),
    ):
        with pytest.raises(errors.PatternError) as caught:
            initcfg.plan(model, dict(type="Pretrained", checkpoint={"fc.weight": numbers(2, 2)}, adapt=adapt))
        assert told in str(caught.value) and near in str(caught.value)


def test_the_hint_for_positions_is_resize():
    model = Holder(position_embeddings=nn.Embedding(1024, 4))
    state = {"position_embeddings.weight": numbers(512, 4)}
    load = only_load(initcfg.plan(model, dict(type="Pretrained", checkpoint=state)))
    assert load.hints == (
        "adapt={'position_embeddings.weight': 'resize'} would fit position_embeddings.weight",
    )
