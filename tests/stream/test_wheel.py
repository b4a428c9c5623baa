"""The wheel as its users have it: built from the sources, installed elsewhere, and drawing by the kernel."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "src", "rust")

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="the kernel is built by cargo")


def run(*command: str, folder: Path, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy without anything that was built before, so that no kernel of the checkout gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    built = shutil.ignore_patterns("_kernel*", "*.egg-info", "__pycache__", "target")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=built)
        else:
            shutil.copy(source, folder)
    # Where what builds is installed, no package index is asked.
    isolation = [] if importlib.util.find_spec("setuptools_rust") is None else ["--no-build-isolation"]
    run("-m", "pip", "wheel", "--quiet", "--no-deps", *isolation, "-w", "dist", ".", folder=folder)
    [found] = (folder / "dist").glob("*.whl")
    return found


def test_what_it_holds(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    assert {"initcfg/py.typed", "initcfg/__init__.pyi"} <= set(names)
    assert len([name for name in names if name.startswith("initcfg/_kernel")]) == 1
    # The package and its metadata, and nothing beside them: no tests, no examples.
    assert {name.split("/")[0].split("-")[0] for name in names} == {"initcfg"}
    assert not [name for name in names if "test" in name and not name.startswith("initcfg/testing/")]


def test_it_draws_by_the_kernel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    run(
        *("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)),
        folder=tmp_path,
    )
    where = run("-c", "import initcfg; print(initcfg.__file__)", folder=tmp_path, PYTHONPATH=str(site))
    assert Path(where.strip()).is_relative_to(site)
    report = json.loads(run("-m", "initcfg", "doctor", "--json", folder=tmp_path, PYTHONPATH=str(site)))
    assert report["implementation"] == "kernel", report["reason"]
    assert report["healthy"]
