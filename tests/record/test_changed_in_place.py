"""What code changes in place after a draw names that line; what a load left out is remarked on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import initcfg
from initcfg._record import partial_loads

HERE = Path(__file__).name


class Tuned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scaled, self.copied, self.plain = (nn.Linear(8, 8) for _ in range(3))
        self.table = nn.Embedding(5, 8, padding_idx=0)
        self.own = nn.Parameter(torch.randn(3) * 2)
        nn.init.trunc_normal_(self.plain.weight, std=0.02)
        with torch.no_grad():
            self.scaled.weight.mul_(40)
            self.copied.weight.copy_(self.copied.weight / 2)
            self.table.weight *= 3
        self.scaled.bias.data.add_(1)
        self.scaled.bias.data.mul_(2)


def _line(text: str) -> str:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return f"{HERE}:{1 + next(place for place, each in enumerate(lines) if each.strip() == text)}"


CHANGED = {
    "scaled.weight": ("Linear.reset_parameters", "mul_", "self.scaled.weight.mul_(40)"),
    "copied.weight": ("Linear.reset_parameters", "div", "self.copied.weight.copy_(self.copied.weight / 2)"),
    "table.weight": ("Embedding.reset_parameters", "mul_", "self.table.weight *= 3"),
    "scaled.bias": ("Linear.reset_parameters", "mul_", "self.scaled.bias.data.mul_(2)"),
}


def test_a_trace_names_the_last_writer_too() -> None:
    plan = initcfg.trace(Tuned)
    for name, (code, function, line) in CHANGED.items():
        rule = plan[name].rule or ""
        assert rule.startswith("torch/nn/modules/") and rule.endswith(
            f" {code}, then {function} at {_line(line)}"
        )
        assert initcfg.Plan.from_json(plan.to_json())[name].rule == rule
        assert line.partition("(")[0].partition(" ")[0] and _line(line) in plan.explain(name)
    # What an initialization function computes stands where that is called.
    for name in ("plain.weight", "own", "copied.bias"):
        assert ", then" not in (plan[name].rule or "")


def test_a_plan_of_constructors_names_it_too() -> None:
    with initcfg.deferred():
        model = Tuned()
    plan = initcfg.plan(model)
    for name, (code, function, line) in CHANGED.items():
        default = plan[name].default
        assert default is not None and default.rule == f"{code}, then {function} at {_line(line)}"
        assert _line(line) in str(plan)
    default = plan["plain.weight"].default
    assert default is not None and default.rule == "Tuned.__init__"


def _loader(prefix: str, *, strict: bool = False, share: float = 1.0) -> nn.Module:
    class Loads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            names = list(self.state_dict())
            count = round(len(names) * share)
            given = {f"{name if n < count else prefix + name}": torch.ones(2) for n, name in enumerate(names)}
            given |= {name: torch.ones(2, 2) for name in given if name.endswith("weight")}
            self.load_state_dict(given, strict=strict)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    return Loads()


@pytest.mark.parametrize(("share", "told"), [(0.0, 0), (0.25, 1), (0.5, None), (1.0, None)])
def test_a_load_that_loads_next_to_nothing(share: float, told: int | None) -> None:
    traced = initcfg.trace(lambda: _loader("module.", share=share))
    with initcfg.deferred():
        model = _loader("module.", share=share)
    for plan in (traced, initcfg.plan(model)):
        found = partial_loads(plan.notes)
        assert [(each.loaded, each.given) for each in found] == ([] if told is None else [(told, 4)])
        for each in found:
            assert each.place == _line("self.load_state_dict(given, strict=strict)")
            first = "body.0.weight" if told == 0 else "body.0.bias"
            assert (each.kind, each.stranger, each.lacking) == ("Loads", f"'module.{first}'", f"'{first}'")
            assert each.place in str(plan)
    assert nn.Module.load_state_dict.__module__ == "torch.nn.modules.module"


def test_a_strict_load_fails_as_it_did() -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        initcfg.trace(lambda: _loader("module.", strict=True, share=0.0))


def test_a_diagnosis_names_both() -> None:
    model = Tuned()
    model.forward = lambda x: model.copied(model.scaled(x))  # type: ignore[method-assign]
    plan = initcfg.trace(Tuned)
    batch = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 8
    finding = initcfg.diagnose(model, batch, plan=plan, steps=0)
    tensor = next(each for each in finding.measures.tensors if each.name == "scaled.weight")
    assert tensor.source == _line("self.scaled.weight.mul_(40)")
    assert (tensor.rule or "").startswith("Linear.reset_parameters (torch/nn/modules/linear.py:")
    assert (tensor.rule or "").endswith("), then mul_")
    loads = initcfg.trace(lambda: _loader("module.", share=0.0))
    built = _loader("module.", share=0.0)
    found = initcfg.diagnose(built, torch.randn(8, 2), plan=loads, steps=0)
    finding = next(each for each in found.findings if each.code == "not-loaded")
    assert (finding.level, finding.measured, finding.threshold) == ("warning", 0.0, 0.5)
    assert finding.source == _line("self.load_state_dict(given, strict=strict)")
    assert not found.ok
