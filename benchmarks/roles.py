"""Which roles are seen in other people's models: a row for each architecture of zoo.py.

    python benchmarks/roles.py [--only SUBSTRING] [--library LIBRARY] [--names ROLE]

Each model is built as its library builds it, and run once without memory. A row counts residual adds and
blocks, and the tensors of each role. ``--names`` also lists the tensors that have a role. Exits with 1 if one
cannot be looked at.

Needs the packages of tests/peers/requirements.txt (make test-peers installs them).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections import Counter
from typing import Any

from zoo import ARCHITECTURES, prepare

COLUMNS = (
    "residual_out",
    "attn_qkv",
    "attn_q",
    "attn_out",
    "mlp_in",
    "mlp_gate",
    "mlp_out",
    "conv_in",
    "shortcut",
    "gate",
    "residual_norm",
    "position",
    "embedding",
    "stem",
    "head",
    "router",
    "expert_out",
)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns 1 if a model could not be looked at."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="of LIBRARY/NAME")
    parser.add_argument("--library", help="timm | torchvision | transformers")
    parser.add_argument("--names", metavar="ROLE", help="list the tensors that have this role")
    given = parser.parse_args(arguments)
    prepare()
    chosen = [
        each
        for each in ARCHITECTURES.values()
        if given.only in each.key
        and given.library in (None, each.library)
        and not each.library.startswith("mm")
    ]
    failed = 0
    print("| architecture | adds | blocks | width |", " | ".join(COLUMNS), "| notes | s |", flush=True)
    for architecture in chosen:
        row, names = _row(architecture, given.names)
        failed += row.startswith("!")
        print(f"| {architecture.key} | {row} |", flush=True)
        for name in names:
            print("   ", name)
    print(f"{len(chosen)} architectures, {failed} that could not be looked at")
    return 1 if failed else 0


def _row(architecture: Any, role: str | None) -> tuple[str, list[str]]:
    from initcfg._model import find_roles

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model = architecture.build()
        began = time.perf_counter()
        try:
            found = find_roles(model)
        except Exception as error:
            return f"! {type(error).__name__}: {str(error).splitlines()[0][:150]}", []
        seconds = time.perf_counter() - began
    counts = Counter(role for each in found.tensors.values() for role in each.roles)
    cells = [str(counts[each] or "") for each in COLUMNS]
    numbers = [str(each or "") for each in (found.residuals, found.layers, found.width)]
    guessed = "! " if any(each.how == "guessed" for each in found.tensors.values()) else ""
    row = " | ".join([*numbers, *cells, "; ".join(found.notes), f"{seconds:.1f}"])
    return guessed + row, [name for name, each in found.tensors.items() if role in each.roles]


if __name__ == "__main__":
    sys.exit(main())
