"""The example of models without a base class: a Transformer and an LSTM."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from example_draws import assert_drawn_from

import initcfg
from initcfg import errors

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def plain():
    return runpy.run_path(str(EXAMPLES / "plain" / "transformer.py"))


def test_transformer_script_runs():
    source = str(Path(initcfg.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "plain" / "transformer.py")],
        env={"PYTHONPATH": source, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "52 parameters, 266,112 elements: 43 by 7 rules, 9 by default." in done.stdout
    assert "11 parameters, 195,560 elements: 11 by 4 rules, 0 by default." in done.stdout
    losses = [
        float(line.split()[5].rstrip(";")) for line in done.stdout.splitlines() if line.startswith("loss")
    ]
    assert losses == pytest.approx([math.log(1000)] * 2, abs=0.1)


def test_transformer_plan(plain):
    model = plain["Transformer"]()
    kept = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    plan = initcfg.plan(model, plain["TRANSFORMER_RULES"], strict=True)
    assert plan.aliases == {"head.weight": "embedding.weight"}
    assert plan["head.weight"] is plan["embedding.weight"]
    assert plan["positions"].value.args == {"mean": 0, "std": 0.01}
    for index in range(plain["DEPTH"]):
        block = f"blocks.{index}"
        small = {"mean": 0, "std": 0.02 / math.sqrt(8)}
        assert plan[f"{block}.feedforward.2.weight"].value.args == small
        assert plan[f"{block}.attention.out_proj.weight"].value.args == small
        assert plan[f"{block}.feedforward.2.bias"].value.args == {"val": 0}
        assert plan[f"{block}.feedforward.0.bias"].value.args == {"a": -0.01, "b": 0.01}
        inner = plan[f"{block}.feedforward.0.weight"].value
        assert (inner.kind, inner.args) == ("TruncNormal", {"mean": 0, "std": 0.02, "a": -0.04, "b": 0.04})
        fused = plan[f"{block}.attention.in_proj_weight"].value
        bound = math.sqrt(3) * math.sqrt(2 / (64 + 64))
        assert (fused.kind, fused.sizes) == ("Parts", (64, 64, 64))
        assert all((part.a, part.b) == pytest.approx((-bound, bound), rel=1e-15) for part in fused.values)
        assert plan[f"{block}.norm1.bias"].value.kind == "Keep"
    plan.apply(model, seed=0)
    assert torch.equal(model.head.weight, model.embedding.weight)
    assert not model.embedding.weight[plain["PADDING"]].any()
    assert_drawn_from(model.embedding.weight[1:], plan["embedding.weight"].value.value)
    fused = plan["blocks.0.attention.in_proj_weight"].value
    for part, value in zip(model.blocks[0].attention.in_proj_weight.split(64), fused.values, strict=True):
        assert_drawn_from(part, value)
    assert torch.equal(model.norm.bias, kept["norm.bias"])
    assert model(torch.randint(1, 1000, (2, 16))).shape == (2, 16, 1000)


def test_recurrent_plan(plain):
    model = plain["Recurrent"]()
    plan = initcfg.plan(model, plain["RECURRENT_RULES"], strict=True)
    for layer in (0, 1):
        for name in (f"lstm.weight_ih_l{layer}", f"lstm.weight_hh_l{layer}"):
            gates = plan[name].value
            assert (gates.kind, gates.sizes) == ("Parts", (64,) * 4)
            assert {part.std for part in gates.values} == {math.sqrt(2 / 128)}
        assert plan[f"lstm.bias_ih_l{layer}"].value.args == {"val": 0}
        assert plan[f"lstm.bias_hh_l{layer}"].value.args == {"val": 0.5}
    plan.apply(model, seed=0)
    assert not model.embedding.weight[plain["PADDING"]].any()
    assert model.head.bias.unique().tolist() == pytest.approx([-6.9])
    assert_drawn_from(model.lstm.weight_hh_l1, plan["lstm.weight_hh_l1"].value.values[0])
    assert model(torch.randint(1, 1000, (2, 16))).shape == (2, 16, 1000)


def test_what_the_original_cannot_say_is_refused_under_compat(plain):
    with pytest.raises(
        errors.ArgumentError, match=r"a_sigma.* is an extension that the original does not know"
    ):
        initcfg.plan(plain["Transformer"](), plain["TRANSFORMER_RULES"], compat="mmengine")
