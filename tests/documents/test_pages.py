"""The documents run: every example of README.md, README.zh-CN.md and docs/, and every docstring.

The conventions, so that a document stays a document:

- A ``python`` block is executed, in order, in one namespace a document, in an empty folder. Warnings are
  errors. A block whose first line is ``# file: name`` is written to that file instead.
- A ``bash`` block that begins with ``initcfg`` is run, line by line, in the same folder.
- A ``text`` block directly below such a block is what that prints; ``...`` stands for any text in it. If it
  begins with ``error:``, the commands must exit with 2, else with 0, or with what ``# exits with 1`` at the
  end of the line says. Other ``text`` blocks are just text.
- ``<!-- needs mmengine -->`` above a block keeps it for ``pytest -m peers``, where mmengine is installed, and
  so are the other packages of ``tests/peers/requirements.txt``.
"""

from __future__ import annotations

import contextlib
import doctest
import html
import importlib
import io
import pkgutil
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import initcfg
from initcfg._api.command.cli import main
from initcfg._api.command.jobs import planned
from initcfg._api.command.request import Request
from initcfg._plan.report.table import plan_view, render

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
# The kernel is a library, and no module of Python's; the one for GPUs can be imported only where Triton is.
MODULES = [
    # What is exported says that it is of the package itself, so its examples are found there.
    "initcfg",
    *sorted(
        module.name
        for module in pkgutil.walk_packages(initcfg.__path__, "initcfg.")
        if module.name not in ("initcfg._kernel", "initcfg._stream.bits.triton_kernel")
    ),
]
BLOCK = re.compile(r"^(<!-- needs mmengine -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass
class Block:
    """One fenced block: its language, its text, the line it begins on, and its output where one is shown."""

    language: str
    text: str
    line: int
    peers: bool
    output: Block | None = None


def blocks(document: Path) -> list[Block]:
    """The blocks of a document; those that are the output of another hang on it."""
    content = document.read_text(encoding="utf-8")
    result: list[Block] = []
    end = -1
    for found in BLOCK.finditer(content):
        line = content[: found.start(3)].count("\n") + 1
        block = Block(found.group(2), found.group(3), line, found.group(1) is not None)
        directly_below = end >= 0 and not content[end : found.start()].strip()
        if block.language == "text" and directly_below and runs(result[-1]):
            result[-1].output = block
        else:
            result.append(block)
        end = found.end()
    return result


def runs(block: Block) -> bool:
    """Whether a block is executed, and not a file, a formula or another tool's command."""
    if block.text.startswith("# file: "):
        return False
    return block.language == "python" or (block.language == "bash" and block.text.startswith("initcfg "))


class Reader:
    """Someone who does what a document says, from top to bottom.

    Args:
        document: The document.
        folder: An empty folder, which is the current one.
    """

    def __init__(self, document: Path, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.namespace: dict[str, Any] = {"__name__": f"docs_{document.stem}"}

    def read(self, *, peers: bool) -> int:
        """Run the blocks; with ``peers``, those too that need mmengine. Returns how many were run."""
        count = 0
        for block in blocks(self.document):
            if block.peers and not peers:
                continue
            if block.text.startswith("# file: "):
                self._write(block)
            elif runs(block):
                printed = self._python(block) if block.language == "python" else self._commands(block)
                if block.output is not None:
                    self._compare(block.output, printed)
                count += 1
        return count

    def _place(self, block: Block) -> str:
        return f"{self.document.name}:{block.line}"

    def _write(self, block: Block) -> None:
        name = block.text.split("\n", maxsplit=1)[0].removeprefix("# file: ").strip()
        (self.folder / name).write_text(block.text, encoding="utf-8")

    def _python(self, block: Block) -> str:
        # With the lines of the document, so that a traceback leads there.
        source = "\n" * (block.line - 1) + block.text
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(source, str(self.document), "exec"), self.namespace)
        return out.getvalue()

    def _commands(self, block: Block) -> str:
        fails = block.output is not None and block.output.text.startswith("error:")
        printed = ""
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "initcfg", f"{self._place(block)}: {line!r} is no initcfg command"
            result = CliRunner().invoke(main, words[1:])
            said = re.search(r"# exits with (\d+)$", line)
            code = int(said[1]) if said else 2 if fails else 0
            assert result.exit_code == code, f"{self._place(block)}: {line}\n{result.output}"
            printed += result.output
        return printed

    def _compare(self, block: Block, printed: str) -> None:
        got = "\n".join(line.rstrip() for line in printed.rstrip().splitlines()) + "\n"
        same = doctest.OutputChecker().check_output(block.text, got, doctest.ELLIPSIS)
        assert same, f"{self._place(block)}: expected\n{block.text}\nbut got\n{got}"


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, and registries with nobody's classes; what a document adds is forgotten afterwards."""
    registries = [initcfg.MODELS, initcfg.INITIALIZERS]
    kept = [(dict(registry.module_dict), dict(registry.children)) for registry in registries]
    for registry, (names, _) in zip(registries, kept, strict=True):
        for name, item in names.items():
            if not item.__module__.startswith("initcfg."):
                del registry.module_dict[name]
        registry.children.clear()
    modules = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for registry, (names, children) in zip(registries, kept, strict=True):
        registry.module_dict.clear()
        registry.module_dict.update(names)
        registry.children.clear()
        registry.children.update(children)
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


def prepare(document: Path) -> None:
    """What a document takes for granted: docs/config.md speaks of a ResNet that the reader has."""
    if document.name == "config.md":
        from torch import nn

        class ResNet(initcfg.BaseModule):
            def __init__(self, depth: int, init_cfg: Any = None) -> None:
                super().__init__(init_cfg)
                self.conv = nn.Conv2d(3, depth, 1)

        initcfg.MODELS.register_module("ResNet", module=ResNet)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_runs(document: Path, reader_folder: Path) -> None:
    prepare(document)
    count = Reader(document, reader_folder).read(peers=False)
    assert count > 0 or document.name in ("index.md", "decisions.md", "process_wide.md")


@pytest.mark.peers
@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if any(block.peers for block in blocks(path))],
    ids=lambda path: path.name,
)
def test_document_runs_beside_mmengine(
    document: Path, reader_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "peers")
    importlib.import_module("openmmlab_stand_ins").install()
    packages = ["mmengine.model"]
    if document.name in ("findings.md", "trace.md") or document.name.startswith("README"):
        packages += ["torchvision", "timm", "transformers", "mmdet.models"]
    with warnings.catch_warnings():
        # What these say of themselves and of each other on import is none of ours.
        warnings.simplefilter("ignore")
        for package in packages:
            importlib.import_module(package)
    assert Reader(document, reader_folder).read(peers=True) > 0


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str, reader_folder: Path) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "document",
    [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda path: path.name,
)
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), f"{document.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{document.name}: {link}"


def test_the_readmes_show_the_same() -> None:
    english, chinese = (
        [(block.language, block.text) for block in blocks(ROOT / name)]
        for name in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese


def test_every_document_is_on_the_map() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [path.name for path in (ROOT / "docs").glob("*.md") if f"({path.name})" not in text]
    assert missing == ["index.md"]


def test_the_picture_is_the_plan() -> None:
    config = "examples/retinanet/retinanet_r50_fpn.py"
    _, plan = planned(Request(str(ROOT / config), strict=True))
    picture = (ROOT / "docs" / "images" / "plan.svg").read_text(encoding="utf-8")
    shown = html.unescape("".join(re.findall(r"<text[^>]*>(.*?)</text>", picture, re.DOTALL)))
    assert squeezed(f"initcfg plan {config}") in squeezed(shown)
    for line in render(plan_view(plan), width=200).splitlines():
        assert squeezed(line) in squeezed(shown)


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)
