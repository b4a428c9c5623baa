# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportMissingImports=false
"""No word of a page is missing in Chinese."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import initcfg._diagnose.report as report
from initcfg._diagnose import task
from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import _PLACES
from initcfg._diagnose.report.wording import CODES, LOSSES, PLACES, WORDS
from initcfg._plan.report.html import Wording


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= each <= "\u9fff" for each in text)


def _called_with(path: Path) -> set[str]:
    """The keys that a file asks ``words`` for."""
    calls = [
        each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)
    ]
    asked = [each.args[0] for each in calls if getattr(each.func, "id", "") == "words" and each.args]
    return {each.value for each in asked if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def test_every_check_speaks_chinese() -> None:
    assert set(CODES) == set(CHECKS)
    for code, said in CODES.items():
        assert _is_chinese(said.title[1]) and _is_chinese(said.number[1]), code
        assert _is_chinese(said.why) and _is_chinese(said.fix), code


def test_every_place_and_every_loss_has_its_words() -> None:
    assert {*_PLACES.values(), "the model"} == set(PLACES)
    source = inspect.getsource(task)
    for said in LOSSES:
        assert f'"{said}"' in source
    assert all(map(_is_chinese, (*PLACES.values(), *LOSSES.values())))
    assert source.count("said[:] = [") + 1 == len(LOSSES) + 1


def test_every_word_that_a_page_asks_for_is_there() -> None:
    english, chinese = Wording("en", WORDS), Wording("zh", WORDS)
    asked = {key for path in Path(report.__file__).parent.glob("*.py") for key in _called_with(path)}
    assert len(asked) > 60
    for key in asked:
        # Whether it is there at all: what it is filled with is the caller's.
        for words in (english, chinese):
            try:
                words(key)
            except KeyError as error:
                assert error.args != (key,), key
