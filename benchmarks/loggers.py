"""A diagnosis, a plan and a ledger in Weights & Biases and in MLflow, offline: what these kept is read back.

    python benchmarks/loggers.py

The lines for a plan and a ledger are those of docs/testing.md. Both are too large for the tests' environment:
``pip install wandb mlflow-skinny pandas``. TensorBoard and the loggers of Lightning are in ``tests/peers``.
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


def initialized() -> tuple[initcfg.Plan, initcfg.Ledger]:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
    return plan, plan.apply(model, seed=0)


def plan_in_wandb(plan: initcfg.Plan, ledger: initcfg.Ledger, folder: Path) -> str:
    import wandb  # pyright: ignore[reportMissingImports]

    table = plan.to_table()
    run = wandb.init(project="initcfg", mode="offline", dir=str(folder))
    run.log({"plan": wandb.Table(columns=table.columns, data=table.rows)})
    run.summary.update(ledger.summary())
    kept = {name: run.summary[name] for name in ledger.summary()}
    files = Path(run.dir)
    run.finish()
    assert kept == ledger.summary()
    (path,) = files.rglob("media/table/plan*.json")
    data = json.loads(path.read_text())
    assert (data["columns"], data["data"]) == (table.columns, table.rows)
    return f"wandb {wandb.__version__}: a plan of {len(table.rows)} rows, {len(kept)} numbers of its ledger"


def plan_in_mlflow(plan: initcfg.Plan, ledger: initcfg.Ledger, folder: Path) -> str:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow  # pyright: ignore[reportMissingImports]

    table = plan.to_table()
    mlflow.set_tracking_uri((folder / "runs").as_uri())
    mlflow.set_experiment("initialized")
    with mlflow.start_run() as active:
        mlflow.log_table(table.to_dict(), "plan.json")
        mlflow.log_metrics(ledger.summary())
    client = mlflow.MlflowClient()
    assert client.get_run(active.info.run_id).data.metrics == ledger.summary()
    path = mlflow.artifacts.download_artifacts(run_id=active.info.run_id, artifact_path="plan.json")
    data = json.loads(Path(path).read_text())
    assert (data["columns"], data["data"]) == (table.columns, table.rows)
    return f"mlflow {mlflow.__version__}: a plan of {len(table.rows)} rows, {len(ledger.summary())} metrics"


def in_pandas(plan: initcfg.Plan, ledger: initcfg.Ledger, folder: Path) -> str:
    import pandas  # pyright: ignore[reportMissingImports]

    table = plan.to_table()
    frame = pandas.DataFrame(table.rows, columns=table.columns)
    assert frame.shape == (len(table.rows), len(table.columns)) and list(frame["name"]) == list(plan)
    assert pandas.Series(ledger.summary()).to_dict() == ledger.summary()
    return f"pandas {pandas.__version__}: {len(frame)} rows"


def in_wandb(found: initcfg.Diagnosis, folder: Path) -> str:
    import wandb  # pyright: ignore[reportMissingImports]

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
    import mlflow  # pyright: ignore[reportMissingImports]

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
    for log in (plan_in_wandb, plan_in_mlflow, in_pandas):
        with tempfile.TemporaryDirectory() as folder:
            print(log(*initialized(), Path(folder)))
    found = diagnosis()
    for log in (in_wandb, in_mlflow):
        with tempfile.TemporaryDirectory() as folder:
            print(log(found, Path(folder)))
