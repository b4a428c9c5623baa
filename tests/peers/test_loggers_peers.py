"""A diagnosis in the loggers themselves: what they kept is read back."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

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
