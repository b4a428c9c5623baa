"""Verifying a fine-tune: what was loaded is compared with its source, if that is what it was."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

import initcfg
from initcfg import errors
from initcfg._api.command.cli import main


def tuned(checkpoint: str) -> initcfg.Ledger:
    """A model of two layers, the first of them loaded; its weights in ft.safetensors."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    rules = [
        dict(type="Normal", layer="Linear", std=0.1),
        dict(type="Pretrained", checkpoint=checkpoint, exclude="1.*"),
    ]
    ledger = initcfg.init_weights(model, rules, seed=3)
    save_file(model.state_dict(), "ft.safetensors", {"initcfg.ledger": json.dumps(ledger.to_json())})
    return ledger


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_file(nn.Sequential(nn.Linear(4, 4)).state_dict(), "base.safetensors")
    return tmp_path


def run(*words: str) -> tuple[int, dict[str, dict]]:
    done = CliRunner().invoke(main, ["verify", *words, "--json"])
    found = json.loads(done.stdout)["tensors"] if done.exit_code in (0, 1, 3) else []
    return done.exit_code, {each["name"]: each for each in found}


def test_the_ledger_has_the_digest_of_a_local_file(folder):
    digest = hashlib.sha256(Path("base.safetensors").read_bytes()).hexdigest()
    ledger = tuned("base.safetensors")
    assert [load.sha256 for load in ledger.loads] == [digest]
    assert initcfg.Ledger.from_json(ledger.to_json()).loads[0].sha256 == digest


