"""The command diff: plans, ledgers and weights side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_models import MODULE, models_folder, refused, run

folder = pytest.fixture(models_folder)


def differing(*arguments: str) -> str:
    done = run("diff", *arguments)
    assert done.exit_code == 1, done.output
    return done.stdout


def test_nothing_differs(folder: Path) -> None:
    done = run("diff", f"{MODULE}:net", f"{MODULE}:net")
    assert done.exit_code == 0
    assert done.stdout == "Nothing differs: 8 tensors are alike.\n"


def test_values_that_differ_are_one_line_a_pattern(folder: Path) -> None:
    shown = differing(f"{MODULE}:net", f"{MODULE}:net", "--set-b", "std=0.5")
    lines = [line.split() for line in shown.splitlines()]
    assert lines[1] == [
        *("{0..2}.weight", "3"),
        *("Normal(mean=0,", "std=0.02)", "→", "Normal(mean=0,", "std=0.5)"),
    ]
    assert shown.splitlines()[-1] == "3 changed; 5 tensors are alike."
    full = differing(f"{MODULE}:net", f"{MODULE}:net", "--set-b", "std=0.5", "--full")
    assert [line.split()[0] for line in full.splitlines()[1:4]] == ["0.weight", "1.weight", "2.weight"]


def test_digits_that_are_not_shown(folder: Path) -> None:
    shown = differing(f"{MODULE}:net", f"{MODULE}:net", "--set-b", "std=0.0200001")
    assert "std=0.02 " in shown
    assert "std=0.0200001" in shown


def test_narrow_terminals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = differing(f"{MODULE}:net", f"{MODULE}:net", "--set-b", "std=0.5").splitlines()
    assert lines[:3] == [
        "{0..2}.weight  ×3",
        "    Normal(mean=0, std=0.02)",
        "  → Normal(mean=0, std=0.5)",
    ]


def test_what_one_side_alone_has_and_other_shapes(folder: Path) -> None:
    net = f"{MODULE}:net"
    data = json.loads(differing(net, net, "--set-a", "bias=false", "--set-b", "width=5", "--json"))
    assert list(data["only_b"]) == ["0.bias", "1.bias", "2.bias"]
    assert data["only_a"] == {}
    assert data["changed"]["0.weight"]["a"]["shape"] == [4, 4]
    assert data["changed"]["0.weight"]["b"]["shape"] == [5, 5]
    assert data["alike"] == 0
    shown = differing(net, net, "--set-a", "bias=false", "--set-b", "width=5")
    assert "only in B" in shown
    assert "4×4  →  5×5" in shown
    assert "5 changed, 3 only in B; 0 tensors are alike." in shown


def test_ties(folder: Path) -> None:
    data = json.loads(differing(f"{MODULE}:Tied", f"{MODULE}:Tied", "--set-b", "tie=false", "--json"))
    assert data["tied"] == {"b.weight": {"a": "a.weight", "b": None}}
    assert data["changed"] == data["only_a"] == data["only_b"] == {}
    assert "in A it is a.weight" in differing(f"{MODULE}:Tied", f"{MODULE}:Tied", "--set-b", "tie=false")


def test_ledgers_and_weights(folder: Path) -> None:
    for name, seed in (("a.safetensors", "1"), ("b.pth", "1"), ("c.pt", "2")):
        assert run("init", f"{MODULE}:net", "-o", name, "--seed", seed).exit_code == 0
    for name in ("a.safetensors", "a.ledger.json", "b.pth", "b.ledger.json"):
        assert run("diff", "a.safetensors", name).exit_code == 0
        assert run("diff", name, f"{MODULE}:net").exit_code == 0
    data = json.loads(differing("a.safetensors", "c.pt", "--json"))
    assert data["settings"] == {"seed": {"a": 1, "b": 2}}
    assert (data["alike"], data["changed"]) == (8, {})
    assert "seed: 1 → 2" in differing("a.ledger.json", "c.ledger.json")


def test_code_of_its_own_is_alike_in_plan_and_ledger(folder: Path) -> None:
    assert run("init", f"{MODULE}:Own", "-o", "own.safetensors", "--seed", "1").exit_code == 0
    done = run("diff", f"{MODULE}:Own", "own.safetensors")
    assert done.exit_code == 0, done.output


def test_what_cannot_be_compared(folder: Path) -> None:
    assert run("trace", f"{MODULE}:net", "--plan", "p.json").exit_code == 0
    assert "is a plan" in refused("diff", "p.json", "p.json", "--set-b", "x=1")
    for missing in ("w.pth", "w.safetensors"):
        assert f"There is no file '{missing}'" in refused("diff", missing, "p.json")
        (folder / missing).write_bytes(b"")
    assert "no ledger beside it" in refused("diff", "p.json", "w.pth")
    assert "is damaged" in refused("diff", "w.safetensors", "p.json")
    (folder / "bad.json").write_text('{"format": "initcfg-plan", "version": 99}')
    assert "version 99" in refused("diff", "bad.json", "p.json")
    (folder / "bad.json").write_text("{")
    assert "cannot be parsed" in refused("diff", "bad.json", "p.json")
    (folder / "bad.json").write_text('{"format": "initcfg-ledger", "version": 1}')
    assert "The field 'rng' is missing" in refused("diff", "bad.json", "p.json")
