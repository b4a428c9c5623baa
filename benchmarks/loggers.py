"""A diagnosis in Weights & Biases and in MLflow, offline: what these kept is read back.

    python benchmarks/loggers.py

Both are too large for the tests' environment: ``pip install wandb mlflow-skinny pandas``. TensorBoard and the
loggers of Lightning are in ``tests/peers``.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import torch
from torch import nn

import initcfg

NUMBERS = ("initcfg/errors", "initcfg/warnings", "initcfg/loss")


def diagnosis() -> initcfg.Diagnosis:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=3), seed=0)
    inputs = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    return initcfg.diagnose(model, (inputs, torch.arange(32) % 4))


def in_wandb(found: initcfg.Diagnosis, folder: Path) -> str:
    import wandb

    run = wandb.init(project="initcfg", mode="offline", dir=str(folder))
    found.log(to=run)
    before = run.step
    run.log({"loss": 1.0})
    assert (before, run.step) == (0, 1), "the run's own steps begin where they would have begun"
    summary = {name: run.summary[name] for name in NUMBERS}
    files = Path(run.dir)
    run.finish()
    (table,) = files.rglob("media/table/initcfg/findings*.json")
    assert len(json.loads(table.read_text())["data"]) == len(found.findings)
    (report,) = files.rglob("media/html/initcfg/report*.html")
    return f"wandb {wandb.__version__}: {summary}, {report.stat().st_size} bytes of report"


def in_mlflow(found: initcfg.Diagnosis, folder: Path) -> str:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow

    mlflow.set_tracking_uri((folder / "runs").as_uri())
    mlflow.set_experiment("diagnosed")
    with mlflow.start_run() as active:
        found.log(to=mlflow, step=2)
    client = mlflow.MlflowClient()
    other = client.create_run(active.info.experiment_id)
    found.log(to=client, run_id=other.info.run_id, step=2)
    for run_id in (active.info.run_id, other.info.run_id):
        metrics = client.get_run(run_id).data.metrics
        files = {each.path for each in client.list_artifacts(run_id, "initcfg")}
        assert files == {"initcfg/findings.md", "initcfg/diagnosis.json", "initcfg/report.html"}
    kept = {name: metrics[name] for name in NUMBERS}
    return f"mlflow {mlflow.__version__}: {kept}, {len(metrics)} metrics"


if __name__ == "__main__":
    found = diagnosis()
    for log in (in_wandb, in_mlflow):
        with tempfile.TemporaryDirectory() as folder:
            print(log(found, Path(folder)))
