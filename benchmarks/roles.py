"""Which roles are seen in other people's models: a row for each architecture of zoo.py.

    python benchmarks/roles.py [--only SUBSTRING] [--library LIBRARY] [--names ROLE]

Each model is built as its library builds it, and run once without memory. A row counts residual adds and
blocks, and the tensors of each role. ``--names`` also lists the tensors that have a role. Where
roles_truth.py says which weights end a residual branch, the last lines count those that are found, and those
that are not these, and name them. Exits with 1 if a model cannot be looked at, if less than 98 % are found,
or one is false.

Needs the packages of tests/peers/requirements.txt (make test-peers installs them).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from roles_truth import TRUTH, ends_of_branches, matrices_of
from zoo import ARCHITECTURES, prepare

ENOUGH = 0.98

if TYPE_CHECKING:
    from torch import nn

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
    truths: list[Truth] = []
    print("| architecture | adds | blocks | width |", " | ".join(COLUMNS), "| notes | s |", flush=True)
    for architecture in chosen:
        row, names, truth = _row(architecture, given.names)
        if truth is not None:
            truths.append(truth)
        failed += row.startswith("!")
        print(f"| {architecture.key} | {row} |", flush=True)
        for name in names:
            print("   ", name)
    print(f"{len(chosen)} architectures, {failed} that could not be looked at")
    return int(failed > 0 or not _right(truths))


def _right(truths: list[Truth]) -> bool:
    """Print what was found of the ends of residual branches; whether it is enough."""
    wanted, found = sum(each.wanted for each in truths), sum(each.found for each in truths)
    false = sum(len(each.false) for each in truths)
    print("\n| architecture | ends of branches | found | missed | false |\n|---|---|---|---|---|")
    for each in truths:
        if each.missed or each.false:
            missed, others = (", ".join(names[:3]) or "–" for names in (each.missed, each.false))
            print(f"| {each.key} | {each.wanted} | {each.found} | {missed} | {others} |")
    share = found / max(1, wanted)
    print(
        f"\nends of residual branches: {found} of {wanted} found ({share:.2%}), {false} false, in "
        f"{len(truths)} architectures"
    )
    return share >= ENOUGH and not false


class Truth(NamedTuple):
    """What was found of the weights that end a residual branch."""

    key: str
    wanted: int
    found: int
    missed: list[str]
    false: list[str]


def _held(key: str, model: nn.Module, roles: Any) -> Truth | None:
    if key not in TRUTH:
        return None
    wanted = ends_of_branches(model, TRUTH[key])
    ours = {name for name, each in roles.tensors.items() if "residual_out" in each.roles}
    ours &= {*matrices_of(model)}
    return Truth(key, len(wanted), len(wanted & ours), sorted(wanted - ours), sorted(ours - wanted))


def _row(architecture: Any, role: str | None) -> tuple[str, list[str], Truth | None]:
    from initcfg._model import find_roles

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model = architecture.build()
        began = time.perf_counter()
        try:
            found = find_roles(model)
        except Exception as error:
            return f"! {type(error).__name__}: {str(error).splitlines()[0][:150]}", [], None
        seconds = time.perf_counter() - began
    counts = Counter(role for each in found.tensors.values() for role in each.roles)
    cells = [str(counts[each] or "") for each in COLUMNS]
    numbers = [str(each or "") for each in (found.residuals, found.layers, found.width)]
    guessed = "! " if any(each.how == "guessed" for each in found.tensors.values()) else ""
    row = " | ".join([*numbers, *cells, "; ".join(found.notes), f"{seconds:.1f}"])
    names = [name for name, each in found.tensors.items() if role in each.roles]
    return guessed + row, names, _held(architecture.key, model, found)


if __name__ == "__main__":
    sys.exit(main())
