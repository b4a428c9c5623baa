"""No word of a page and no sentence of a finding is missing in Chinese."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import initcfg._diagnose as diagnose
import initcfg._diagnose.report as report
from initcfg._diagnose import task
from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import _PLACES
from initcfg._diagnose.report.wording import CODES, LOSSES, PLACES, WORDS
from initcfg._diagnose.sentences import PHRASES, SENTENCES, Sentence, say, told
from initcfg._plan.report.html import Wording

SLOT = re.compile(r"\{(\w+)\}")


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= each <= "\u9fff" for each in text)


def _calls(folder: Path) -> Iterator[tuple[Path, str, ast.Call]]:
    """Every call below a folder: its file, and the name of what is called."""
    for path in sorted(folder.rglob("*.py")):
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(each, ast.Call):
                name = getattr(each.func, "id", "") or getattr(each.func, "attr", "")
                yield path, name, each


def _keys(folder: Path, function: str) -> set[str]:
    """The keys that a folder's code calls a function with, where they stand in the code."""
    asked = [each.args[0] for _, name, each in _calls(folder) if name == function and each.args]
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
    asked = _keys(Path(report.__file__).parent, "words")
    assert len(asked) > 60
    for key in asked:
        slots = {name: name for name in re.findall(r"\w+", " ".join((*WORDS.get(key, ()), key)))}
        assert english(key, **slots) and (chinese(key, **slots) or key == "gap"), key


def test_every_sentence_is_said_by_some_check_and_no_other_is() -> None:
    assert _keys(Path(diagnose.__file__).parent, "say") == set(SENTENCES)


def test_findings_are_made_of_sentences_alone() -> None:
    """One place makes findings, and takes nothing but sentences; of these one function makes all."""
    folder = Path(diagnose.__file__).parent
    made = [(path.name, name) for path, name, _ in _calls(folder) if name in ("Finding", "Sentence")]
    assert sorted(made) == [("evidence.py", "Finding"), ("sentences.py", "Sentence")]
    checks = [each for path, name, each in _calls(folder / "checks") if name == "finding"]
    assert len(checks) > 25
    for call in checks:
        assert len(call.args) > 2, ast.unparse(call)
        for each in call.args[2:]:
            assert not isinstance(each, (ast.Constant, ast.JoinedStr)), ast.unparse(call)
    assert inspect.signature(diagnose.checks.Evidence.finding).parameters["said"].annotation == "Sentence"


@pytest.mark.parametrize("key", SENTENCES)
def test_both_languages_tell_the_same(key: str) -> None:
    english, chinese = SENTENCES[key]
    slots = {frozenset(SLOT.findall(form)) for form in (*english.split("|"), chinese)}
    assert len(slots) == 1
    assert "|" not in english or slots == {frozenset({"n"} | set(*slots))}
    assert _is_chinese(chinese) and not _is_chinese(english)
    assert english.endswith(".") and chinese.endswith("。")
    # Half-width punctuation beside Chinese characters is a slip.
    assert not re.search(r"[\u4e00-\u9fff}][,;:]|[,;:][\u4e00-\u9fff{]", chinese), chinese
    given = {name: f"<{name}>" for name in slots.pop()}
    said = say(key, **given)
    for lang in ("en", "zh"):
        text = told([said], lang)
        assert text is not None and "{" not in text
        assert set(re.findall(r"<\w+>", text)) == set(given.values())


def test_one_and_many() -> None:
    assert told([say("in the inputs", n=1, all=9)]) == "1 of the 9 numbers of the inputs is NaN or infinite."
    assert told([say("in the inputs", n=2, all=9)]) == "2 of the 9 numbers of the inputs are NaN or infinite."
    assert told([say("loss is", loss=1), say("falls slowly")]) == "The loss is 1. It falls each time, slowly."
    assert told([say("loss is", loss=1), say("falls slowly")], "zh") == (
        "损失为 1。损失每一步都在下降，只是很慢。"
    )


def test_a_sentence_takes_what_it_tells_of() -> None:
    with pytest.raises(KeyError, match="loss"):
        say("loss is")
    with pytest.raises(KeyError, match="more"):
        say("loss is", loss=1, more=2)
    with pytest.raises(KeyError, match="no such"):
        say("no such", loss=1)


def test_a_sentence_of_a_later_version_is_not_told() -> None:
    assert told([Sentence("of tomorrow", {})], "zh") is None
    assert told([say("falls slowly"), Sentence("loss is", {"amount": "1"})], "zh") is None


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "a synthetic batch (64×16 float32), not your data",
            "合成数据（64×16 float32），不是你的数据",
        ),
        ("the batch given (no tensor)", "给定的数据批（其中没有张量）"),
        ("the batch given (2×3 int64, with targets)", "给定的数据批（2×3 int64，含目标）"),
        (
            "Normal(mean=0, std=1), and something has changed it since (RMS 3)",
            "Normal(mean=0, std=1)，之后又被改动（均方根 3）",
        ),
        ("what it was built with (RMS 0.5)", "构建时的值（均方根 0.5）"),
        ("Norm.__init__ or Model._init_weights", "Norm.__init__ 或 Model._init_weights"),
        ("reset_parameters, then mul_", "reset_parameters，随后 mul_"),
        ("model.init_cfg[1]", None),
        ("a {n} | b", None),
    ],
)
def test_what_is_told_in_a_phrase_is_known_again(english: str, chinese: str | None) -> None:
    assert PHRASES.translated(english, "zh") == chinese
    assert PHRASES.translated(english, "en") == (english if chinese else None)
