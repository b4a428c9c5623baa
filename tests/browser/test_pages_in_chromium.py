"""Pages in a real browser: nothing on the console, everything seen, search works, narrow, dark and on paper.

Screenshots are left in ``build/pages``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from made_diagnoses import made, made_both
from torch import nn

import initcfg
from browser import Browser, NoBrowser, browser
from initcfg._plan.report.html.style import DARK, LIGHT

pytestmark = pytest.mark.peers

PICTURES = Path(__file__).parents[2] / "build" / "pages"
EVIL = '<script>alert("1")</script>&amp;$\\frac{1}{2}$' + "long" * 60
KINDS = ("diagnosis", "real", "plan", "ledger", "diff", "hostile", "both")
LANGUAGES = ("en", "zh")

# Every text that is seen, and its contrast against what lies below it.
CONTRASTS = """
(() => {
  const light = c => c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(each).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return null;
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
    if (["SCRIPT", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element), below = ground(element);
    const color = element instanceof SVGElement ? style.fill : style.color;
    if (!below) { low.push("nothing below " + walker.currentNode.data); continue; }
    const [a, b] = [light(numbers(color).slice(0, 3)), light(below)].sort((x, y) => y - x);
    seen += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(walker.currentNode.data + ": " + color + " on " + below);
  }
  return [seen, low];
})()
"""
# Texts of pictures that lie outside of them.
CUT_OFF = """
[...document.querySelectorAll("svg.x, svg.ruler")].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 2 || box.right > frame.right + 2
      || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
  }).map(text => text.textContent);
})
"""
SHOWN_ROWS = (
    '[...document.querySelectorAll("#tensors tbody tr")].filter(row => row.getClientRects().length).length'
)


def _real() -> initcfg.Diagnosis:
    """A deep net whose weights are too large."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(8)], nn.Linear(32, 4))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=2))
    plan.apply(model, seed=0)
    batch = torch.randn(64, 32), torch.randint(0, 4, (64,))
    return initcfg.diagnose(model, batch, plan=plan, lr=1e-3)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("pages")
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    plan, other = (
        initcfg.plan(model, [dict(type=kind, layer="Linear"), dict(type="Constant", layer="Conv2d", val=1)])
        for kind in ("Normal", "Kaiming")
    )
    every = {
        "diagnosis": made(plan),
        "real": _real(),
        "plan": plan,
        "ledger": plan.apply(model, seed=0),
        "diff": initcfg.compare(plan, other),
        "hostile": made(evil=EVIL),
        "both": made_both(plan),
    }
    found = {}
    for kind, lang in itertools.product(KINDS, LANGUAGES):
        found[kind, lang] = folder / f"{kind}_{lang}.html"
        every[kind].to_html(found[kind, lang], lang=lang)
    PICTURES.mkdir(parents=True, exist_ok=True)
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        with browser() as started:
            yield started
    except NoBrowser as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (400, False), (400, True)])
def test_a_page_as_it_is_seen(
    chromium: Browser, pages: dict[tuple[str, str], Path], kind: str, lang: str, width: int, dark: bool
) -> None:
    chromium.open(pages[kind, lang], width=width, dark=dark)
    chromium.picture(PICTURES / f"{kind}_{lang}_{width}{'_dark' if dark else ''}.png")
    assert chromium.complaints() == []
    assert chromium.value("document.documentElement.scrollWidth") <= width
    seen, low = chromium.value(CONTRASTS)
    assert seen > 20 and low == []
    page = (DARK if dark else LIGHT)["page"]
    background = chromium.value("getComputedStyle(document.body).backgroundColor")
    assert background == f"rgb({', '.join(str(int(page[n : n + 2], 16)) for n in (1, 3, 5))})"
    sizes = chromium.value(
        '[...document.querySelectorAll("svg.x, svg.h, svg.ruler")]'
        ".map(svg => svg.getBoundingClientRect()).map(box => [box.width, box.height, box.left, box.right])"
    )
    assert all(w > 50 and h > 10 and left >= 0 and right <= width for w, h, left, right in sizes), sizes
    count = {"diagnosis": 5, "real": 5, "hostile": 5, "plan": 1, "ledger": 0, "diff": 0, "both": 2}[kind]
    assert chromium.value('document.querySelectorAll("svg.x").length') == count
    assert chromium.value(f"({CUT_OFF.strip()})") == []
    drawn = chromium.value(
        '[...document.querySelectorAll("svg.x")].map(svg => '
        '[...svg.querySelectorAll("path, use")].filter(mark => mark.getClientRects().length).length)'
    )
    assert all(marks > 10 for marks in drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_search_finds_by_keyboard_alone(
    chromium: Browser, pages: dict[tuple[str, str], Path], kind: str
) -> None:
    chromium.open(pages[kind, "en"])
    before = chromium.value(SHOWN_ROWS)
    for _ in range(20):
        chromium.key("Tab")
        assert chromium.value("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if chromium.value("document.activeElement.id") == "search-tensors":
            break
    assert chromium.value("document.activeElement.id") == "search-tensors"
    chromium.call("Input.insertText", text="WEIGHT nothing-like-it")
    assert chromium.value(SHOWN_ROWS) == 0
    chromium.value("document.activeElement.select()")
    chromium.call("Input.insertText", text="2. WEIGHT" if kind not in ("hostile",) else "head WEIGHT")
    assert 1 <= chromium.value(SHOWN_ROWS) < before
    said = chromium.value('document.querySelector("output").textContent')
    assert said == f"{chromium.value(SHOWN_ROWS)} of {before} shown"


@pytest.mark.parametrize("kind", KINDS)
def test_paper_is_light_whatever_the_screen_is(
    chromium: Browser, pages: dict[tuple[str, str], Path], kind: str
) -> None:
    chromium.open(pages[kind, "en"], width=794, dark=True, media="print")
    seen, low = chromium.value(CONTRASTS)
    assert seen > 20 and low == [] and chromium.complaints() == []
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.value("getComputedStyle(document.querySelector('.search')).display") == "none"
    chromium.pdf(PICTURES / f"{kind}.pdf")
    assert (PICTURES / f"{kind}.pdf").read_bytes().startswith(b"%PDF")


def test_a_script_in_a_name_would_not_even_run_if_it_were_one(
    chromium: Browser, pages: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    text = pages["plan", "en"].read_text(encoding="utf-8")
    page = tmp_path / "changed.html"
    page.write_text(
        text.replace("</main>", '<script>document.title="caught"</script></main>'), encoding="utf-8"
    )
    chromium.open(page)
    assert chromium.value("document.title") == "Initialization plan – initcfg"
    assert any("Content Security Policy" in each for each in chromium.complaints())


def test_numbers_behind_a_picture_are_opened_by_keyboard(
    chromium: Browser, pages: dict[tuple[str, str], Path]
) -> None:
    chromium.open(pages["diagnosis", "en"])
    chromium.value('document.querySelector("figure summary").focus()')
    chromium.key("Enter")
    chromium.call("Input.dispatchKeyEvent", type="char", text="\r")
    assert chromium.value('document.querySelector("figure details").open') is True
    assert chromium.value('document.querySelector("figure table").rows.length') == 14


def test_without_a_script_the_whole_table_is_there(
    chromium: Browser, pages: dict[tuple[str, str], Path]
) -> None:
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(pages["plan", "en"])
        chromium.picture(PICTURES / "plan_without_script.png")
    finally:
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.value("document.querySelector('.search').getClientRects().length") == 0
    assert chromium.value(SHOWN_ROWS) == 4
