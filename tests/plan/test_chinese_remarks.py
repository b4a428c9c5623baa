"""What planners say of a plan, in Chinese: every sentence of theirs is known, and none is known in vain."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from page_language import english_on
from torch import nn

import initcfg
from initcfg import INITIALIZERS
from initcfg._plan.planner.make import FORWARD_HALF
from initcfg._plan.report.html import remarks
from initcfg._plan.report.html.remarks import note_words, reason_words, value_text, warning_words
from initcfg.values import CopyOf, Normal, PaddingRow, Repeat, Scaled

SOURCE = Path(initcfg.__file__).parent
SLOT = re.compile(r"\{\w+\}")
TABLES = {
    "reasons": remarks._UNUSED,
    "notes": remarks._NOTES,
    "values": remarks._VALUES,
    "loads": remarks._LOADS,
}
EVERY = [(table, key) for table, of in TABLES.items() for key in of]
# Where planners say something: files, and the functions in them that do.
PRODUCERS = {
    "_plan/planner/make.py": ("_left_by_schemes", "_left_alone", "_unused", "_why_nothing"),
    "_plan/planner/writes.py": ("parametrized_remarks",),
    "_plan/pretrained/completeness.py": ("_warning", "judged"),
    "_plan/finished.py": ("finished_plan",),
    "_rules/idle.py": ("initialized_before", "code_instead", "not_entered"),
    "_rules/program.py": (
        "_enter_root",
        "_call",
        "_possible",
        "_add_asked",
        "_add_selected",
        "_missing_in",
    ),
    "_rules/schemes/signal.py": ("_notes",),
    "_rules/initializers/distributions.py": ("notes",),
    "_record/trace.py": ("_without_chance",),
    "_record/trace_plan.py": ("_not_planned",),
    "_record/recorded.py": ("notes",),
    "_record/defaults.py": ("defaults",),
    "_record/recording/chance.py": ("_watch", "_unseeded", "seed"),
    "_record/recording/session.py": ("_tell_of_threads",),
    "_record/recording/loads.py": ("load_noted",),
    "_apply/idle_rules.py": ("over_library",),
    "_model/roles/seen.py": ("_notes",),
    "_model/roles/find.py": ("_disagreements",),
    "values/requirements.py": ("original_sampler_remark",),
}
# What is no sentence: what a model is like, what stands for a name, and one that is put together.
OTHERS = {"head tied to the embedding", "The model", "seeds NumPy's global generator"}


def _constants(node: ast.AST) -> Iterator[str]:
    """The texts of code, but for its docstrings and its errors."""
    raised = [part for each in ast.walk(node) if isinstance(each, ast.Raise) for part in ast.walk(each)]
    documented = raised + [
        each.body[0].value
        for each in ast.walk(node)
        if isinstance(each, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and each.body
        and isinstance(each.body[0], ast.Expr)
    ]
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each not in documented:
            yield each.value


def _said_by(file: str, functions: tuple[str, ...]) -> Iterator[str]:
    """The pieces of prose in some functions of a file."""
    tree = ast.parse((SOURCE / file).read_text(encoding="utf-8"))
    found = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name in functions]
    assert {each.name for each in found} == set(functions), file
    for each in found:
        for text in _constants(each):
            if len(re.findall(r"[a-z]{2,}", text)) > 1 and " " in text.strip():
                yield text.strip(" ,;.:()'")


@pytest.mark.parametrize("file", PRODUCERS)
def test_whatever_is_said_is_known(file: str) -> None:
    known = "\n".join(SLOT.sub("\0", text) for of in TABLES.values() for text, _ in of.values())
    said = list(_said_by(file, PRODUCERS[file]))
    unknown = [each for each in said if each not in known and each not in OTHERS]
    assert said and unknown == []


@pytest.mark.parametrize(("table", "key"), EVERY)
def test_nothing_is_known_that_nobody_says(table: str, key: str) -> None:
    english, chinese = TABLES[table][key]
    assert set(SLOT.findall(chinese)) <= set(SLOT.findall(english))
    assert remarks.is_chinese(chinese) and not remarks.is_chinese(english)
    words = [each.split() for each in SLOT.split(english)]
    threes = {" ".join(each[at : at + 3]) for each in words for at in range(max(len(each) - 2, 1))}
    assert [each for each in threes if each and each in _whole_source()]


_SOURCES: list[str] = []


def _whole_source() -> str:
    if not _SOURCES:
        for path in sorted(SOURCE.rglob("*.py")):
            if path.name != "remarks.py":
                _SOURCES.extend(_constants(ast.parse(path.read_text(encoding="utf-8"))))
    return "\n".join(_SOURCES)


def test_what_schemes_ask_of_the_forward_pass_is_known() -> None:
    asked = {each.forward for each in INITIALIZERS.module_dict.values() if getattr(each, "forward", None)}
    assert len(asked) >= 7
    for each in asked:
        said = note_words(f"model.init_cfg[0]: {FORWARD_HALF.format('DeepNorm')} {each}", "zh")
        assert said.startswith("model.init_cfg[0]：DeepNorm 只靠初始权重还不完整：")
        assert "must" not in said


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "While the model was built, net.py:3 build draws from NumPy's global generator, which the seed "
            "of a plan does not set.",
            "构建模型期间：net.py:3 build 使用了 NumPy 的全局生成器，计划的种子不会设置它。",
        ),
        (
            "init_cfg[0]: GPT2 leaves 5 of 12 matrices as they were constructed: a.weight and 3 more",
            "init_cfg[0]：GPT2 未涉及 12 个矩阵中的 5 个，它们保持构造时的值：a.weight 等（另有 3 个）",
        ),
        ("roles: attn_q: 2 seen and not declared (a.weight)", "角色：attn_q：2 个观察到但未声明（a.weight）"),
        ("their own remark: whatever it is", "their own remark: whatever it is"),
        (
            "model.init_cfg[3]: their input is zero, and no scale helps: a, b",
            "model.init_cfg[3]：其输入为零，任何尺度都无济于事：a, b",
        ),
    ],
)
def test_a_remark(english: str, chinese: str) -> None:
    assert note_words(english, "zh") == chinese
    assert note_words(english, "en") == english


def test_reasons_and_warnings() -> None:
    assert reason_words("there is no Conv2d at or below the model", "zh") == "模型中没有 Conv2d"
    both = (
        "the model was initialized before (is_init=True); its override names {}, which is no attribute there"
    )
    assert reason_words(both.format("'a'"), "zh") == (
        "模型此前已初始化（is_init=True）；其 override 所指的 'a' 在那里并不是属性"
    )
    told = (
        "3 of 10 parameters are not loaded from a.pth (x, y, ...), 1 key of it fits nothing (z). "
        "ignore=[...] silences it."
    )
    assert warning_words(told, "zh") == (
        "10 个参数中有 3 个未从 a.pth 加载（x, y, ...），该检查点中有 1 个键无处可用（z）。"
        "可用 ignore=[...] 关闭此提示。"
    )


def test_values() -> None:
    normal = Normal(0, 1)
    assert value_text(str(PaddingRow(0, normal)), "zh") == "Normal(mean=0, std=1)，第 0 行为零"
    assert value_text(str(Repeat(1, 3, PaddingRow(0, normal))), "zh") == (
        "Normal(mean=0, std=1)，第 0 行为零，沿第 1 维各重复 3 次"
    )
    assert value_text(str(CopyOf("a.weight", normal)), "zh") == "a.weight 的副本：Normal(mean=0, std=1)"
    assert value_text(str(Scaled(normal, (1.0, 2.0))), "zh") == (
        "Normal(mean=0, std=1)，沿第 0 轴乘以 2 个数（1…2）"
    )
    assert value_text(str(normal), "zh") == str(normal)


class Looking(nn.Module):
    """A table with padding, and a weight behind a parametrization."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4, padding_idx=0)
        self.body = nn.Linear(4, 4)
        self.square = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))


