"""The documentation's site in a real browser. Screenshots are left in ``build/site``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_pages import ROOT, NoSite, broken_links, built, served

from browser import Browser, NoBrowser, browser

pytestmark = pytest.mark.peers

PICTURES = Path(__file__).parents[2] / "build" / "site"
PAGES = (
    "index.html",
    "readme.html",
    "diagnose.html",
    "schemes.html",
    "api/plans-and-ledgers.html",
    "zh/index.html",
    "zh/readme.html",
)
LIGHT, DARK = 0.9, 0.2
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
RESULTS = '[...document.querySelectorAll(".md-search-result__link")].map(link => link.href)'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    PICTURES.mkdir(parents=True, exist_ok=True)
    try:
        return built(tmp_path_factory.mktemp("site"))
    except NoSite as error:
        pytest.fail(str(error))


@pytest.fixture(scope="module")
def home(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        with browser() as started:
            yield started
    except NoBrowser as error:
        pytest.fail(str(error))


def waited_for(chromium: Browser, expression: str) -> Any:
    """What an expression comes to as soon as it is something."""
    until = time.monotonic() + 20
    while not (found := chromium.value(expression)):
        assert time.monotonic() < until, expression
        time.sleep(0.05)
    return found


def test_no_link_is_broken_and_nothing_comes_from_elsewhere(site: Path) -> None:
    assert broken_links(site) == []


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(1300, False), (1300, True), (400, False), (400, True)])
def test_a_page_of_the_site_as_it_is_seen(
    chromium: Browser, home: str, page: str, width: int, dark: bool
) -> None:
    chromium.open(home + page, width=width, dark=dark)
    shade = sum(chromium.value(BACKGROUND)) / 3 / 255
    assert shade < DARK if dark else shade > LIGHT
    chromium.picture(PICTURES / f"{page[:-5].replace('/', '_')}_{width}{'_dark' if dark else ''}.png", 2400)
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.complaints(home) == []


def test_no_page_is_wider_than_a_telephone(chromium: Browser, home: str, site: Path) -> None:
    pages = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]
    # What the second language has not, is the first's page again.
    wide = []
    for page in pages:
        if page.startswith("zh/") and "此页只有英文版" in (site / page).read_text(encoding="utf-8"):
            continue
        chromium.open(home + page, width=400)
        if chromium.value("document.documentElement.scrollWidth") > 400:
            wide.append(page)
        assert chromium.complaints(home) == []
    assert wide == []


@pytest.mark.parametrize(
    ("start", "query", "found"),
    [
        ("index.html", "orthogonal", "initializers.html"),
        ("index.html", "param_groups", "api/"),
        ("index.html", "loss NaN", "my-loss-is.html"),
        ("zh/index.html", "检查点", "zh/"),
        ("zh/index.html", "随机数流", "zh/"),
    ],
)
def test_search_of_the_site_finds(chromium: Browser, home: str, start: str, query: str, found: str) -> None:
    chromium.open(home + start)
    chromium.value('document.querySelector(".md-search__input").focus()')
    chromium.call("Input.insertText", text=query)
    results = waited_for(chromium, RESULTS)
    chromium.picture(PICTURES / f"search_{query}.png", 900)
    assert any(link.startswith(home + found) for link in results), results
    assert chromium.complaints(home) == []


@pytest.mark.parametrize(
    ("page", "other", "english_alone"),
    [
        ("index.html", "zh/index.html", False),
        ("readme.html", "zh/readme.html", False),
        ("decisions.html", "zh/decisions.html", True),
        ("api/plans-and-ledgers.html", "zh/api/plans-and-ledgers.html", True),
    ],
)
def test_the_switch_leads_to_the_same_page(
    chromium: Browser, home: str, page: str, other: str, english_alone: bool
) -> None:
    links = '[...document.querySelectorAll(".md-select__link")].map(link => [link.hreflang, link.href])'
    chromium.open(home + page)
    assert dict(chromium.value(links)) == {"en": home + page, "zh": home + other}
    chromium.open(home + other)
    assert dict(chromium.value(links)) == {"en": home + page, "zh": home + other}
    assert chromium.value("document.documentElement.lang") == "zh"
    assert ("此页只有英文版" in chromium.value("document.body.innerText")) is english_alone
    assert "开始" in chromium.value("document.querySelector('.md-nav--primary').textContent")


def test_decisions_keep_their_numbers(site: Path) -> None:
    text = (site / "decisions.html").read_text(encoding="utf-8")
    starts = [int(found) for found in re.findall(r'<ol start="(\d+)"', text)]
    page = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    firsts = re.findall(r"^## .+\n\n(\d+)\. ", page, re.MULTILINE)
    assert {int(first) for first in firsts} - {1} <= set(starts)


def test_programs_have_pages_of_their_own(site: Path) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# initcfg\n\n> Say in config how every weight")
    links = [part.split(")")[0].split("#")[0] for part in text.split("](")[1:]]
    assert len(links) > 25 and [link for link in links if not (site / link).exists()] == []
