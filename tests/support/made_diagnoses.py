"""Diagnoses made by hand: of every kind of measure and finding something, with names that are hostile."""

from __future__ import annotations

import math
from dataclasses import replace

from initcfg import Diagnosis, Finding, Plan
from initcfg._diagnose.comparison import DiagnosisComparison
from initcfg._diagnose.facts import (
    AttentionMeasure,
    BlockMeasure,
    Measures,
    ProbeRun,
    TensorMeasure,
    UnitMeasure,
)

FINDINGS = (
    Finding(
        "warning",
        "initial-loss",
        "head",
        19.3,
        1.33,
        (-0.1, 0.98),
        "The loss starts at 19.3, and a uniform guess has 5.3.",
        "The first hundred steps shrink the head.",
        "Give the head a smaller std.",
        mend={"type": "Normal", "layer": "Linear", "std": 0.02},
        rule="model.init_cfg[1]",
        source="cfg.py:14",
        value="Normal(mean=0, std=0.8)",
        tensors=("head.weight",),
        more=2,
    ),
    Finding(
        "error",
        "activation-explodes",
        "blocks.11.mlp",
        1e10,
        1e3,
        (2.4e-5, 5.4),
        "It is 1e10.",
        "Overflow.",
        "Less.",
    ),
    Finding("info", "starts-later", "blocks.0.gamma", 0.0, None, None, "It starts later.", "By design.", ""),
)


def made(plan: Plan | None = None, names: tuple[str, ...] = (), evil: str = "") -> Diagnosis:
    """A diagnosis with all that one can have, for the tensors of a plan or of these names."""
    names = tuple(plan.parameters) if plan is not None else names or ("a.weight", "a.bias", "head.weight")
    tensors = tuple(
        TensorMeasure(
            name + evil,
            name.rpartition(".")[0],
            plan[name].shape if plan is not None else (4, 4),
            0.02 * (1 + place % 7),
            10.0 ** -(3 + place % 3),
            0.05 / (1 + place) if place % 5 else 0.0,
            None if place % 4 == 3 else 1.5 ** (place % 20),
            1e-4 / (1 + place),
            rule=f"init_cfg[0]{evil}",
            source="cfg.py:3",
            value="Normal(mean=0, std=0.02)",
            edges=(-0.08, 0.08),
            histogram=tuple(round(1000 * math.exp(-(((each - 15.5) / 6) ** 2))) for each in range(32)),
        )
        for place, name in enumerate(names)
    )
    blocks = tuple(BlockMeasure(f"blocks.{n}{evil}", 1.8**n, 1e-3 / 1.5**n) for n in range(12))
    measures = Measures(
        tensors,
        blocks,
        1.0,
        tuple(AttentionMeasure(f"blocks.{n}.attn{evil}", (0.99, 0.9, 0.15 + n / 20)) for n in range(12)),
        (UnitMeasure("relu1", "relu", 0.2), UnitMeasure(f"tanh1{evil}", "tanh", 0.8)),
        {"loss": 19.3, "log_classes": 5.3, "label_entropy": 5.1, "gradient_norm": 12.0},
        (
            ProbeRun(3e-4, (19.3, 18.0, 17.1, 15.5, 13.0, 12.0, 11.0, 9.8, 9.1)),
            ProbeRun(1e-3, (19.3, 15.0, 11.1, 9.5, 8.0, 7.0, 6.0, 5.8, 5.7)),
            ProbeRun(3e-3, (19.3, 12.0, 30.1, 80.0, math.inf, math.nan)),
        ),
    )
    findings = FINDINGS
    if evil:
        texts = dict.fromkeys(("why", "fix", "rule", "value", "source"), evil)
        findings = tuple(
            replace(
                each,
                where=each.where + evil,
                text=each.text + evil,
                tensors=(evil,),
                mend={"type": evil},
                **texts,
            )
            for each in FINDINGS
        )
    return Diagnosis(findings, measures, plan, batch=f"synthetic images{evil}", seconds=3.2)


def made_both(plan: Plan | None = None, evil: str = "", verdict: str = "here") -> DiagnosisComparison:
    """Two side by side: one as above, and one of other tensors with fewer findings; one draw diverges."""
    here, there = made(plan, evil=evil), made(plan, () if plan else ("a.weight", "b.weight"), evil)
    here = replace(here, findings=here.findings[2:])
    losses = [tuple(5.0 - 0.3 * step - 0.05 * seed for step in range(9)) for seed in range(5)]
    worse = [tuple(each + 4 for each in run) for run in losses[:4]] + [(9.0, 12.0, 300.0, math.inf)]
    return DiagnosisComparison(
        (f"a.py{evil}", f"b.py{evil}"),
        here,
        there,
        tuple(losses),
        tuple(worse),
        2 / 252,
        verdict,  # pyright: ignore[reportArgumentType]
    )