def _drawn() -> nn.Module:
    import random

    model = nn.Linear(3, 3)
    with torch.no_grad():
        model.weight.fill_(random.random())
    return model


RULES = [
    dict(type="Normal", layer="Linear", std=0.1),
    dict(type="Normal", layer="Embedding", std=0.1),
    dict(type="Normal", layer="Conv2d"),
    dict(type="Constant", val=1),
    dict(type="TruncNormal", layer="Linear", std=0.02, a=-2, b=2),
]
PLANS: dict[str, Callable[[], Any]] = {
    "rules": lambda: initcfg.plan(Looking(), RULES),
    "scheme": lambda: initcfg.plan(
        nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 4)),
        dict(type="StyleGAN"),
    ),
    "lazy": lambda: initcfg.plan(
        nn.Sequential(nn.Linear(4, 4), nn.LazyConv2d(4, 3)), dict(type="Normal", layer="Linear")
    ),
    "trace": lambda: initcfg.trace(_drawn),
}


@pytest.mark.parametrize("name", PLANS)
def test_the_page_of_a_plan_with_remarks_is_chinese(name: str) -> None:
    plan = PLANS[name]()
    assert plan.notes or plan.unused
    assert english_on(plan.to_html(lang="zh")) == []


def test_what_is_no_sentence_of_ours_stays_and_is_said_to_be_english() -> None:
    from dataclasses import replace

    plan = replace(initcfg.plan(nn.Linear(2, 2)), notes=("a remark of my own initializer",))
    page = plan.to_html(lang="zh")
    assert '说明：<span lang="en">a remark of my own initializer</span>' in page
