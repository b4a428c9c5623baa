"""The recipe for conda, as far as it can be checked without conda: its form, and what the package needs."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
# The sections and keys that conda-build documents, as far as a package such as this one has them.
FIELDS = {
    "package": {"name", "version"},
    "source": {"path", "url", "sha256", "git_url", "git_rev", "patches", "folder"},
    "build": {"number", "script", "noarch", "entry_points", "skip", "string"},
    "requirements": {"build", "host", "run", "run_constrained"},
    "test": {"imports", "commands", "requires", "files", "source_files"},
    "about": {"home", "summary", "description", "license", "license_file", "license_family", "doc_url"},
}  # fmt: skip
CONDA_NAMES = {"torch": "pytorch"}


def recipe() -> dict[str, dict[str, object]]:
    """The recipe as conda-build sees it: filled in, and with the selectors of Python 3.10."""
    text = (ROOT / "conda/meta.yaml").read_text()
    version = re.search(r'set version = "([^"]+)"', text)
    assert version is not None
    text = re.sub(r"{%[^\n]*%}", "", text).replace("{{ version }}", version[1])
    text = text.replace("{{ PYTHON }}", "python").replace('{{ compiler("rust") }}', "rust")
    assert "{{" not in text
    return yaml.safe_load(text)


def test_its_sections_and_keys() -> None:
    made = recipe()
    assert set(made) == set(FIELDS)
    for section, keys in made.items():
        assert set(keys) <= FIELDS[section], section
    assert (ROOT / "conda" / str(made["source"]["path"])).resolve() == ROOT
    assert (ROOT / str(made["about"]["license_file"])).is_file()


def test_it_needs_what_the_package_needs() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    needed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert needed is not None

    def named(item: str) -> str:
        name = re.split(r"[\s;<>=]", item.strip())[0].lower()
        return CONDA_NAMES.get(name, name)

    expected = {named(each) for each in re.findall(r'"([^"]+)"', needed[1])}
    requirements = recipe()["requirements"]
    run, host = requirements["run"], requirements["host"]
    assert isinstance(run, list) and isinstance(host, list)
    assert {named(each) for each in run} == {"python", *expected}
    built = re.search(r"^requires = \[(.*?)\]", text, re.MULTILINE)
    assert built is not None
    assert {named(each) for each in host} == {
        "python",
        "pip",
        *map(named, re.findall(r'"([^"]+)"', built[1])),
    }
    python = re.search(r'requires-python = ">=([\d.]+)"', text)
    assert python is not None and f"python >={python[1]}" in run
