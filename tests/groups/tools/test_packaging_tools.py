"""The sdist and the wheel: built, checked by twine, and installed where nothing of the checkout is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.group
ROOT = Path(__file__).parents[3]
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def run(*words: str, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, **variables}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source), cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def test_what_is_in_them(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    rust = {str(path.relative_to(ROOT)) for path in (ROOT / "rust").glob("src/**/*.rs")}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "src/initcfg").rglob("*.py")}
    assert {"pyproject.toml", "setup.py", "LICENSE", "README.md", "CHANGELOG.md"} <= names
    assert {"rust/Cargo.toml", "rust/Cargo.lock", "src/initcfg/py.typed", "src/initcfg/__init__.pyi"} <= names
    assert rust | package <= names
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert {name.removeprefix("src/") for name in package} <= inside
    kernel = [name for name in inside if name.startswith("initcfg/_kernel")]
    assert bool(kernel) is (shutil.which("cargo") is not None)
    assert wheel.name.startswith("initcfg-") and "-py3-none-" in wheel.name
    assert not [name for name in inside if name.startswith(("tests", "docs"))]


def test_twine_finds_nothing(built: tuple[Path, Path]) -> None:
    pytest.importorskip("twine")
    said = run(sys.executable, "-m", "twine", "check", "--strict", *map(str, built), cwd=built[0].parent)
    assert said.count("PASSED") == 2


def test_the_wheel_in_a_fresh_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Its dependencies are those of this environment; the package itself comes from the wheel alone."""
    venv.create(tmp_path / "fresh", with_pip=False)
    python = str(tmp_path / "fresh/bin/python")
    site = tmp_path / "fresh/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
    ]
    run(*words, str(built[1]), cwd=tmp_path)
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    empty = {"PYTHONPATH": ""}
    where = run(python, "-c", "import initcfg; print(initcfg.__file__)", cwd=tmp_path, **empty).strip()
    assert Path(where).is_relative_to(site)
    run(python, "-m", "initcfg", "doctor", cwd=tmp_path, **empty)
    linear = ["torch.nn:Linear", "--set", "in_features=2", "--set", "out_features=2"]
    run(python, "-m", "initcfg", "lock", *linear, cwd=tmp_path, **empty)
    said = run(python, "-m", "initcfg", "check", cwd=tmp_path, **empty)
    assert said == "torch.nn:Linear: 2 tensors start as locked.\n"
    entries = "import importlib.metadata as m; print([e.value for e in m.entry_points(group='pytest11')])"
    assert "initcfg.testing.plugin" in run(python, "-c", entries, cwd=tmp_path, **empty)


def test_versions_of_python_that_are_named_were_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    assert named == ["3.11"]
    recipe = (ROOT / "conda/meta.yaml").read_text()
    assert f'version = "{project["version"]}"' in recipe and "never built" in recipe
