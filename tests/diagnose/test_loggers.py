"""Loggers get few numbers, the findings as a table, and the report; each is known by its type."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from logged_diagnosis import DIAGNOSIS, SCALARS

from initcfg.errors import DiagnosisError

Calls = list[tuple[Any, ...]]


class Recorder:
    """It keeps what it is called with; its children have the names and modules of loggers."""

    def __init__(self, **given: Any) -> None:
        self.calls: Calls = []
        vars(self).update(given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("log", "add", "flush")):
            return lambda *given, **named: self.calls.append((name, *given, *named.items()))
        raise AttributeError(name)

    def of(self, *names: str) -> Calls:
        return [call[1:] for call in self.calls if call[0] in names]


def made(name: str, module: str, **given: Any) -> Any:
    return type(name, (Recorder,), {"__module__": module})(**given)


@pytest.mark.parametrize("module", ["torch.utils.tensorboard.writer", "tensorboardX.writer"])
def test_tensorboard(module: str, tmp_path: Path) -> None:
    writer = made("SummaryWriter", module, log_dir=str(tmp_path))
    DIAGNOSIS.log(to=writer, step=3)
    scalars = writer.of("add_scalar")
    assert {name: number for name, number, step in scalars if step == 3 and name in SCALARS} == SCALARS
    assert [call[1:] for call in scalars if call[0] == "initcfg/depth/rms"] == [(1.0, 0), (2.0, 1)]
    assert [call[1:] for call in scalars if call[0] == "initcfg/depth/gradient_rms"] == [(0.5, 0)]
    assert [call[1:] for call in scalars if call[0] == "initcfg/probe/lr_0.001"][:2] == [(19.3, 0), (12.0, 1)]
    (text,) = writer.of("add_text")
    assert text[0] == "initcfg/findings" and text[2] == 3
    assert "| 19.3 | 5.3 | The loss starts at 19.3 \\| &lt;b>not 5.3&lt;/b>. |" in text[1]
    assert "model.init_cfg[1] | cfg.py:14 |" in text[1]
    assert "19.3" in (tmp_path / "initcfg-report.html").read_text(encoding="utf-8")


def test_a_folder_elsewhere_gets_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    DIAGNOSIS.log(to=made("SummaryWriter", "torch.utils.tensorboard.writer", log_dir="s3://bucket/run"))
    assert not list(tmp_path.iterdir())


def test_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = SimpleNamespace(
        Table=lambda columns, data: (columns, data), Html=lambda text, inject: ("html", text, inject)
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]
    run = made("Run", "wandb.sdk.wandb_run", summary={})
    DIAGNOSIS.log(to=run)
    assert run.summary == SCALARS
    ((data, commit),) = run.of("log")
    assert commit == ("commit", False)
    columns, (row,) = data["initcfg/findings"]
    assert dict(zip(columns, row, strict=True))["measured"] == 19.3
    assert ["initcfg/depth/rms", 1, 2.0] in data["initcfg/curves"][1]
    assert data["initcfg/report"][0] == "html" and "19.3" in data["initcfg/report"][1]


class Client(Recorder):
    """MLflow's client: every call begins with the run."""


Client.__name__, Client.__module__ = "MlflowClient", "mlflow.tracking.client"


def test_mlflow() -> None:
    module: Any = ModuleType("mlflow")
    recorder = Recorder()
    for name in ("log_metric", "log_text", "log_dict"):
        setattr(module, name, getattr(recorder, name))
    DIAGNOSIS.log(to=module, step=2)
    metrics = recorder.of("log_metric")
    assert {name: number for name, number, step in metrics if step == ("step", 2)} == SCALARS
    # A number that is not finite is in the findings and in the JSON, and no metric.
    assert [call[1:] for call in metrics if call[0] == "initcfg/probe/lr_0.001"] == [
        (19.3, ("step", 0)),
        (12.0, ("step", 1)),
    ]
    assert [call[-1] for call in recorder.of("log_text")] == ["initcfg/findings.md", "initcfg/report.html"]
    assert recorder.of("log_dict") == [(DIAGNOSIS.to_json(), "initcfg/diagnosis.json")]


def test_an_mlflow_client_needs_a_run() -> None:
    client = Client()
    with pytest.raises(DiagnosisError, match="nothing says which"):
        DIAGNOSIS.log(to=client)
    DIAGNOSIS.log(to=client, run_id="r1")
    assert {call[0] for call in client.of("log_metric", "log_text", "log_dict")} == {"r1"}


def test_lightning_leads_to_what_is_inside() -> None:
    def logger(**given: Any) -> Any:
        base = type("Logger", (Recorder,), {"__module__": "lightning.pytorch.loggers.logger"})
        return type("SomeLogger", (base,), {"__module__": "mine"})(**given)

    writer = made("SummaryWriter", "torch.utils.tensorboard.writer", log_dir="")
    DIAGNOSIS.log(to=logger(experiment=writer))
    assert len(writer.of("add_text")) == 1
    client = Client()
    DIAGNOSIS.log(to=logger(experiment=client, run_id="r2"))
    assert {call[0] for call in client.of("log_metric")} == {"r2"}
    plain = logger(experiment=object())
    DIAGNOSIS.log(to=[plain, plain], step=1)
    assert plain.of("log_metrics") == [(SCALARS, ("step", 1))] * 2


@pytest.mark.parametrize("to", [None, "runs", sys, made("Run", "mine"), made("SummaryWriter", "mine")])
def test_others_are_refused(to: Any) -> None:
    with pytest.raises(DiagnosisError, match="Nothing is known of how to log to") as caught:
        DIAGNOSIS.log(to=to)
    assert "SummaryWriter" in str(caught.value.fix)
