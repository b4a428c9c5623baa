"""Matching: what the plan says of a checkpoint before it is loaded, and what apply then does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from loading_models import Backbone, Detector, bits, loading, same, state_of
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors
from initcfg._plan.report.table import plan_text

# -- sources in code -----------------------------------------------------------------------------


def test_a_state_dict_in_code_is_loaded_and_not_copied():
    state = state_of(Backbone())
    model = Backbone(loading(state))
    assert model.init_cfg["checkpoint"]["conv.weight"] is state["conv.weight"]
    ledger = initcfg.init_weights(model)
    assert same(model, state)
    assert ledger["conv.weight"].loaded.keys == ("conv.weight",)


@pytest.mark.parametrize("as_path", [False, True])
def test_a_function_is_called_once(tmp_path, as_path):
    state = state_of(Backbone())
    torch.save(state, tmp_path / "a.pth")
    calls = []

    def given() -> Any:
        calls.append(1)
        return str(tmp_path / "a.pth") if as_path else state

    model = Backbone()
    initcfg.plan(model, loading(given)).apply(model)
    assert same(model, state)
    assert len(calls) == 1


def test_a_module_gives_its_state_dict():
    other = Backbone()
    model = Backbone()
    plan = initcfg.plan(model, loading(other))
    plan.apply(model)
    assert same(model, other.state_dict())
    assert plan.loads[0].source == "the state_dict of a Backbone given in init_cfg"


def test_a_function_that_gives_nothing_of_use():
    model = Backbone()
    before = bits(model)
    with pytest.raises(errors.CheckpointError, match="gave a int, not a state_dict"):
        initcfg.init_weights(model, loading(lambda: 3))
    assert bits(model) == before


def test_a_plan_from_json_opens_its_file_again_but_not_what_was_in_code(tmp_path):
    state = state_of(Backbone())
    save_file(state, tmp_path / "a.safetensors")
    model = Backbone()
    for source in (tmp_path / "a.safetensors", state):
        plan = initcfg.plan(model, loading(source))
        again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
        assert again == plan
        if source is state:
            before = bits(model)
            with pytest.raises(errors.ApplyError, match="read from JSON does not carry that"):
                again.apply(model)
            assert bits(model) == before
        else:
            again.apply(model)
            assert same(model, state)
    with pytest.raises(errors.PlanError, match="which no rule can name"):
        initcfg.plan(model, loading(state)).to_init_cfg(model)


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_names_of_wrappers_come_off(wrapper):
    state = state_of(Backbone())
    model = Backbone(loading({wrapper + name: item for name, item in state.items()}))
    initcfg.init_weights(model)
    assert same(model, state)


def test_a_compiled_part_inside():
    state = state_of(Detector())
    saved = {name.replace("backbone.", "backbone._orig_mod."): item for name, item in state.items()}
    model = Detector()
    initcfg.init_weights(model, loading(saved))
    assert same(model, state)


def test_a_child_that_is_called_module_keeps_its_name():
    model = nn.Module()
    model.module = nn.Linear(2, 2)  # type: ignore[assignment]
    state = state_of(model)
    plan = initcfg.plan(model, loading(state))
    assert plan.loads[0].loaded == 2
    assert not plan.loads[0].unexpected


@pytest.mark.parametrize("ddp", ["", "module."])
def test_prefix_then_renames_in_their_order(ddp):
    state = state_of(Backbone())
    saved = {f"{ddp}net.stem.{name.replace('bn', 'norm')}": item for name, item in state.items()}
    saved["other.weight"] = torch.ones(1)
    model = Backbone(loading(saved, prefix="net", rename=[(r"^stem\.", "trunk."), (r"^trunk\.", "")]))
    with pytest.raises(errors.CheckpointError, match="No key"):
        initcfg.plan(Backbone(loading(saved)))
    plan = initcfg.plan(model)
    assert plan.loads[0].loaded == 5 - 1
    renames = {r"^stem\.": "", r"norm\.": "bn."}
    model = Backbone(loading(saved, prefix="net", rename=renames))
    plan = initcfg.plan(model)
    assert plan.loads[0].renamed[0] == (f"{ddp}net.stem.conv.weight", "conv.weight")
    assert not plan.loads[0].missing and not plan.loads[0].unexpected
    plan.apply(model)
    assert same(model, state)


def test_a_rename_that_matches_nothing_or_is_wrong():
    state = state_of(Backbone())
    with pytest.raises(errors.PatternError, match="matches no key") as caught:
        initcfg.plan(Backbone(loading(state, rename={"covn": "conv"})))
    assert "conv.weight" in caught.value.meant
    assert "model.init_cfg" in str(caught.value)
    for wrong in ({"(": ""}, {"conv": r"\3"}):
        with pytest.raises(errors.PatternError, match="not valid"):
            initcfg.plan(Backbone(loading(state, rename=wrong)))
    with pytest.raises(errors.ArgumentError, match="list of pairs"):
        initcfg.plan(Backbone(loading(state, rename=["conv"])))


def test_two_keys_of_one_name_that_cannot_be_joined():
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(3)}
    with pytest.raises(errors.CheckpointError, match="cannot be joined"):
        initcfg.plan(nn.Linear(2, 2), loading(state, rename={r"[ab]\.": ""}))


# -- selection -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (dict(include="conv"), {"conv.weight", "conv.bias"}),
        (
            dict(include=["conv", "*.running_*"], exclude="conv.bias"),
            {"conv.weight", "bn.running_mean", "bn.running_var"},
        ),
        (dict(exclude=["bn", "re:fc\\..*"]), {"conv.weight", "conv.bias"}),
    ],
)
def test_include_and_exclude(arguments, loaded):
    state = state_of(Backbone())
    plan = initcfg.plan(Backbone(loading(state, **arguments)))
    items = {**plan.parameters, **plan.buffers}
    assert {name for name, item in items.items() if item.value.kind == "FromCheckpoint"} == loaded
    assert set(plan.loads[0].excluded) == set(state) - loaded
    assert not plan.loads[0].missing and not plan.loads[0].unexpected


@pytest.mark.parametrize("key", ["include", "exclude", "adapt"])
def test_a_pattern_that_matches_nothing(key):
    state = state_of(Backbone())
    written = {"con": "drop"} if key == "adapt" else "con"
    with pytest.raises(errors.PatternError, match="matches nothing") as caught:
        initcfg.plan(Backbone(loading(state, **{key: written})))
    pattern = "{'con': ...}" if key == "adapt" else "'con'"
    assert caught.value.problem == f"{key}={pattern} matches nothing."
    assert "conv" in caught.value.meant


# -- strict --------------------------------------------------------------------------------------


def test_strict():
    state = state_of(Backbone())
    for strict in ("none", "model", "all"):
        assert initcfg.plan(Backbone(loading(state, strict=strict))).loads[0].loaded == 9
    less = {name: item for name, item in state.items() if not name.startswith("fc")}
    with pytest.raises(errors.CheckpointError, match=r"2 tensors missing there: fc\.weight, fc\.bias"):
        initcfg.plan(Backbone(loading(less, strict="model")))
    assert initcfg.plan(Backbone(loading(less, strict="model", exclude="fc"))).loads[0].loaded == 7
    other = state | {"fc.weight": torch.ones(5, 4)}
    with pytest.raises(errors.CheckpointError, match=r"1 tensor of another shape or type: fc\.") as caught:
        initcfg.plan(Backbone(loading(other, strict="model")))
    # A sentence is no name that was meant.
    assert not caught.value.meant
    assert "Perhaps adapt={'fc.weight': 'drop'} would leave fc.weight to the next rule." in str(
        caught.value.fix
    )
    more = state | {"extra": torch.ones(1)}
    assert initcfg.plan(Backbone(loading(more, strict="model"))).loads[0].unexpected == ("extra",)
    with pytest.raises(errors.CheckpointError, match="1 key not used: extra"):
        initcfg.plan(Backbone(loading(more, strict="all")))
    with pytest.raises(errors.ArgumentError, match="strict must be one of"):
        initcfg.plan(Backbone(loading(state, strict=True)))


def test_a_tied_tensor_needs_one_of_its_names():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(4, 2)
            self.head = nn.Linear(2, 4, bias=False)
            self.head.weight = self.embed.weight

    state = {"embed.weight": torch.rand(4, 2)}
    model = Tied()
    initcfg.init_weights(model, loading(state, strict="model"))
    assert torch.equal(model.head.weight, state["embed.weight"])


# -- what fits badly -----------------------------------------------------------------------------


def test_the_nearest_prefix():
    state = state_of(Backbone())
    saved = {f"student.backbone.{name}": item for name, item in state.items()} | {
        "a.conv.weight": torch.ones(1)
    }
    with pytest.raises(errors.CheckpointError, match=r"start with 'student\.backbone\.'") as caught:
        initcfg.plan(Backbone(loading(saved)))
    assert caught.value.meant[0] == "prefix='student.backbone.'"
    with pytest.raises(errors.CheckpointError) as caught:
        initcfg.plan(Backbone(loading(saved, prefix="student")))
    assert caught.value.meant[0] == "prefix='student.backbone.'"
    with pytest.raises(errors.CheckpointError, match=r"begins with the prefix 'studnet\.'") as caught:
        initcfg.plan(Backbone(loading(saved, prefix="studnet")))
    assert "student." in caught.value.meant


def test_the_checkpoint_of_a_part():
    with pytest.raises(errors.CheckpointError, match="No key") as caught:
        initcfg.plan(Detector(outer=loading(state_of(Backbone()))))
    assert "9 tensors of its part 'backbone'" in caught.value.fix


def test_a_hint_where_little_fits_by_chance():
    state = {f"backbone.{name}": item for name, item in state_of(Backbone()).items()}
    plan = initcfg.plan(Backbone(loading(state | {"fc.bias": torch.ones(3)})))
    assert plan.loads[0].loaded == 1
    assert plan.loads[0].hints == ("prefix='backbone.' would fit 9 tensors",)
    assert "perhaps" in str(plan)


def test_no_tensors_at_all():
    model = Backbone()
    before = bits(model)
    with pytest.raises(errors.CheckpointError):
        initcfg.init_weights(model, loading({}))
    assert bits(model) == before


# -- the account ---------------------------------------------------------------------------------


def test_the_account_in_plan_table_ledger_and_json():
    state = state_of(Backbone()) | {"extra.weight": torch.ones(1), "fc.weight": torch.ones(5, 4)}
    del state["bn.bias"]
    model = Backbone(
        [dict(type="Constant", layer="BatchNorm2d", val=1, bias=2), loading(state, exclude="conv.bias")]
    )
    plan = initcfg.plan(model)
    (load,) = plan.loads
    assert load.missing == ("bn.bias",)
    assert load.unexpected == ("extra.weight",)
    assert load.mismatched == (("fc.weight", (3, 4), (5, 4)),)
    assert load.excluded == ("conv.bias",)
    text = " ".join(plan_text(plan, full=True).split())
    assert "1 missing, 1 unexpected, 1 of another shape or type, 1 excluded" in text
    assert "bn.bias: Constant(2) by model.init_cfg[0]" in text
    assert "fc.weight: keeps its constructor's value, 5×4 there" in text
    assert "does not hold it" in plan.explain("bn.bias")
    assert "has it as 5×4" in plan.explain("fc.weight")
    assert "leaves it out" in plan.explain("conv.bias")
    ledger = plan.apply(model)
    assert ledger.loads == plan.loads
    assert initcfg.Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
    assert torch.equal(model.bn.bias, torch.full((4,), 2.0))


def test_the_first_names_and_all_of_them():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(8)))
    plan = initcfg.plan(model, loading({"0.weight": torch.ones(2, 2)}))
    assert "... and 12 more" in plan_text(plan)
    full = plan_text(plan, full=True)
    assert "more" not in full
    assert all(f"{name}:" in full for name in plan.loads[0].missing)


# -- partial -------------------------------------------------------------------------------------


def test_what_the_checkpoint_does_not_give_falls_to_the_next_rule():
    state = state_of(Detector())
    outer = [
        loading({name: item for name, item in state.items() if "fc" not in name}, exclude="head"),
        dict(type="Constant", layer="Linear", val=3, bias=4),
    ]
    model = Detector(inner=dict(type="Constant", layer="Linear", val=1, bias=2), outer=outer)
    initcfg.init_weights(model)
    assert model.head.weight.unique().tolist() == [3.0]
    assert model.backbone.fc.weight.unique().tolist() == [1.0]
    assert torch.equal(model.backbone.conv.weight, state["backbone.conv.weight"])
    with initcfg.deferred():
        pending = Detector(outer=outer[0])
    plan = initcfg.plan(pending)
    assert plan["head.weight"].value.kind == "Uniform"
    assert "head.weight: Uniform" in plan_text(plan, full=True)


def test_pretrained_on_a_child_and_on_its_parent():
    child, parent = state_of(Backbone(), 1), state_of(Detector(), 2)
    parent = {name: item for name, item in parent.items() if "fc" not in name}
    model = Detector(inner=loading(child), outer=loading(parent))
    plan = initcfg.plan(model)
    assert [load.loaded for load in plan.loads] == [9, 9]
    plan.apply(model)
    assert torch.equal(model.backbone.conv.weight, parent["backbone.conv.weight"])
    assert torch.equal(model.backbone.fc.weight, child["fc.weight"])


def test_several_checkpoints_of_one_module():
    first, second = state_of(Backbone(), 1), state_of(Backbone(), 2)
    model = Backbone([loading(first), loading({"conv.weight": second["conv.weight"]})])
    initcfg.init_weights(model)
    assert same(model, first | {"conv.weight": second["conv.weight"]})


def test_by_override_and_the_names_that_the_account_has():
    state = state_of(Backbone())
    rule = dict(
        type="Constant", layer="Linear", val=1, override=loading(state, name="backbone", exclude="fc")
    )
    model = Detector()
    plan = initcfg.plan(model, rule)
    assert plan.loads[0].excluded == ("backbone.fc.weight", "backbone.fc.bias")
    plan.apply(model)
    assert torch.equal(model.backbone.conv.weight, state["conv.weight"])
    assert model.backbone.fc.weight.unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("prefix", "taken_off", "local", "names"),
    [
        ("module.net", "module.", (), ["a"]),
        ("net", "module.", (), ["a"]),
        (None, "module.", ("module.net.a",), ["module.net.a"]),
        (None, "module.", ("net.a",), ["net.a"]),
    ],
)
def test_what_the_reader_took_off_may_be_meant(prefix, taken_off, local, names):
    from initcfg._plan.pretrained.keys import named_keys
    from initcfg._rules.initializers.pretrained import PretrainedInit

    initializer = PretrainedInit("a.pth", prefix)
    found = named_keys(initializer, ["net.a"], local, prefix=prefix, taken_off=taken_off, compat=False)
    assert list(found.keys) == names
