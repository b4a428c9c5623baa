"""Pages of plans, ledgers and comparisons: well formed, escaped, readable, in two languages, small."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from html_check import read_page
from torch import nn

import initcfg
from initcfg._api.command.cli import main
from initcfg._plan.report.html.style import DARK, LIGHT, MARKS, TEXTS
from initcfg._plan.report.html.wording import WORDS, Wording

EVIL = '<script>alert("1")</script>&amp;$\\frac{1}{2}$\u202e\x1b[2J\'"></svg>@0@'


def _named(name: str) -> nn.Module:
    model = nn.Module()
    model._modules[name] = nn.Linear(4, 4)
    return model


def _pages(lang: str = "en", name: str = "head") -> dict[str, str]:
    model = _named(name)
    rules = [dict(type="Normal", layer="Linear", std=0.02), dict(type="Constant", layer="Conv2d", val=1)]
    plan, other = (initcfg.plan(model, given) for given in (rules, dict(type="Uniform", layer="Linear")))
    ledger = plan.apply(model, seed=0)
    compared = initcfg.compare(plan, other)
    return {
        kind: each.to_html(lang=lang) for kind, each in dict(plan=plan, ledger=ledger, diff=compared).items()
    }


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_pages_are_well_formed_and_lead_nowhere(lang: str) -> None:
    for kind, text in _pages(lang).items():
        read = read_page(text)
        assert not read.faults, (kind, read.faults)
        assert read.of("html") == [{"lang": {"en": "en", "zh": "zh-Hans"}[lang]}]
        assert [each for each in read.of("table") if each.get("id") == "tensors"], kind
        assert all(each.get("scope") in ("col", "row") for each in read.of("th"))
        assert all(each.get("aria-label") or each.get("aria-hidden") for each in read.of("svg"))
        assert not re.search(r"https?://", text)
        assert len(text.encode()) < 60_000


def test_only_their_own_script_and_style_may_run() -> None:
    text = _pages()["plan"]
    policy = read_page(text).of("meta")[1]["content"] or ""
    for kind in ("style", "script"):
        (content,) = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_names_are_texts_and_nothing_else(lang: str) -> None:
    name = EVIL.replace(".", "")
    plain = {kind: read_page(text) for kind, text in _pages(lang).items()}
    for kind, text in _pages(lang, name).items():
        read = read_page(text)
        assert not read.faults
        tags = [tag for tag, _ in read.elements if tag != "wbr"]
        assert tags == [tag for tag, _ in plain[kind].elements if tag != "wbr"], kind
        assert "<script>alert" not in text and "\x1b" not in text and "\u202e" not in text
        shown = "".join(read.texts)
        assert '<script>alert("1")</script>&amp;$\\frac{1}{2}$\\u202e\\x1b[2J' in shown


def _contrast(one: str, other: str) -> float:
    def light(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(colors: dict[str, str]) -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    for ground in ("page", "panel"):
        assert {name for name in TEXTS if _contrast(colors[name], colors[ground]) < 4.5} == set()
        assert {name for name in MARKS if _contrast(colors[name], colors[ground]) < 3} == set()


def test_words_are_there_in_both_languages() -> None:
    for key, (english, chinese) in WORDS.items():
        slots = [set(re.findall(r"\{(\w+)\}", text)) for text in (english, chinese)]
        assert slots[0] == slots[1], key
        assert chinese != english or not re.search("[a-z]{3}", english), key
    assert (
        Wording("en")("{n} tensors", n=1) == "1 tensor" and Wording("en")("{n} tensors", n=2) == "2 tensors"
    )
    assert Wording("zh")("from {source}", source="{n}") == "来自 {n}"


def test_a_language_that_is_not_there() -> None:
    with pytest.raises(initcfg.errors.ArgumentError, match="no words of the language 'fr'") as raised:
        initcfg.plan(nn.Linear(2, 2)).to_html(lang="fr")
    assert raised.value.fix == "Write lang='en' or lang='zh'."


def test_facts_of_the_plan_are_on_its_page() -> None:
    pages = {lang: "".join(read_page(_pages(lang)["plan"]).texts) for lang in ("en", "zh")}
    for each in ("head.weight", "Normal(mean=0, std=0.02)", "init_cfg[0]", "4×4", "−0.08", "0.08"):
        assert all(each in text for text in pages.values()), each
    assert "unused rule: init_cfg[1]: there is no Conv2d at or below the model." in pages["en"]
    assert "未生效的规则：init_cfg[1]" in pages["zh"]


def test_without_matplotlib_the_numbers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with_pictures = read_page(_pages()["plan"])
    assert len([each for each in with_pictures.of("svg") if each.get("class") == "x"]) == 1
    assert "open" not in with_pictures.of("details")[0]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    read = read_page(_pages()["plan"])
    assert not read.faults and not [each for each in read.of("svg") if each.get("class") == "x"]
    assert "open" in read.of("details")[0]
    assert any("pip install 'initcfg[report]'" in text for text in read.texts)


def test_drawing_leaves_settings_and_the_window_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    before = dict(matplotlib.rcParams)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    first, second = _pages()["plan"], _pages()["plan"]
    assert first == second
    assert dict(matplotlib.rcParams) == before and "matplotlib.pyplot" not in sys.modules


def test_many_tensors_share_rows() -> None:
    shared = initcfg.plan(nn.Linear(3, 3), dict(type="Normal", layer="Linear", std=0.5))["weight"]
    import dataclasses

    many = {f"layers.{n}.weight": dataclasses.replace(shared, name=f"layers.{n}.weight") for n in range(2500)}
    text = initcfg.Plan(many).to_html()
    read = read_page(text)
    assert not read.faults and len(text.encode()) < 1_000_000
    assert "The model has 2,500 tensors" in "".join(read.texts)
    assert "layers.{0..2499}.weight" in "".join(read.texts) and "2500 of them" in "".join(read.texts)


def test_short_forms() -> None:
    model = _named(EVIL.replace(".", ""))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
    other = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.01))
    ledger = plan.apply(model, seed=0)
    for each, said in (
        (plan, "2 parameters, 20 elements: 2 by 1 rule, 0 by default."),
        (ledger, "2 tensors written (2 by rules, 0 by code of the model's own), 0 kept; rng stream, seed 0."),
        (initcfg.compare(plan, other), "1 changed; 1 tensor is alike."),
    ):
        read = read_page(each._repr_html_())
        assert not read.faults and said in read.texts
        assert {tag for tag, _ in read.elements} <= {"table", "thead", "tbody", "tr", "th", "td", "div", "b"}


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    plan = initcfg.plan(nn.Linear(2, 2), dict(type="Normal", layer="Linear"))
    assert plan.to_html(tmp_path / "plan.html") == (tmp_path / "plan.html").read_text(encoding="utf-8")
    with pytest.raises(OSError):
        plan.to_html(tmp_path / "none" / "plan.html")
    assert [each.name for each in tmp_path.iterdir()] == ["plan.html"]


def test_commands_write_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, std in (("a", 1), ("b", 2)):
        rule = f"init_cfg: {{type: Normal, layer: Linear, std: {std}}}"
        model = f"model:\n  type: Linear\n  in_features: 2\n  out_features: 2\n  {rule}\n"
        Path(f"{name}.yaml").write_text(model)
    run = CliRunner().invoke
    assert run(main, ["plan", "a.yaml", "--html", "plan.html"]).exit_code == 0
    assert run(main, ["trace", "torch.nn:Identity", "--html", "trace.html", "--lang", "zh"]).exit_code == 0
    assert run(main, ["diff", "a.yaml", "b.yaml", "--html", "diff.html"]).exit_code == 1
    titles = {
        path.name: re.findall("<h1>(.*?)</h1>", path.read_text("utf-8")) for path in Path().glob("*.html")
    }
    assert titles == {
        "plan.html": ["Initialization plan"],
        "trace.html": ["初始化计划"],
        "diff.html": ["What differs between A and B"],
    }
    refused = run(main, ["plan", "a.yaml", "--html", "plan.txt"])
    assert refused.exit_code == 2 and "'plan.txt' ends in none of .html" in refused.output
