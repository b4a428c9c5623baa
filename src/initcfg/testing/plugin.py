"""The plug-in of pytest: ``--initcfg-update``. It imports no torch, and does nothing where no test asks."""

from __future__ import annotations

from typing import Any

from initcfg.testing.golden_plans import asked


def pytest_addoption(parser: Any) -> None:
    """Add the option."""
    parser.getgroup("initcfg").addoption(
        "--initcfg-update",
        action="store_true",
        default=False,
        help="Write the plans that assert_plan_matches compares with, where they are missing or differ.",
    )


def pytest_configure(config: Any) -> None:
    """Note what was asked for; pytest may run several times in one process."""
    asked.update = bool(config.getoption("--initcfg-update"))
    asked.updated.clear()


def pytest_runtest_setup(item: Any) -> None:
    """Golden plans lie beside the test."""
    asked.folder = item.path.parent


def pytest_runtest_teardown() -> None:
    """Outside of a test, paths are those of the process."""
    asked.folder = None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name the files that were written."""
    for path in dict.fromkeys(asked.updated):
        terminalreporter.write_line(f"initcfg: wrote {path}")
