"""The documents run, show what they say, and lead somewhere; ``reader.py`` says how."""

from __future__ import annotations

import html
import importlib
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from reader import DOCUMENTS, ROOT, Reader, blocks

import initcfg
from initcfg._api.command.options import Request
from initcfg._api.command.planning import planned
from initcfg._plan.report.table import plan_view, render


def prepare(document: Path) -> None:
    """What a document takes for granted: docs/config.md speaks of a ResNet that the reader has."""
    if document.name == "config.md":
        from torch import nn

        class ResNet(initcfg.BaseModule):
            def __init__(self, depth: int, init_cfg: Any = None) -> None:
                super().__init__(init_cfg)
                self.conv = nn.Conv2d(3, depth, 1)

        initcfg.MODELS.register_module("ResNet", module=ResNet)


# Pages of words and tables.
WITHOUT_EXAMPLES = (
    "index.md",
    "decisions.md",
    "gallery.md",
    "lock-upgrade.md",
    "process_wide.md",
    "recipes.md",
    "reference.md",
)


# A Chinese page shows what the English one does, which is run.
CHINESE = [path for path in DOCUMENTS if path.name.endswith(".zh.md")]
RUN = [path for path in DOCUMENTS if path not in CHINESE]


@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
def test_document_runs(document: Path, reader_folder: Path) -> None:
    prepare(document)
    count = Reader(document, reader_folder).read()
    assert count > 0 or document.name in WITHOUT_EXAMPLES or any(block.needs for block in blocks(document))


@pytest.mark.peers
@pytest.mark.parametrize(
    "document",
    [path for path in RUN if any(block.needs == "mmengine" for block in blocks(path))],
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
    assert Reader(document, reader_folder).read(has="mmengine") > 0


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


def test_both_languages_show_the_same() -> None:
    pairs = [(path.with_name(path.name.replace(".zh", "")), path) for path in CHINESE]
    assert pairs
    for english, chinese in [(ROOT / "README.md", ROOT / "README.zh-CN.md"), *pairs]:
        shown = [[(block.language, block.text) for block in blocks(page)] for page in (english, chinese)]
        assert shown[0] == shown[1], chinese.name
        headings = [
            re.findall(r"^#+ ", page.read_text(encoding="utf-8"), re.MULTILINE) for page in (english, chinese)
        ]
        assert headings[0] == headings[1], chinese.name
        text = english.read_text(encoding="utf-8")
        assert f"\n[中文]({chinese.name})\n" in text, f"{english.name} does not lead to {chinese.name}"
        assert f"\n[English]({english.name})\n" in chinese.read_text(encoding="utf-8")


def test_every_document_is_on_the_map() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if ".zh." not in path.name]
    assert [name for name in pages if f"({name})" not in text] == ["index.md"]


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