def test_a_digest_of_several_files_is_that_of_their_list(folder):
    Path("shards").mkdir()
    state = load_file("base.safetensors")
    names = {"0.weight": "a.safetensors", "0.bias": "b.safetensors"}
    for key, name in names.items():
        save_file({key: state[key]}, f"shards/{name}")
    Path("shards/model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    files = sorted(Path("shards").iterdir())
    lines = "".join(f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}\n" for each in files)
    assert tuned("shards").loads[0].sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert run("ft.safetensors")[0] == 0
    save_file({"0.bias": state["0.bias"] + 1}, "shards/b.safetensors")
    code, found = run("ft.safetensors")
    assert code == 3
    assert {found[key]["status"] for key in names} == {"unknown"}


def test_as_loaded_changed_and_by_how_much(folder):
    tuned("base.safetensors")
    code, found = run("ft.safetensors")
    assert code == 0
    assert found["0.weight"]["status"] == "initial"
    assert found["0.weight"]["detail"] == "from base.safetensors"
    state = load_file("ft.safetensors")
    state["0.weight"] *= 1.5
    save_file(state, "trained.safetensors")
    Path("trained.ledger.json").write_text(json.dumps(initcfg.Ledger.load("ft.safetensors").to_json()))
    code, found = run("trained.safetensors", "--plan", "trained.ledger.json")
    assert code == 1
    assert found["0.weight"]["status"] == "changed"
    assert found["0.weight"]["change"] == pytest.approx(0.5)
    norm = float(load_file("base.safetensors")["0.weight"].norm())
    assert found["0.weight"]["distance"] == pytest.approx(norm / 2)
    assert found["0.bias"]["status"] == "initial"


def test_a_source_that_has_gone_or_is_another(folder):
    tuned("base.safetensors")
    base = Path("base.safetensors")
    kept = base.read_bytes()
    base.unlink()
    code, found = run("ft.safetensors")
    assert code == 3
    assert found["0.weight"]["status"] == "unknown"
    assert found["0.weight"]["detail"] == "from base.safetensors, which is not there any more"
    assert found["1.weight"]["status"] == "initial"
    save_file({key: each + 1 for key, each in tuned_state().items()}, "base.safetensors")
    code, found = run("ft.safetensors")
    assert code == 3
    assert "has changed since" in found["0.bias"]["detail"]
    base.write_bytes(b"no checkpoint at all")
    assert "which cannot be read" in run("ft.safetensors")[1]["0.bias"]["detail"]
    base.write_bytes(kept)
    assert run("ft.safetensors")[0] == 0


def tuned_state() -> dict[str, torch.Tensor]:
    return {key: each for key, each in load_file("ft.safetensors").items() if key.startswith("0.")}


def test_a_plan_has_no_digest_and_the_source_is_compared_as_it_is(folder):
    tuned("base.safetensors")
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    plan = initcfg.plan(model, [dict(type="Normal", layer="Linear", std=0.1)])
    loaded = initcfg.plan(model[0], dict(type="Pretrained", checkpoint="base.safetensors", prefix="0."))
    assert loaded.loads[0].sha256 is None
    found = initcfg.verify({"weight": load_file("ft.safetensors")["0.weight"]}, loaded)
    assert found["weight"].status == "initial"
    assert found["bias"].status == "missing"
    assert found.seed is None
    with pytest.raises(errors.CheckpointError, match="no seed"):
        initcfg.verify("ft.safetensors", plan)


def test_what_was_given_in_code_cannot_be_checked(folder):
    model = nn.Linear(4, 4)
    state = {"weight": torch.ones(4, 4), "bias": torch.ones(4)}
    ledger = initcfg.init_weights(model, dict(type="Pretrained", checkpoint=state), seed=0)
    assert initcfg.verify(model, ledger).exit_code == 0
    found = initcfg.verify(model, initcfg.Ledger.from_json(ledger.to_json()))
    assert found.exit_code == 3
    assert "given in code" in found["weight"].detail


def test_a_ledger_of_its_own_fetches_nothing(folder):
    ledger = tuned("base.safetensors").to_json()
    ledger["loads"][0]["checkpoint"] = "http://127.0.0.1:9/base.safetensors"
    save_file(load_file("ft.safetensors"), "own.safetensors", {"initcfg.ledger": json.dumps(ledger)})
    code, found = run("own.safetensors")
    assert code == 3
    assert found["0.weight"]["status"] == "unknown"


def test_tensors_that_nothing_says_anything_of(folder):
    tuned("base.safetensors")
    ledger = initcfg.Ledger.load("ft.safetensors")
    state = {**load_file("ft.safetensors"), "head.weight": torch.ones(2, 2)}
    found = initcfg.verify(state, ledger)
    assert found["head.weight"].status == "unplanned"
    assert found.unchecked == ("head.weight",)
    assert found.exit_code == 3
    state["head.weight"][0, 0] = math.nan
    assert initcfg.verify(state, ledger).exit_code == 1


@pytest.mark.parametrize("prefix", ["module.", "model.", "a.b."])
def test_prefixes_of_training_code(folder, prefix):
    ledger = tuned("base.safetensors")
    state = {prefix + key: each for key, each in load_file("ft.safetensors").items()}
    state["loss.weight"] = torch.ones(3)
    found = initcfg.verify(state, ledger)
    assert found.counts() == {"initial": 4, "unplanned": 1}


def test_other_types_hold_the_rounded_numbers(folder):
    ledger = tuned("base.safetensors")
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        state = {key: each.to(dtype) for key, each in load_file("ft.safetensors").items()}
        assert initcfg.verify(state, ledger).counts() == {"initial": 4}, dtype
    whole = {key: (each * 100).to(torch.int8) for key, each in load_file("ft.safetensors").items()}
    assert initcfg.verify(whole, ledger)["1.weight"].status == "changed"


def test_from_zero_the_change_is_its_norm(folder):
    ledger = tuned("base.safetensors")
    state = load_file("ft.safetensors")
    state["1.bias"] += torch.tensor([3.0, 4.0])
    found = initcfg.verify(state, ledger)["1.bias"]
    assert (found.change, found.distance) == (None, 5.0)
    assert found.detail == "from zero, to a norm of 5"
    assert "inf" not in str(initcfg.verify(state, ledger))
    state["1.bias"] = torch.tensor([0.0, -0.0])
    found = initcfg.verify(state, ledger)["1.bias"]
    assert (found.status, found.distance) == ("changed", 0.0)
    assert "sign of zeros" in found.detail


def test_what_no_module_holds_is_not_compared(folder):
    ledger = tuned("base.safetensors")
    state = load_file("ft.safetensors")
    torch.save({**state, "0.bias": state["0.bias"].to_sparse()}, "sparse.pth")
    found = initcfg.verify("sparse.pth", ledger)
    assert found["0.bias"].status == "unknown"
    assert found.exit_code == 3
    empty = nn.Embedding(0, 3)
    kept = initcfg.init_weights(empty, dict(type="Normal", layer="Embedding"), seed=0)
    assert initcfg.verify(empty, kept).counts() == {"initial": 1}


def test_parametrized_weights_are_not_missing(folder):
    model = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    ledger = initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=0.1), seed=0)
    found = initcfg.verify(model, ledger)
    assert found.counts() == {"unknown": 2, "initial": 1}
    assert found.exit_code == 3


def test_a_finished_plan_loads_what_was_loaded(folder):
    plan = tuned("base.safetensors").plan
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    plan.apply(model)
    assert torch.equal(model[0].weight, load_file("ft.safetensors")["0.weight"])
    save_file({key: each + 1 for key, each in tuned_state().items()}, "base.safetensors")
    with pytest.raises(errors.CheckpointError, match="has changed since"):
        plan.apply(model)


class Tables(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("stored", torch.ones(3))
        self.register_buffer("unstored", torch.ones(3), persistent=False)


def test_a_buffer_that_no_file_stores_is_not_missing():
    model = Tables()
    plan = initcfg.trace(Tables)
    # A plan does not know that no file has it, and a ledger does.
    found = initcfg.verify(model, plan, seed=0)
    assert found.counts() == {"initial": 2, "unknown": 1}
    assert found["unstored"].detail == "a buffer, which the file does not store"
    ledger = plan.apply(model, seed=0)
    assert initcfg.verify(model, ledger).counts() == {"initial": 2}
    for planned in (plan, ledger):
        assert initcfg.verify({"stored": torch.ones(3)}, planned, seed=0)["weight"].status == "missing"
