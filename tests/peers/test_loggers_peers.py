"""A diagnosis in the loggers themselves: what they kept is read back."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import initcfg

sys.path.append(str(Path(__file__).parents[1] / "diagnose"))

from logged_diagnosis import DIAGNOSIS, SCALARS

pytestmark = [pytest.mark.peers, pytest.mark.lightning, pytest.mark.filterwarnings("ignore")]


def there(name: str) -> Any:
    return pytest.importorskip(name, exc_type=ImportError)


@pytest.mark.parametrize("module", ["torch.utils.tensorboard", "tensorboardX"])
def test_tensorboard(module: str, tmp_path: Path) -> None:
    there("tensorboard")
    writer = there(module).SummaryWriter(str(tmp_path))
    DIAGNOSIS.log(to=writer, step=3)
    writer.close()
    reading = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(tmp_path))
    events.Reload()
    for name, number in SCALARS.items():
        (event,) = events.Scalars(name)
        assert (event.step, event.value) == (3, pytest.approx(number))
    assert [each.value for each in events.Scalars("initcfg/depth/rms")] == [1.0, 2.0]
    (text,) = events.Tensors("initcfg/findings/text_summary")
    assert b"The loss starts at 19.3" in text.tensor_proto.string_val[0]
    assert (tmp_path / "initcfg-report.html").is_file()


def initialized() -> tuple[initcfg.Plan, initcfg.Ledger]:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
    return plan, plan.apply(model, seed=0)


@pytest.mark.parametrize("module", ["torch.utils.tensorboard", "tensorboardX"])
def test_a_plan_and_a_ledger_in_tensorboard(module: str, tmp_path: Path) -> None:
    there("tensorboard")
    plan, ledger = initialized()
    writer = there(module).SummaryWriter(str(tmp_path))
    writer.add_text("initcfg/plan", plan.to_table().to_markdown())
    for name, number in ledger.summary().items():
        writer.add_scalar(f"initcfg/{name}", number)
    writer.close()
    reading = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(tmp_path))
    events.Reload()
    (elements,) = events.Scalars("initcfg/elements/by_rule")
    assert elements.value == 20
    (text,) = events.Tensors("initcfg/plan/text_summary")
    assert b"| 0.weight | 4\xc3\x974 | 16 | float32 | Normal |" in text.tensor_proto.string_val[0]


def test_a_plan_in_wandb_and_mlflow_where_they_are() -> None:
    """Their tables are made of these columns and rows."""
    plan, ledger = initialized()
    table = plan.to_table()
    try:
        wandb = importlib.import_module("wandb")
    except ImportError:
        wandb = None
    if wandb is not None:
        made = wandb.Table(columns=table.columns, data=table.rows)
        assert made.columns == table.columns and len(made.data) == 4
    assert [len(column) for column in table.to_dict().values()] == [4] * len(table.columns)
    assert all(isinstance(each, int) for each in ledger.summary().values())
