"""The page of a diagnosis: its findings, pictures and tables, escaped, in two languages."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace

import pytest
import torch
from html_check import read_page
from made_diagnoses import made
from torch import nn

import initcfg
from initcfg import Diagnosis
from initcfg._diagnose.facts import Measures
from initcfg._diagnose.report.cards import ruler, verdict
from initcfg._diagnose.report.strip import MOST_COLUMNS
from initcfg._diagnose.report.wording import CODES, WORDS
from initcfg._diagnose.sentences import Sentence
from initcfg._plan.report.html import Wording

EVIL = '<img src=x onerror=alert(1)>$x^{2}$\u202e\x1b[2J"@0@'
PICTURES = {
    "en": {
        "Scale by depth",
        "Every tensor at a glance",
        "Update : weight",
        "Attention and units",
        "The probe: a few steps on one batch",
    },
    "zh": {
        "各深度的信号尺度",
        "全部张量一览",
        "更新量与权重之比",
        "注意力与神经元",
        "试训：在同一批数据上训练几步",
    },
}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_whole_page(lang: str) -> None:
    text = made().to_html(lang=lang)
    read = read_page(text)
    assert not read.faults and PICTURES[lang] <= set(read.texts)
    pictures = [each for each in read.of("svg") if each.get("class") == "x"]
    assert len(pictures) == 5 and all(each["aria-label"] for each in pictures)
    assert len(read.of("figure")) == 5 == text.count("<figure>")
    for figure in re.findall("<figure>.*?</figure>", text):
        assert "<table" in figure and "<details>" in figure
    shown = "".join(read.texts)
    for each in ("19.3", "model.init_cfg[1]", "cfg.py:14", "Normal(mean=0, std=0.8)", "initial-loss"):
        assert each in shown
    assert "dict(type='Normal', layer='Linear', std=0.02)" in shown


def test_the_verdict_says_what_and_why() -> None:
    words = Wording("en", WORDS), Wording("zh", WORDS)
    warned = replace(made(), findings=made().findings[:1])
    assert verdict(warned, words[0]) == (
        "1 warning: The loss starts too high (19.3; limit 1.33), head; "
        "cause: head.weight Normal(mean=0, std=0.8) by model.init_cfg[1] (cfg.py:14)"
    )
    assert verdict(warned, words[1]) == (
        "1 个警告：初始损失过高（19.3，阈值 1.33），head；"
        "原因：model.init_cfg[1] (cfg.py:14) 给出的 head.weight Normal(mean=0, std=0.8)"
    )
    assert verdict(made(), words[0]).startswith("1 error, 1 warning: Activations explode (1e10; limit 1e3)")
    assert verdict(replace(made(), findings=made().findings[2:]), words[0]) == "Nothing wrong was found"


def test_errors_come_first() -> None:
    codes = re.findall(r"<code>([a-z-]+)</code></p><h3>", made().to_html())
    assert codes == ["activation-explodes", "initial-loss", "starts-later"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_names_are_texts_and_nothing_else(lang: str) -> None:
    text = made(evil=EVIL).to_html(lang=lang)
    read, plain = read_page(text), read_page(made().to_html(lang=lang))
    assert not read.faults and "<img" not in text and "\x1b" not in text and "\u202e" not in text
    assert {tag for tag, _ in read.elements} == {tag for tag, _ in plain.elements}
    assert len(read.of("title")) == len(plain.of("title"))
    assert '<img src=x onerror=alert(1)>$x^{2}$\\u202e\\x1b[2J"' in "".join(read.texts)
    short = read_page(made(evil=EVIL)._repr_html_())
    assert not short.faults and not short.of("img") and not short.of("script")


def test_every_code_is_said_in_both_languages() -> None:
    for key, (english, chinese) in WORDS.items():
        slots = [set(re.findall(r"\{(\w+)\}", text)) for text in (english, chinese)]
        assert slots[0] == slots[1], key
    han = re.compile("[\u4e00-\u9fff]")
    for code, said in CODES.items():
        assert all(han.search(each) for each in (said.title[1], said.number[1], said.why, said.fix)), code
        assert not han.search(said.title[0] + said.number[0])


def test_every_check_has_words() -> None:
    from initcfg._diagnose.checks.codes import CHECKS

    assert set(CODES) == set(CHECKS)


def test_what_a_later_version_says_is_shown_in_english() -> None:
    new = replace(made().findings[0], code="of-tomorrow", said=(Sentence("of tomorrow", {"x": "1"}),))
    text = replace(made(), findings=(new,)).to_html(lang="zh")
    assert '<p lang="en">The loss starts at 19.3, and a uniform guess has 5.3.</p>' in text
    assert '<span lang="en">The first hundred steps shrink the head.</span>' in text


@pytest.mark.parametrize(
    ("measured", "limit", "healthy"),
    [(1e10, 1e3, (1e-5, 5.0)), (math.inf, 1.0, None), (math.nan, None, None), (0.0, 0.5, (0.0, 0.3)),
     (-1.0, -0.5, (0.0, 2.0)), (7e-8, 1e-4, (1e-3, 13.0)), (0.0, 1e-4, (1e-3, 13.0)), (1.0, 1.0, (1.0, 1.0))],
)  # fmt: skip
def test_rulers_stay_within_their_picture(
    measured: float, limit: float | None, healthy: tuple[float, float] | None
) -> None:
    finding = replace(made().findings[0], measured=measured, threshold=limit, healthy=healthy)
    drawn = ruler(finding, Wording("en", WORDS))
    assert drawn is not None and not read_page(drawn).faults
    places = [float(found) for found in re.findall(r' c?x="([-0-9.]+)"', drawn)]
    assert places and all(0 <= place <= 400 for place in places)
    if limit is not None and math.isfinite(measured) and measured != limit:
        tick = float(re.findall(r'd="M([-0-9.]+) 16', drawn)[0])
        dot = float(re.findall(r'cx="([-0-9.]+)"', drawn)[0])
        assert (dot > tick) == (measured > limit)


def test_pictures_of_numbers_that_are_none() -> None:
    whole = made()
    bad = tuple(
        replace(each, weight_rms=math.nan, gradient_rms=math.inf, update_ratio=math.nan, activation_rms=0.0)
        for each in whole.measures.tensors
    )
    blocks = tuple(replace(each, rms=math.inf, gradient_rms=None) for each in whole.measures.blocks)
    probe = tuple(replace(each, losses=(math.nan, math.inf)) for each in whole.measures.probe)
    measures = replace(whole.measures, tensors=bad, blocks=blocks, probe=probe, entering=None)
    read = read_page(replace(whole, measures=measures).to_html())
    assert not read.faults and len([each for each in read.of("svg") if each.get("class") == "x"]) == 5


def test_what_was_not_measured_has_no_picture() -> None:
    read = read_page(Diagnosis((), Measures()).to_html())
    assert not read.faults and not read.of("figure")
    assert "No check found anything." in read.texts


def test_without_matplotlib_the_numbers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    read = read_page(made().to_html())
    assert not read.faults and not [each for each in read.of("svg") if each.get("class") == "x"]
    assert len(read.of("figure")) == 5
    assert all("open" in each for each in read.of("details")[:5])
    assert [each for each in read.of("svg") if each.get("class") == "ruler"]


def test_the_page_of_a_real_diagnosis() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=20))
    plan.apply(model, seed=0)
    batch = torch.randn(64, 16), torch.randint(0, 4, (64,))
    found = initcfg.diagnose(model, batch, plan=plan, lr=1e-3, steps=2)
    for lang in ("en", "zh"):
        read = read_page(found.to_html(lang=lang))
        assert not read.faults and len([each for each in read.of("svg") if each.get("class") == "x"]) == 5
        assert "initial-loss" in read.texts and "Normal(mean=0, std=20)" in "".join(read.texts)
    said, _, place = verdict(found, Wording("en", WORDS)).rpartition(" (")
    assert said.endswith(" Normal(mean=0, std=20) by init_cfg") and place.startswith("test_report.py:")


def test_the_plan_has_the_histograms_of_the_weights() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
    read = read_page(made(plan).to_html())
    labels = [each["aria-label"] for each in read.of("svg") if each.get("class") == "h"]
    assert labels[0] == "histogram (weights and theory), from −0.08 to 0.08" and len(labels) == 4


def test_large_models_stay_small() -> None:
    names = tuple(f"layers.{n}.weight" for n in range(1500))
    text = made(names=names).to_html()
    read = read_page(text)
    assert not read.faults and len(text.encode()) < 2_500_000
    strip = re.findall('<g shape-rendering="crispEdges">(.*?)</g>', text)[0]
    assert strip.count("<title>") <= 4 * MOST_COLUMNS


def test_a_diagnosis_from_json_has_the_same_page() -> None:
    whole = made()
    assert Diagnosis.from_json(whole.to_json()).to_html() == whole.to_html()


def test_the_short_form() -> None:
    read = read_page(made()._repr_html_())
    assert not read.faults
    assert {tag for tag, _ in read.elements} == {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert "activation-explodes: Activations explode" in read.texts


@pytest.mark.parametrize(
    ("seconds", "lang", "said"),
    [
        (3.2, "en", "3.2 s"),
        (1543.0, "en", "25.7 min"),
        (1543.0, "zh", "25.7 分钟"),
        (36000.0, "en", "600 min"),
    ],
)
def test_long_durations_are_minutes(seconds: float, lang: str, said: str) -> None:
    assert said in read_page(replace(made(), seconds=seconds).to_html(lang=lang)).texts
