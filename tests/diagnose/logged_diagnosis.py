"""A diagnosis to log, of which every part has something."""

from __future__ import annotations

from initcfg import Diagnosis, Finding
from initcfg._diagnose.facts import BlockMeasure, Measures, ProbeRun

FINDING = Finding(
    level="warning",
    code="initial-loss",
    where="",
    measured=19.3,
    threshold=5.3,
    healthy=(4.3, 6.3),
    text="The loss starts at 19.3 | <b>not 5.3</b>.",
    why="The first steps shrink the head.",
    fix="Give wte a smaller std.",
    rule="model.init_cfg[1]",
    source="cfg.py:14",
    value="Normal(mean=0, std=0.8)",
    tensors=("wte.weight",),
)
DIAGNOSIS = Diagnosis(
    findings=(FINDING,),
    measures=Measures(
        blocks=(BlockMeasure("h.0", 1.0, 0.5), BlockMeasure("h.1", 2.0)),
        numbers={"loss": 19.3, "log_classes": 5.3},
        probe=(ProbeRun(1e-3, (19.3, 12.0, float("nan"))),),
    ),
    batch="synthetic tokens",
)
SCALARS = {"initcfg/errors": 0.0, "initcfg/warnings": 1.0, "initcfg/loss": 19.3, "initcfg/log_classes": 5.3}
