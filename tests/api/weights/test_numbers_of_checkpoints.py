"""inspect and diff with the numbers: of one checkpoint, and of two."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from html_check import read_page
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors
from initcfg._api.command.cli import main
from initcfg._checkpoints.formats.spans import Span


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def odd() -> dict[str, torch.Tensor]:
    """Tensors of all kinds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)
    return {
        "float": torch.tensor([[0.0, 1.0], [-3.0, 2.0]]),
        "bool": torch.tensor([True, False]),
        "int": torch.arange(5),
        "large": torch.tensor([2**63, 1], dtype=torch.uint64),
        "complex": torch.tensor([1 + 1j, 0j]),
        "eighth": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn),
        "half": torch.tensor([1.0, 2.0]).bfloat16(),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.0),
        "broken": torch.tensor([math.inf, math.nan, 1.0]),
        "sparse": torch.ones(3, 3).to_sparse(),
        "quantized": quantized,
        "meta": torch.empty(4, device="meta"),
        "packed": torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    }


def test_statistics_of_every_kind(folder):
    torch.save(odd(), "odd.pth")
    found = initcfg.inspect("odd.pth", values=True).tensors

    def numbers(key: str) -> tuple:
        return tuple(found[key][name] for name in ("min", "max", "zeros", "nan", "inf"))

    assert numbers("float") == (-3.0, 2.0, 1, 0, 0)
    assert found["float"]["std"] == pytest.approx(float(odd()["float"].std(correction=0)))
    assert found["float"]["mean"] == 0.0
    assert numbers("bool") == (0.0, 1.0, 1, 0, 0)
    assert numbers("int") == (0, 4, 1, 0, 0)
    assert numbers("large") == (1, 2**63, 0, 0, 0)
    assert numbers("complex") == (None, None, 1, 0, 0)
    assert found["complex"]["std"] == pytest.approx(math.sqrt(0.5))
    assert numbers("eighth") == numbers("half") == (1.0, 2.0, 0, 0, 0)
    assert numbers("empty") == (None, None, 0, 0, 0)
    assert numbers("scalar") == (3.0, 3.0, 0, 0, 0)
    assert numbers("broken") == (1.0, 1.0, 0, 1, 1)
    for key in ("sparse", "quantized", "meta"):
        assert found[key]["unreadable"].startswith(f"it is {'on the meta' if key == 'meta' else key}")
    assert "float4" in found["packed"]["unreadable"]
    text = run("inspect", "odd.pth", "--values")
    assert text.splitlines()[0].split() == ["key", "×", "shape", "dtype", "min", "max", "std", "zeros", "NaN"]
    assert "1 infinite" in text
    data = json.loads(run("inspect", "odd.pth", "--values", "--json"))["tensors"]
    assert data["float"]["max"] == 2.0
    assert "min" not in json.loads(run("inspect", "odd.pth", "--json"))["tensors"]["float"]


def test_large_tensors_are_read_in_pieces(folder, monkeypatch):
    weight = torch.randn(3000, 1000) + 1000
    save_file({"weight": weight}, "a.safetensors")
    sizes: list[int] = []
    memory = Span.memory

    def counted(span, length):
        sizes.append(length)
        return memory(span, length)

    monkeypatch.setattr(Span, "memory", counted)
    found = initcfg.inspect("a.safetensors", values=True).tensors["weight"]
    assert found["std"] == pytest.approx(float(weight.double().std(correction=0)), rel=1e-9)
    assert max(sizes, default=0) <= 1 << 23
    weight[2999, 999] += 1
    save_file({"weight": weight}, "b.safetensors")
    change = initcfg.diff("a.safetensors", "b.safetensors").changed["weight"]
    assert (change.differing, change.elements) == (1, 3_000_000)
    assert change.largest == pytest.approx(1.0, abs=1e-4)


def test_the_same_row_for_layers_that_are_alike(folder):
    save_file({f"{n}.weight": torch.full((2,), float(n)) for n in range(3)}, "a.safetensors")
    row = run("inspect", "a.safetensors", "--values").splitlines()[1].split()
    assert row == ["{0..2}.weight", "3", "2", "float32", "0", "2", "0", "2"]


