"""Someone who reads a document and does what it says.

The conventions, so that a document stays a document:

- A ``python`` block is executed, in order, in one namespace a document, in an empty folder. Warnings are
  errors. A block whose first line is ``# file: name`` is written to that file instead.
- A ``bash`` block that begins with ``initcfg`` is run, line by line, in the same folder.
- A ``text`` block directly below such a block is what that prints; ``...`` stands for any text in it. If it
  begins with ``error:``, the commands must exit with 2, else with 0, or with what ``# exits with 1`` at the
  end of the line says. Other ``text`` blocks are just text.
- ``<!-- needs mmengine -->`` above a block keeps it for ``pytest -m peers``, where mmengine is installed, and
  so are the other packages of ``tests/peers/requirements.txt``. Any other name is that of a folder of
  ``tests/groups``, whose tests run it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from initcfg._api.command.cli import main

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- needs (\w+) -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass
class Block:
    """One fenced block: its language, its text, the line it begins on, what it needs, its output if shown."""

    language: str
    text: str
    line: int
    needs: str | None
    output: Block | None = None


def blocks(document: Path) -> list[Block]:
    """The blocks of a document; those that are the output of another hang on it."""
    content = document.read_text(encoding="utf-8")
    result: list[Block] = []
    end = -1
    for found in BLOCK.finditer(content):
        line = content[: found.start(3)].count("\n") + 1
        block = Block(found.group(2), found.group(3), line, found.group(1))
        directly_below = end >= 0 and not content[end : found.start()].strip()
        if block.language == "text" and directly_below and runs(result[-1]):
            result[-1].output = block
        else:
            result.append(block)
        end = found.end()
    return result


def runs(block: Block) -> bool:
    """Whether a block is executed, and not a file, a formula or another tool's command."""
    if block.text.startswith("# file: "):
        return False
    return block.language == "python" or (block.language == "bash" and block.text.startswith("initcfg "))


class Reader:
    """Someone who does what a document says, from top to bottom.

    Args:
        document: The document.
        folder: An empty folder, which is the current one.
    """

    def __init__(self, document: Path, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.namespace: dict[str, Any] = {"__name__": f"docs_{document.stem}"}

    def read(self, *, has: str | None = None) -> int:
        """Run the blocks that need nothing, or what this place ``has``. Returns how many were run."""
        count = 0
        for block in blocks(self.document):
            if block.needs not in (None, has):
                continue
            if block.text.startswith("# file: "):
                self._write(block)
            elif runs(block):
                printed = self._python(block) if block.language == "python" else self._commands(block)
                if block.output is not None:
                    self._compare(block.output, printed)
                count += 1
        return count

    def _place(self, block: Block) -> str:
        return f"{self.document.name}:{block.line}"

    def _write(self, block: Block) -> None:
        name = block.text.split("\n", maxsplit=1)[0].removeprefix("# file: ").strip()
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(block.text, encoding="utf-8")

    def _python(self, block: Block) -> str:
        # With the lines of the document, so that a traceback leads there.
        source = "\n" * (block.line - 1) + block.text
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            # As a reader runs it: the imports from __future__ of this file are not the page's.
            exec(compile(source, str(self.document), "exec", dont_inherit=True), self.namespace)
        return out.getvalue()

    def _commands(self, block: Block) -> str:
        fails = block.output is not None and block.output.text.startswith("error:")
        printed = ""
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "initcfg", f"{self._place(block)}: {line!r} is no initcfg command"
            result = CliRunner().invoke(main, words[1:])
            said = re.search(r"# exits with (\d+)$", line)
            code = int(said[1]) if said else 2 if fails else 0
            assert result.exit_code == code, f"{self._place(block)}: {line}\n{result.output}"
            printed += result.output
        return printed

    def _compare(self, block: Block, printed: str) -> None:
        got = "\n".join(line.rstrip() for line in printed.rstrip().splitlines()) + "\n"
        same = doctest.OutputChecker().check_output(block.text, got, doctest.ELLIPSIS)
        assert same, f"{self._place(block)}: expected\n{block.text}\nbut got\n{got}"
