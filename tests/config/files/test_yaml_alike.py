"""YAML gives the same with libyaml and without it: values, or an error at the same place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg import Config
from initcfg.errors import ConfigError

WITH = pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="PyYAML is built without libyaml")

TEXTS = [
    "a: 1\nb: [1, 2.5, 1e-3, .5, x]\nc: {d: null, e: ~, f: yes}\n",
    "a: &x {k: 1}\nb: {<<: *x, j: 2}\nc: *x",
    "a: {k: 1, k: 2}",
    "a: 1\na: 2",
    "a: [1, 2",
    "a: {b: 1",
    "a:\n  b: 1\n c: 2",
    "a: *nowhere",
    "a: &x 1\nb: &x 2\nc: *x",
    "a: !!python/name:os.system",
    "a: !!binary aGk=\nb: !!set {x, y}",
    "a: 0x1F\nb: 0o17\nc: 017\nd: 1:30\ne: 1_000",
    "a: 2020-01-02\nb: 2020-01-02T03:04:05Z",
    "a: 'it''s'\nb: \"\\u00e9\\x41\\n\"\nc: |\n  one\n  two\nd: >\n  one\n  two\n",
    'a: "\\ud800"',
    "a: \x07",
    "a: \U0001f600",
    "\tb: 1",
    "a: [x, y]: z",
    "a: b: c",
    "- 1\n- 2",
    "",
    "---\n...",
    "a: 1\n---\nb: 2",
    "%YAML 1.1\n---\na: 1",
    "? a\n: 1",
    "a: " + "[" * 101 + "]" * 101,
    "a: @x",
    "a: `x",
    "a: %x",
    "'a': \"b\": c",
    "a: |1\n b\n  c",
    "{a: 1, b: [c, {d: e}]}",
]


def outcome(text: str) -> Any:
    try:
        return repr(Config.fromstring(text, ".yaml").to_dict())
    except ConfigError:
        return "refused"


def check(text: str) -> Any:
    found = outcome(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader")
        assert outcome(text) == found
    return found


@WITH
@pytest.mark.parametrize("text", TEXTS)
def test_alike(text: str):
    check(text)


@WITH
def test_what_they_give():
    assert check("a: [1, 1e-3, x]") == "{'a': [1, 0.001, 'x']}"
    assert check("a: {k: 1, k: 2}") == "refused"


PIECES = [
    "a",
    "b",
    "1",
    "-",
    " ",
    "  ",
    "\n",
    ": ",
    ":",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "<<",
    "?",
    "|",
    ">",
]
PIECES += [
    "'",
    '"',
    "\\",
    "#",
    "!!str ",
    "!",
    "%",
    "@",
    "`",
    "~",
    ".",
    "0x",
    "\t",
    "\u00e9",
    "---\n",
    "...\n",
]


@WITH
@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_alike_whatever_the_text(text: str):
    check(text)