def test_what_changed_and_by_how_much(folder):
    a, b = odd(), odd()
    b["float"] = a["float"] * 1.5
    b["bool"] = ~a["bool"]
    b["large"] = torch.tensor([2**63 + 1, 1], dtype=torch.uint64)
    b["half"] = a["half"].float()
    b["eighth"] = torch.tensor([1.0, 4.0]).to(torch.float8_e4m3fn)
    b["broken"] = torch.tensor([1.0, math.nan, math.nan])
    b["empty"] = torch.empty(0, 4)
    b["scalar"] = torch.tensor(0.0)
    a["zero"], b["zero"] = torch.zeros(2), torch.tensor([3.0, 4.0])
    a["sign"], b["sign"] = torch.zeros(2), torch.tensor([0.0, -0.0])
    a["gone"], b["new"] = torch.ones(1), torch.ones(1)
    torch.save(a, "a.pth")
    torch.save(b, "b.pth")
    found = initcfg.diff("a.pth", "b.pth")
    status = {name: each.status for name, each in found.changed.items()}
    assert status == {
        **dict.fromkeys(("float", "bool", "large", "eighth", "broken", "scalar", "zero", "sign"), "changed"),
        **dict.fromkeys(("sparse", "quantized", "meta"), "unreadable"),
        "half": "type",
        "empty": "shape",
    }
    assert found.alike == 3
    assert (list(found.only_a), list(found.only_b)) == (["gone"], ["new"])
    assert found.changed["float"].change == pytest.approx(0.5)
    assert found.changed["float"].largest == pytest.approx(1.5)
    assert found.changed["float"].differing == 3
    assert found.changed["large"].differing == 1
    assert found.changed["broken"].nan == (1, 2)
    assert found.changed["broken"].inf == (1, 0)
    assert (found.changed["zero"].change, found.changed["zero"].distance) == (None, 5.0)
    assert found.changed["zero"].detail == "from zero, to a norm of 5"
    assert "sign of zeros" in found.changed["sign"].detail
    assert found.changed["half"].detail == "the same numbers"
    text = run("diff", "a.pth", "b.pth", code=1)
    assert "1 → 2 NaN" in text
    assert "bfloat16 → float32" in text
    assert "only in A    gone" in text
    assert " inf" not in text.replace("infinite", "")
    assert json.loads(run("diff", "a.pth", "b.pth", "--json", code=1))["changed"]["zero"]["change"] is None
    assert found.to_json()["only_b"] == {"new": {"shape": [1], "dtype": "float32"}}


def test_rounding_is_another_type_and_no_other_numbers(folder):
    weight = torch.randn(20, 20)
    found = initcfg.diff({"w": weight}, {"w": weight.bfloat16()})
    assert found.changed["w"].status == "type"
    assert found.changed["w"].change == pytest.approx(0.0017, rel=0.5)
    assert initcfg.diff({"w": weight}, {"w": (weight * 1.1).bfloat16()}).changed["w"].status == "changed"


@pytest.mark.parametrize(
    ("a", "b", "taken"),
    [("module.", "", ("", "")), ("backbone.", "", ("backbone.", "")), ("x.", "y.z.", ("x.", "y.z."))],
)
def test_prefixes_make_no_difference(folder, a, b, taken):
    state = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).state_dict()
    torch.save({a + key: each for key, each in state.items()}, "a.pth")
    torch.save({b + key: each for key, each in state.items()}, "b.pth")
    found = initcfg.diff("a.pth", "b.pth")
    assert found.same
    assert found.alike == 4
    assert (found.prefix_a, found.prefix_b) == taken


def test_a_part_of_a_model(folder):
    state = nn.Linear(2, 2).state_dict()
    whole = {**{f"encoder.{key}": each for key, each in state.items()}, "head.bias": torch.ones(2)}
    found = initcfg.diff(whole, state)
    assert found.prefix_a == "encoder."
    assert found.alike == 2
    assert list(found.only_a) == ["head.bias"]


