"""Write ``src/initcfg/__init__.pyi`` from the table of exports in ``initcfg/__init__.py``.

    python tools/stubs.py

A test holds the file current.
"""

from __future__ import annotations

from pathlib import Path

import initcfg

STUB = Path(__file__).parents[1] / "src" / "initcfg" / "__init__.pyi"


def stub() -> str:
    """The text of the stub."""
    lines = [
        "# Made by tools/stubs.py from EXPORTS in __init__.py.",
        "from initcfg import compat as compat",
        "from initcfg import errors as errors",
        "from initcfg import integrations as integrations",
        "from initcfg import sources as sources",
        "from initcfg import stream as stream",
        "from initcfg import values as values",
    ]
    for home, names in sorted(initcfg.EXPORTS.items()):
        lines += [f"from initcfg.{home} import {name} as {name}" for name in sorted(names)]
    lines += [
        "from initcfg._version import __version__ as __version__",
        "",
        "EXPORTS: dict[str, tuple[str, ...]]",
        "__all__ = [",
        *(f'    "{name}",' for name in sorted(initcfg.__all__)),
        "]",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
