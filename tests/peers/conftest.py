"""What every test beside the OpenMMLab packages shares: stand-ins, quiet logs, one table at the end."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

Row = dict[str, Any]
_ROWS = pytest.StashKey[dict[str, list[Row]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = {}


@pytest.fixture(scope="session", autouse=True)
def stand_ins() -> None:
    """The packages can be imported from here on; what they log is not shown."""
    import openmmlab_stand_ins

    openmmlab_stand_ins.install()
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel(logging.CRITICAL)


@pytest.fixture(scope="session")
def real(stand_ins: None) -> Any:
    """MMEngine's own ``mmengine.model``."""
    with warnings.catch_warnings():
        # torch tells it that torch.jit is old.
        warnings.simplefilter("ignore")
        return importlib.import_module("mmengine.model")


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> Iterator[None]:
    """Several threads gain nothing on tensors of this size, and cost much where cores are few."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def recorded() -> dict[tuple[str, str], Any]:
    """What MMEngine was recorded to do, by package and config; of 141 models, some of these among them."""
    path = Path(__file__).parents[1] / "truth" / "records.py"
    specification = importlib.util.spec_from_file_location("truth_records", path)
    assert specification is not None
    assert specification.loader is not None
    records = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = records
    specification.loader.exec_module(records)
    return {(each.package, each.config): each for each in records.load() if each.variant == "strip"}


@pytest.fixture
def tables(request: pytest.FixtureRequest) -> dict[str, list[Row]]:
    """Tables for the end of the run, by title: a list of rows (column → cell)."""
    return request.config.stash[_ROWS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, rows in config.stash.get(_ROWS, {}).items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [columns, *([str(row.get(column, "")) for column in columns] for row in rows)]
        widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
        terminalreporter.section(title)
        for line in cells:
            first, *others = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            terminalreporter.write_line(
                "  ".join([first, *(cell.strip().rjust(len(cell)) for cell in others)])
            )
