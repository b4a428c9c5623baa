"""The page of two initializations side by side: verdict, losses, findings and tensors of both."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
from diagnosed_models import classes, perceptron
from html_check import read_page
from made_diagnoses import made_both

import initcfg

EVIL = '<img src=x onerror=alert(1)>$x^{2}$\u202e\x1b[2J"@0@'
TITLES = {"en": ("Losses of every draw", "Scale by depth"), "zh": ("每次抽样的损失", "各深度的信号尺度")}
VERDICTS = {
    "en": (
        "a.py is ahead: after the steps, a.py has the loss 2.5 and b.py 6.55",
        "No difference that is more than chance: after the steps, a.py has the loss 2.5 and b.py 6.55",
        "Losses are medians over 5 draws of each; by their ranks, two sets of draws of one initialization "
        "differ as much in 0.8% of cases.",
    ),
    "zh": (
        "a.py 领先：试训之后 a.py 的损失为 2.5，b.py 为 6.55",
        "差异不超出偶然：试训之后 a.py 的损失为 2.5，b.py 为 6.55",
        "损失取各 5 次抽样的中位数；按秩检验，同一种初始化的两组抽样有 0.8% 的概率出现同样大的差异。",
    ),
}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_whole_page(lang: str) -> None:
    text = made_both().to_html(lang=lang)
    read = read_page(text)
    assert not read.faults and set(TITLES[lang]) <= set(read.texts)
    pictures = [each for each in read.of("svg") if each.get("class") == "x"]
    assert len(pictures) == len(read.of("figure")) == 2 and all(each["aria-label"] for each in pictures)
    better, noise, ranks = VERDICTS[lang]
    assert better in read.texts and ranks in read.texts
    assert noise in read_page(made_both(verdict="noise").to_html(lang=lang)).texts
    shown = "".join(read.texts)
    assert "initial-loss" in shown and "activation-explodes" in shown and "starts-later" in shown
    # A point for each step of each draw (one ends early), a row for each draw, a point for each block.
    assert (shown.count("a.py, "), shown.count("b.py, ")) == (5 * 9 + 5 + 12, 4 * 9 + 4 + 5 + 12)
    ids = [each["id"] for _, each in read.elements if "id" in each]
    assert len(ids) == len(set(ids))


def test_findings_stand_side_by_side() -> None:
    read = read_page(made_both().to_html())
    start = read.texts.index("initial-loss")
    assert read.texts[start : start + 4] == ["initial-loss", "–", "Warning", " 19.3"]
    assert {"a.bias", "b.weight"} <= _names(read)


def _names(read) -> set[str]:
    joined = "\n".join(read.texts)
    return {each for each in ("a.bias", "b.weight") if each in joined.replace(".\n", ".")}


def test_few_draws_are_said() -> None:
    both = made_both(verdict="noise")
    few = replace(both, losses_here=both.losses_here[:2], losses_there=both.losses_there[:2], chance=1 / 3)
    assert any(
        each.endswith("So few draws cannot tell any two apart: take five.")
        for each in read_page(few.to_html()).texts
    )
    assert "So few draws" not in both.to_html()


def test_two_of_one_name_are_told_apart() -> None:
    shown = replace(made_both(), names=("net", "net")).to_html()
    assert "A: net is ahead: after the steps, A: net has the loss 2.5 and B: net 6.55" in shown


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_names_are_texts_and_nothing_else(lang: str) -> None:
    text = made_both(evil=EVIL).to_html(lang=lang)
    read = read_page(text)
    assert not read.faults and "<img" not in text and "\x1b" not in text and "\u202e" not in text
    assert not read_page(made_both(evil=EVIL)._repr_html_()).of("img")


def test_without_matplotlib_the_numbers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    read = read_page(made_both().to_html())
    assert not read.faults and not [each for each in read.of("svg") if each.get("class") == "x"]
    assert len(read.of("figure")) == 2 and all("open" in each for each in read.of("details")[:2])


def test_the_page_of_a_real_comparison(tmp_path) -> None:
    model = perceptron()
    initcfg.init_weights(model, dict(type="Kaiming", layer="Linear"), seed=0)
    found = initcfg.diagnose(
        model, classes(), against=dict(type="Normal", layer="Linear", std=3.0), steps=1, seeds=2, lr=1e-2
    )
    for lang in ("en", "zh"):
        text = found.to_html(tmp_path / "both.html", lang=lang)
        assert not read_page(text).faults and (tmp_path / "both.html").read_text(encoding="utf-8") == text
        assert "Normal(mean=0, std=3)" in text and "initial-loss" in text
    assert json.dumps(found.to_json())
    short = read_page(found._repr_html_())
    assert not short.faults and "initial-loss: The loss starts too high" in short.texts
