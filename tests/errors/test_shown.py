"""A stranger's text is shown, never executed; and nothing reaches people's eyes on another way."""

from __future__ import annotations

import ast
import io
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import initcfg
from initcfg.errors import InitcfgError, add_row, as_json, console, in_html, line, render, shown, shown_lines

PACKAGE = Path(initcfg.__file__).parent


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("layer1.0.weight", "layer1.0.weight"),
        ("größe.重み.♥", "größe.重み.♥"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("a\r\nb\tc\vd\fe\x85f", r"a\r\nb\tc\x0bd\x0ce\x85f"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u202egpj.exe\u2066\u2069\u061c", r"\u202egpj.exe\u2066\u2069\u061c"),
        ("a\u200bb\u200dc\ufeffd\u2060", r"a\u200bb\u200dc\ufeffd\u2060"),
        ("\ud800\udcff", r"\ud800\udcff"),
        ("\u034f\u3164\ufe0f\U000e0041", r"\u034f\u3164\ufe0f\U000e0041"),
        ("[red]x[/red][link=file:///x]y[/link] :smile:", "[red]x[/red][link=file:///x]y[/link] :smile:"),
        (None, "None"),
    ],
)
def test_shown(text: object, wanted: str) -> None:
    assert shown(text) == wanted


unseen = st.characters(categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])
any_text = st.text(st.one_of(st.characters(categories=None), unseen), max_size=40)  # type: ignore[arg-type]


def is_safe(text: str) -> bool:
    """Whether nothing in a text of lines steers a terminal or is not seen."""
    return all(
        unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in text if each != "\n"
    )


@settings(max_examples=300, deadline=None)
@given(text=any_text)
def test_any_text(text: str) -> None:
    once = shown(text)
    assert is_safe(once) and "\n" not in once
    # What was shown once is shown alike again.
    assert shown(once) == once
    assert shown_lines(text) == "\n".join(map(shown, text.split("\n")))
    assert is_safe(in_html(text)) and "<" not in in_html(text)
    assert is_safe(as_json({text: text}))


@settings(max_examples=100, deadline=None)
@given(text=any_text)
def test_views(text: str) -> None:
    """Rows and lines are one line each, whatever is in them; what was drawn without them is safe, too."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    table.add_column("name", no_wrap=True)
    add_row(table, text)
    out = io.StringIO()
    screen = console(file=out, width=10_000, force_terminal=True, color_system=None)
    screen.print(Group(table, line(text), Text(text)))
    made = out.getvalue()
    assert is_safe(made)
    assert made.split("\n")[1].strip() == made.split("\n")[2].strip() == shown(text).strip()
    assert render(line(text), width=10_000) == shown(text).rstrip()


def test_errors() -> None:
    error = InitcfgError(
        "A key is \x1b[2J\u202e.\n  fix:          Run this.",
        rule="dict(type='\x07')",
        where="a\x9b.py:1",
        parameter="w\x1b\nfix: x",
        shape=(1,),
        meant=["\u200b"],
        fix="Rename \x7f.",
    )
    assert str(error).split("\n") == [
        r"A key is \x1b[2J\u202e.",
        # A line that came with the text cannot pass for one of ours.
        "  |   fix:          Run this.",
        r"  rule:         dict(type='\x07')",
        r"  where:        a\x9b.py:1",
        r"  parameter:    w\x1b\nfix: x, shape (1,)",
        r"  did you mean: '\u200b'",
        r"  fix:          Rename \x7f.",
    ]
    # What code reads stays as it was given.
    assert error.problem.startswith("A key is \x1b[2J")


# -- the source -------------------------------------------------------------------------------------

# What brings a text to people's eyes. MMEngine's log has MMEngine's form, and shows each text by `shown`.
_WAYS = {
    "print": {"errors/screen.py"},
    "echo": {"errors/screen.py"},
    "secho": set(),
    "Console": {"errors/screen.py"},
    "Text": {"errors/screen.py"},
    "from_markup": set(),
    "from_ansi": set(),
    "add_row": {"errors/screen.py"},
    "print_exc": set(),
    "getLogger": {"errors/screen.py", "_api/original_log.py"},
    "warning": {"errors/screen.py", "_api/original_calls.py"},
    "warn": {"errors/screen.py"},
    "style": {"errors/screen.py"},
}


def calls(path: Path) -> list[tuple[str, str, int]]:
    """What is called in a file: what it belongs to, its name, and the line."""
    found: list[tuple[str, str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                found.append((ast.unparse(function.value), function.attr, node.lineno))
            elif isinstance(function, ast.Name):
                found.append(("", function.id, node.lineno))
    return found


def test_there_is_no_other_way_to_print() -> None:
    wrong: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for owner, function, number in calls(path):
            ours = owner == "" and function in ("warn", "add_row", "line", "log", "say", "draw")
            if not ours and name not in _WAYS.get(function, {name}):
                wrong.append(f"{name}:{number} calls {owner}.{function}")
            if (
                owner in ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__")
                and function == "write"
            ):
                wrong.append(f"{name}:{number} writes to {owner}")
            if owner in ("logging", "logger", "log", "warnings") and function in (
                "debug", "info", "error", "critical", "exception", "showwarning", "warn_explicit",
            ) and name != "_api/original_log.py":  # fmt: skip
                wrong.append(f"{name}:{number} calls {owner}.{function}")
    assert not wrong, "\n".join(wrong)


def test_markup_is_nowhere_read() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        assert "rich.markup" not in source, path
        assert "markup=True" not in source, path


def test_the_help_loads_no_rich() -> None:
    import subprocess

    program = (
        "import sys, initcfg.errors; "
        "assert not {'rich', 'click', 'torch'} & set(sys.modules), set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
