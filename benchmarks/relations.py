"""What is related in a library's own build is so under the stream: every architecture of zoo.py.

    python benchmarks/relations.py [--only SUBSTRING] [--library LIBRARY] [--json FILE] [--jobs 2]

Every model is built twice by its library's own code, from two seeds. What is related in both builds, and
differs between them, is a relation: tensors, or slices of them, with the same numbers (up to sign and scale,
transposed, in the same order of size, or in any order), norms, means and spreads of another tensor, rows of
one length, orthogonal or symmetric matrices. Then the plan, traced from the same code, is applied from the
stream, and each relation must hold there. Formulas are also computed on the library's own numbers,
where the tensors that they name show them, and must give the library's own tensor.

Needs the packages of tests/peers/requirements.txt. Exits with 1 if a relation is lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from examine import Build, attribute, everything, quietly
from torch import nn
from workers import Worker
from zoo import ARCHITECTURES, prepare

import initcfg
from initcfg.values import Formula

# Fewer numbers may agree by chance.
FEWEST = 12
# Of larger tensors, numbers at so many places are compared, the same in each tensor of a shape.
SAMPLE = 4096
# Slices along the first dimension are looked at if there are no more than these: experts, heads, fused parts.
SLICES = 16
TOLERANCE = 2e-4
Numbers = torch.Tensor
Key = tuple[str, ...]


@dataclass
class Row:
    """What is found of one architecture.

    Attributes:
        architecture: Library and name.
        error: The exception that ended it, if one did.
        tensors: Tensors that differ from build to build.
        found: By kind, the relations between these in the library's own builds.
        lost: Those that do not hold under the stream, in words.
        formulas: Formulas that were computed on the library's own numbers.
        seconds: The time of it all.
    """

    architecture: str
    error: str | None = None
    tensors: int = 0
    found: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    formulas: int = 0
    seconds: float = 0.0


def examine_relations(architecture: str, build: Build) -> Row:
    """All that the table says of one architecture; an exception becomes a row that says so."""
    row, start = Row(architecture), time.perf_counter()
    try:
        with quietly(), torch.no_grad():
            _examine(row, build)
    except Exception as error:
        row.error = f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0][:300]
    row.seconds = time.perf_counter() - start
    return row


def _examine(row: Row, build: Build) -> None:
    seed = zlib.crc32(row.architecture.encode())
    models = []
    for each in (seed, seed + 1):
        torch.manual_seed(each)
        models.append(build())
    tensors = [dict(tensors_of(model)) for model in models]
    chance = [name for name, each in tensors[0].items() if _by_chance(each, tensors[1].get(name))]
    row.tensors = len(chance)
    first, second = ({name: each[name] for name in chance} for each in tensors)
    relations = [each for each in relations_of(first) if each.holds(second)]
    row.found = dict(Counter(each.kind for each in relations))
    plan = initcfg.trace(build)
    row.formulas, row.lost = _formulas(plan, models[0])
    del tensors, first, second
    model = models[0]
    models.clear()
    for name, tensor in tensors_of(model):
        # What a plan forgets to write shows, unless it keeps it.
        if plan_kind(plan, name) not in ("Keep", "Computed", None):
            with contextlib.suppress(RuntimeError):
                tensor.fill_(torch.nan)
    plan.apply(model, seed=seed)
    filled = dict(tensors_of(model))
    row.lost += [str(each) for each in relations if not each.holds(filled)]


def plan_kind(plan: Any, name: str) -> str | None:
    """The kind of value that a plan has for a tensor."""
    item = plan.parameters.get(name) or plan.buffers.get(name)
    return None if item is None else item.value.kind


def tensors_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Floating-point parameters and buffers, each once."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and tensor.layout is torch.strided and not tensor.is_meta:
            yield name, tensor.detach()


def _by_chance(one: torch.Tensor, other: torch.Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and not torch.equal(one, other)


# -- relations -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Relation:
    """Two tensors, or a tensor and itself, and what is the same of both: views or functions of them."""

    kind: str
    one: Key
    two: Key
    same: Callable[[Numbers, Numbers], bool]

    def holds(self, tensors: dict[str, torch.Tensor]) -> bool:
        """Whether it holds among these."""
        return self.same(part(tensors, self.one), part(tensors, self.two))

    def __str__(self) -> str:
        return f"{' '.join(self.one)} and {' '.join(self.two)}: {self.kind}"


REDUCTIONS: dict[str, Callable[[Numbers], Numbers]] = {
    "norm": lambda x: x.norm(),
    "norms of rows": lambda x: x.flatten(1).norm(dim=1),
    "norms of columns": lambda x: x.flatten(1).norm(dim=0),
    "means of rows": lambda x: x.flatten(1).mean(1),
    "means of columns": lambda x: x.flatten(1).mean(0),
    "spreads of rows": lambda x: x.flatten(1).std(1),
    "greatest of rows": lambda x: x.flatten(1).abs().amax(1),
}
UNARY: dict[str, Callable[[Numbers], Numbers]] = {
    "orthogonal": lambda x: _off_diagonal(_rows(x) @ _rows(x).T if wide(x) else _columns(x).T @ _columns(x)),
    "symmetric": lambda x: _square(x) - x.T,
    "antisymmetric": lambda x: _square(x) + x.T,
    "rows of one length": lambda x: _deviation(_rows(x).norm(dim=1)),
    "columns of one length": lambda x: _deviation(_columns(x).norm(dim=0)),
    "rows of mean zero": lambda x: _rows(x).mean(1),
    "columns of mean zero": lambda x: _columns(x).mean(0),
    "rows of one spread": lambda x: _deviation(_rows(x).std(1)),
}
# Of so many rows or columns a matrix's own relations are told.
LINES = 64
# Longer ones are nearly orthogonal by chance, and their means are nearly zero.
LONGEST = 1 << 16


def wide(matrix: Numbers) -> bool:
    """Whether it has no more rows than columns."""
    return matrix.shape[0] ** 2 <= matrix.numel()


def _square(matrix: Numbers) -> Numbers:
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
        raise RuntimeError("Only square matrices are symmetric.")
    return matrix


def _rows(matrix: Numbers) -> Numbers:
    return matrix.flatten(1)[:LINES].double()


def _columns(matrix: Numbers) -> Numbers:
    return matrix.flatten(1)[:, :LINES].double()


def _off_diagonal(product: Numbers) -> Numbers:
    # Less than the diagonal everywhere: zeros next to it.
    return (product - product.diagonal().diag()) / product.diagonal().abs().mean()


def _deviation(numbers: Numbers) -> Numbers:
    return numbers / numbers.mean() - 1


def part(tensors: dict[str, torch.Tensor], key: Key) -> Numbers:
    """A tensor, a slice of it, or a function of it."""
    name, *steps = key
    tensor = tensors[name]
    for step in steps:
        tensor = tensor[int(step)] if step.isdigit() else REDUCTIONS[step](tensor.double())
    return tensor


def relations_of(tensors: dict[str, torch.Tensor]) -> list[Relation]:
    """What is related among tensors."""
    keys: list[Key] = []
    for name, tensor in tensors.items():
        if tensor.numel() >= FEWEST:
            keys.append((name,))
        if tensor.dim() > 1 and tensor.shape[0] <= SLICES and tensor[0].numel() >= FEWEST:
            keys += [(name, str(number)) for number in range(tensor.shape[0])]
    found = _pairs(tensors, keys, "same order of size", ranks, same_ranks)
    seen = {frozenset((each.one, each.two)) for each in found}
    others = _pairs(tensors, keys, "same numbers", sorted_numbers, same_numbers)
    found += [each for each in others if frozenset((each.one, each.two)) not in seen]
    found += _transposed(tensors, seen)
    found += _reduced(tensors)
    for name, tensor in tensors.items():
        sides = (
            (tensor.shape[0], tensor[0].numel()) if tensor.dim() > 1 and tensor.numel() >= FEWEST else (0, 0)
        )
        if min(sides) > 1 and max(sides) <= LONGEST:
            found += [
                Relation(kind, (name,), (name,), _residual(function))
                for kind, function in UNARY.items()
                if _residual(function)(tensor, tensor)
            ]
    return found


def _pairs(
    tensors: dict[str, torch.Tensor],
    keys: Iterable[Key],
    kind: str,
    signature: Callable[[Numbers], int | None],
    same: Callable[[Numbers, Numbers], bool],
) -> list[Relation]:
    """Each with the first that has its signature: a chain through all that have it."""
    first: dict[int, Key] = {}
    found: list[Relation] = []
    for key in keys:
        numbers = part(tensors, key)
        sign = signature(numbers)
        if sign is None:
            continue
        other = first.setdefault(sign, key)
        if other is key or (other[0] == key[0] and len(other) != len(key)):
            continue
        if same(part(tensors, other), numbers):
            names = {_equal: "equal", _scaled: "scaled", same: kind}
            test = next(each for each in names if each(part(tensors, other), numbers))
            found.append(Relation(names[test], other, key, test))
    return found


def _flat(numbers: Numbers) -> Numbers:
    flat = numbers.reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)][:SAMPLE].double()


def _equal(one: Numbers, two: Numbers) -> bool:
    return torch.equal(_flat(one), _flat(two))


def _scaled(one: Numbers, two: Numbers) -> bool:
    """Whether one is the other times a number, up to rounding to the type of either."""
    a, b = _flat(one), _flat(two)
    factor = (a @ b) / (a @ a)
    loose = 1e-2 if torch.bfloat16 in (one.dtype, two.dtype) else TOLERANCE
    return bool((factor * a - b).norm() <= loose * b.norm())


def ranks(numbers: Numbers) -> int | None:
    """The order of size of the numbers, whichever end is up; None if many are equal."""
    flat = _flat(numbers)
    order = flat.argsort(stable=True)
    steps = flat[order].diff()
    if (steps == 0).sum() > flat.numel() // 10:
        return None
    both = (zlib.crc32(order.numpy().tobytes()), zlib.crc32((-flat).argsort(stable=True).numpy().tobytes()))
    return hash((min(both), max(both), numbers.numel()))


def same_ranks(one: Numbers, two: Numbers) -> bool:
    """Whether one is a function of the other that only rises, or only falls."""
    a, b = _flat(one), _flat(two)
    order = a.argsort(stable=True)
    steps = b[order].diff()
    return bool((steps >= 0).all() or (steps <= 0).all())


def _normalized(numbers: Numbers) -> Numbers | None:
    flat = numbers.reshape(-1).double()
    if flat.numel() > SAMPLE * 16:
        return None
    greatest = flat[flat.abs().argmax()]
    return None if greatest == 0 else (flat / greatest).sort()[0]


def sorted_numbers(numbers: Numbers) -> int | None:
    """The numbers in order, in units of the greatest, rounded."""
    normal = _normalized(numbers)
    if normal is None or (normal.diff() == 0).sum() > normal.numel() // 10:
        return None
    return hash((numbers.numel(), *(normal[:: max(1, normal.numel() // 8)] * 1000).round().tolist()))


def same_numbers(one: Numbers, two: Numbers) -> bool:
    """Whether both have the same numbers in some order, up to a factor."""
    a, b = _normalized(one), _normalized(two)
    return a is not None and b is not None and bool((a - b).abs().max() < TOLERANCE)


def _transposed(tensors: dict[str, torch.Tensor], seen: set[frozenset[Key]]) -> list[Relation]:
    shapes: dict[tuple[int, ...], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.dim() == 2 and tensor.numel() >= FEWEST:
            shapes.setdefault(tuple(tensor.shape), []).append(name)
    first = {name: tensors[name].flatten()[:3].double() for names in shapes.values() for name in names}

    def same(one: Numbers, two: Numbers) -> bool:
        return one.shape == two.T.shape and _scaled(one, two.T)

    found: list[Relation] = []
    for (rows, columns), names in shapes.items():
        for name in names:
            for other in shapes.get((columns, rows), ()):
                ratio = tensors[other].T.flatten()[:3].double() / first[name]
                alike = name < other and bool((ratio - ratio[0]).abs().max() <= TOLERANCE * ratio[0].abs())
                new = frozenset(((name,), (other,))) not in seen
                if alike and new and same(tensors[name], tensors[other]):
                    found.append(Relation("transposed", (name,), (other,), same))
    return found


def _reduced(tensors: dict[str, torch.Tensor]) -> list[Relation]:
    """Tensors that are norms, means or spreads of one beside them: in the same module, or one of its own."""
    found: list[Relation] = []
    owners: dict[str, list[str]] = {}
    for name in tensors:
        owners.setdefault(name.rpartition(".")[0], []).append(name)

    def same(one: Numbers, two: Numbers) -> bool:
        a, b = one.double().flatten(), two.double().flatten()
        return a.shape == b.shape and bool((a - b).norm() <= TOLERANCE * b.norm())

    for names in owners.values():
        for one in names if len(names) > 1 else ():
            for two in names:
                if one == two or tensors[two].dim() < 2 or tensors[one].numel() >= tensors[two].numel():
                    continue
                for how in REDUCTIONS:
                    key = (two, how)
                    if same(tensors[one], part(tensors, key)):
                        found.append(Relation(f"{how}", (one,), key, same))
    return found


def _residual(function: Callable[[Numbers], Numbers]) -> Callable[[Numbers, Numbers], bool]:
    def same(one: Numbers, _: Numbers) -> bool:
        try:
            return bool(function(one / one.abs().max()).abs().max() < TOLERANCE)
        except RuntimeError:
            # Of another shape than this is asked of.
            return False

    return same


# -- formulas on the library's own numbers ----------------------------------------------------------


def _formulas(plan: Any, model: nn.Module) -> tuple[int, list[str]]:
    """How many formulas were computed on the numbers that the model shows; those that give another tensor."""
    from initcfg._stream.writing.formula import RandomSource, evaluate

    shown = {
        name: item.value
        for name, item in everything(plan)
        if item.value.random and item.value.kind not in ("Formula", "CopyOf", "Opaque")
    }
    count, wrong = 0, []

    def fill(tensor: torch.Tensor, value: Any, name: str | None, part: int) -> None:
        source = attribute(model, name) if name in shown and shown[name] == value else None
        if source is None or part or source.shape != tensor.shape:
            raise LookupError(name)
        tensor.copy_(source)

    for name, item in everything(plan):
        if isinstance(item.value, Formula) and item.value.random and not item.value.begins_with_itself:
            there = attribute(model, name)
            try:
                made = evaluate(item.value, RandomSource(fill, _no_draw), there.shape, there)
            except initcfg.errors.ApplyError:
                # It draws numbers that no tensor shows.
                continue
            count += 1
            if not torch.allclose(made.to(there.dtype), there, rtol=1e-3, atol=1e-5, equal_nan=True):
                wrong.append(f"{name} is not its formula: {item.value}")
    return count, wrong


def _no_draw(name: str | None, part: int) -> Any:
    raise LookupError(name)


# -- the whole zoo -----------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns 1 if a relation is lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="of LIBRARY/NAME")
    parser.add_argument("--library", help="timm | torchvision | transformers | mmdet | mmseg | mmpretrain")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one architecture")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        return serve()
    chosen = [
        each.key
        for each in ARCHITECTURES.values()
        if given.only in each.key and given.library in (None, each.library)
    ]
    workers = [Worker([sys.executable, __file__, "--worker"]) for _ in range(max(1, given.jobs))]
    idle = list(workers)

    def one(key: str) -> dict[str, Any]:
        worker = idle.pop()
        try:
            return worker.ask(key, given.timeout)
        except (TimeoutError, EOFError) as error:
            return asdict(Row(key, str(error)))
        finally:
            idle.append(worker)

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            rows = list(pool.map(one, chosen))
    finally:
        for worker in workers:
            worker.stop()
    if given.json:
        given.json.write_text(json.dumps(rows))
    print(markdown(rows))
    return 1 if any(row["error"] or row["lost"] for row in rows) else 0


def serve() -> int:
    """A worker: names come in, a line each; rows go out."""
    prepare()
    torch.set_num_threads(1)
    # Libraries may print; the rows have a door of their own.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        key = line.strip()
        print(json.dumps(asdict(examine_relations(key, ARCHITECTURES[key].build))), file=out, flush=True)
    return 0


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of those that have relations, and the sums."""
    lines = [
        "| architecture | random tensors | relations | held | formulas | kinds |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        count = sum(row["found"].values())
        if row["error"]:
            lines.append(f"| {row['architecture']} | exception | | | | {row['error']} |")
        elif count or row["lost"] or row["formulas"]:
            kinds = ", ".join(f"{kind} × {number}" for kind, number in row["found"].items())
            lines.append(
                f"| {row['architecture']} | {row['tensors']:,} | {count:,} | {count - len(row['lost']):,} "
                f"| {row['formulas']:,} | {kinds} |"
            )
    total = sum(sum(row["found"].values()) for row in rows)
    lost = [f"- {row['architecture']}: {each}" for row in rows for each in row["lost"]]
    tensors, formulas, seconds = (sum(row[key] for row in rows) for key in ("tensors", "formulas", "seconds"))
    related, errors = (sum(bool(row[key]) for row in rows) for key in ("found", "error"))
    lines += [
        "",
        f"{len(rows):,} architectures, {tensors:,} random tensors; {total:,} relations in {related:,} of "
        f"them, {total - len(lost):,} held under the stream; {formulas:,} formulas computed on the "
        f"library's numbers; {errors} exceptions; {seconds:.0f} s.",
        *lost,
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