def test_files_of_all_forms_are_compared(folder):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    ledger = initcfg.init_weights(model, dict(type="Normal", layer="Linear"), seed=0)
    save_file(model.state_dict(), "a.safetensors")
    torch.save({"state_dict": model.state_dict()}, "a.bin")
    initcfg.plan(model, dict(type="Normal", layer="Linear")).save_weights(
        "folder", model, seed=0, shard_size="40B"
    )
    initcfg.plan(model, dict(type="Normal", layer="Linear")).save_weights("dcp", model, seed=0, format="dcp")
    for other in ("a.bin", "folder", "folder/model.safetensors.index.json", "dcp"):
        assert "4 tensors hold the same numbers" in run("diff", "a.safetensors", other), other
    assert initcfg.diff(model, "a.safetensors").same
    assert ledger.seed == 0


def test_ledgers_come_first_unless_numbers_are_asked_for(folder):
    for seed in (1, 2):
        model = nn.Linear(2, 2)
        ledger = initcfg.init_weights(model, dict(type="Normal", layer="Linear"), seed=seed)
        data = {"initcfg.ledger": json.dumps(ledger.to_json())}
        save_file(model.state_dict(), f"{seed}.safetensors", data)
    assert "seed: 1 → 2" in run("diff", "1.safetensors", "2.safetensors", code=1)
    text = run("diff", "1.safetensors", "2.safetensors", "--values", code=1)
    assert "1 changed; 1 tensor holds the same numbers." in text
    save_file(model.state_dict(), "plain.safetensors")
    assert "Nothing differs: 2 tensors hold" in run("diff", "2.safetensors", "plain.safetensors")
    assert isinstance(initcfg.diff("1.safetensors", "2.safetensors"), initcfg.Comparison)


def test_plans_and_configs_in_python(folder):
    model = nn.Linear(2, 2)
    plans = [initcfg.plan(model, dict(type="Normal", layer="Linear", std=std)) for std in (1, 2)]
    assert list(initcfg.diff(*plans).changed) == ["weight"]
    Path("p.json").write_text(json.dumps(plans[0].to_json()))
    assert initcfg.diff("p.json", plans[0]).same
    config = dict(
        type="Linear", in_features=2, out_features=2, init_cfg=dict(type="Normal", layer="Linear", std=1)
    )
    assert initcfg.diff(config, plans[0]).same
    assert initcfg.diff(model, nn.Linear(2, 2)).changed.keys() == {"weight", "bias"}
    with pytest.raises(errors.ConfigError, match="<Plan of 2 parameters, 1 rule> is none"):
        initcfg.diff(model, plans[0], values=True)
    with pytest.raises(errors.ConfigError, match="holds no plan"):
        initcfg.verify(model)


def test_what_has_no_numbers(folder):
    Path("c.yaml").write_text("model: {type: Linear, in_features: 2, out_features: 2}\n")
    save_file({"weight": torch.ones(1)}, "a.safetensors")
    assert "'c.yaml' is none" in run("diff", "--values", "a.safetensors", "c.yaml", code=2)
    assert "nothing that --set-a" in run("diff", "a.safetensors", "a.safetensors", "--set-a", "x=1", code=2)
    assert "There is no" in run("diff", "--values", "a.safetensors", "none.safetensors", code=2)
    with pytest.raises(errors.CheckpointError, match="A checkpoint was to be given"):
        initcfg.inspect(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_page_of_numbers(folder, lang):
    evil = "<script>alert(1)</script>"
    found = initcfg.diff(
        {"w": torch.ones(2), evil: torch.ones(1)}, {"w": torch.zeros(2), "new": torch.ones(1)}
    )
    text = found.to_html("page.html", lang=lang)
    assert Path("page.html").read_text(encoding="utf-8") == text
    read = read_page(text)
    assert not read.faults
    assert "<script>alert" not in text
    run("diff", "--values", "--html", "x.html", *_two_files(), code=1)
    assert Path("x.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def _two_files() -> tuple[str, str]:
    save_file({"w": torch.ones(2)}, "a.safetensors")
    save_file({"w": torch.zeros(2)}, "b.safetensors")
    return "a.safetensors", "b.safetensors"
