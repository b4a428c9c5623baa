"""One architecture of the table: build it, trace it, apply the plan, and say what is not as it should be."""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any

import torch
from comparison import Findings, compare, same_bits
from torch import nn

import initcfg

Build = Callable[[], nn.Module]
# What has no symbol: it is not known what is drawn, or nothing is.
NOT_SYMBOLIC = ("Keep", "Computed", "Opaque")
UNPLANNED = "not in the plan"


@dataclass
class Row:
    """What the table says of one architecture.

    Attributes:
        architecture: Library and name.
        error: The exception that ended it, if one did.
        tensors: Number of parameter tensors; ``symbolic_tensors`` of them have a value of a symbolic kind.
        elements: Number of their elements; ``symbolic_elements`` likewise.
        buffers: Number of buffers; ``symbolic_buffers`` likewise.
        opaque: Name and value of each tensor that is not symbolic.
        parameters_differ: Parameters whose bits are not the library's under ``rng="torch"``.
        buffers_differ: Buffers likewise.
        wrong: What else is not as it must be, in words.
        tests: The stream against the library: tensor, test, p, and what is uniform if all is well.
        slices: How many tensors, or slices of one, have p-values.
        exact: How many are compared exactly.
        skipped: How many are too small to compare, or have no symbol.
        largest: Bytes of the largest JSON of a value, and the tensor's name.
        trace_seconds: Time of ``initcfg.trace(build)``.
        build_seconds: Time of ``build()``, the second time.
    """

    architecture: str
    error: str | None = None
    tensors: int = 0
    symbolic_tensors: int = 0
    elements: int = 0
    symbolic_elements: int = 0
    buffers: int = 0
    symbolic_buffers: int = 0
    opaque: list[tuple[str, str]] = field(default_factory=list)
    parameters_differ: list[str] = field(default_factory=list)
    buffers_differ: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    tests: list[tuple[str, str, float, float | None]] = field(default_factory=list)
    slices: int = 0
    exact: int = 0
    skipped: int = 0
    largest: tuple[int, str] = (0, "")
    trace_seconds: float = 0.0
    build_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The row as JSON data."""
        return asdict(self)


def examine(architecture: str, build: Build, widen: float | None = None) -> Row:
    """All that the table says of one architecture; an exception becomes a row that says so.

    Args:
        architecture: Library and name.
        build: Builds the model.
        widen: For the harness's check of itself: a factor on one planned standard deviation.
    """
    row = Row(architecture)
    try:
        with quietly():
            _examine(row, build, widen)
    except Exception as error:
        row.error = f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0][:300]
    return row


def _examine(row: Row, build: Build, widen: float | None) -> None:
    # Seeds of its own: otherwise models that begin alike begin with the same numbers, here and there.
    seed = zlib.crc32(row.architecture.encode())
    torch.manual_seed(seed)
    theirs = build()
    state = torch.get_rng_state()
    start = time.perf_counter()
    plan = initcfg.trace(build)
    row.trace_seconds = time.perf_counter() - start
    if not torch.equal(state, torch.get_rng_state()):
        row.wrong.append("trace has moved torch's generator")
    _count(row, plan, theirs)
    _as_json(row, plan)
    start = time.perf_counter()
    torch.manual_seed(seed + 1)
    model = build()
    row.build_seconds = time.perf_counter() - start
    _spoil(model, plan)
    torch.manual_seed(seed)
    plan.apply(model, rng="torch")
    row.parameters_differ = _differing(theirs.named_parameters(), model.named_parameters())
    row.buffers_differ = _differing(theirs.named_buffers(), model.named_buffers())
    _spoil(model, plan)
    streamed = plan if widen is None else _widened(plan, widen)
    torch.manual_seed(seed + 2)
    streamed.apply(model, seed=seed)
    found = Findings()
    for name, assignment in everything(plan):
        compare(found, name, assignment.value, attribute(model, name), attribute(theirs, name))
    row.tests = [(test.tensor, test.of, test.p, test.uniform) for test in found.tests]
    row.wrong += found.wrong
    row.slices, row.exact, row.skipped = found.slices, found.exact, found.skipped


def everything(plan: Any) -> Iterator[tuple[str, Any]]:
    """Each planned parameter and buffer: name, assignment."""
    yield from plan.items()
    yield from plan.buffers.items()


def attribute(model: nn.Module, name: str) -> torch.Tensor:
    """The tensor that a plan calls ``name``; of a parametrized weight, what the layer sees."""
    with torch.no_grad():
        return reduce(getattr, name.split("."), model)  # type: ignore[arg-type, return-value]


def canonical(name: str) -> str:
    """The name of a parameter, or of the weight that a parametrization stores it for."""
    return re.sub(r"(^|\.)parametrizations\.([^.]+)\.original\d*$", r"\1\2", name)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What libraries print and warn of is none of the table's."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _count(row: Row, plan: Any, model: nn.Module) -> None:
    """How much of the model is symbolic."""
    for name, parameter in model.named_parameters():
        if not {name, canonical(name)} & {*plan, *plan.aliases}:
            row.tensors += 1
            row.elements += parameter.numel()
            row.opaque.append((name, UNPLANNED))
    for name, item in plan.items():
        row.tensors += 1
        row.elements += item.elements
        if item.value.kind in NOT_SYMBOLIC:
            row.opaque.append((name, str(item.value)))
        else:
            row.symbolic_tensors += 1
            row.symbolic_elements += item.elements
    known = {*plan.buffers, *plan.aliases}
    row.opaque += [(name, UNPLANNED) for name, _ in model.named_buffers() if name not in known]
    row.buffers = len(plan.buffers) + sum(name not in known for name, _ in model.named_buffers())
    for name, item in plan.buffers.items():
        if item.value.kind in NOT_SYMBOLIC:
            row.opaque.append((name, str(item.value)))
        else:
            row.symbolic_buffers += 1


def _as_json(row: Row, plan: Any) -> None:
    """The size of each value's JSON; and that a plan that was written and read is the same plan."""
    data = plan.to_json()
    text = json.dumps(data)
    sizes = [
        (len(json.dumps(item["value"])), name)
        for part in ("parameters", "buffers")
        for name, item in data[part].items()
    ]
    row.largest = max(sizes, default=(0, ""))
    if initcfg.Plan.from_json(json.loads(text)).to_json() != data:
        row.wrong.append("the plan is another one after JSON")


def _spoil(model: nn.Module, plan: Any) -> None:
    """Let every tensor that the plan writes hold something else, so that a write left out shows."""
    left = {name for name, item in everything(plan) if item.value.kind in ("Keep", "Computed")}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if {name, canonical(name), plan.aliases.get(name)} & left:
            continue
        data = tensor.detach()
        # One element in many places cannot be written in place; nor does it have to be.
        with contextlib.suppress(RuntimeError):
            if data.dtype == torch.bool:
                data.logical_not_()
            elif data.is_floating_point() or data.is_complex():
                data.fill_(torch.nan)
            else:
                data.fill_(119)


def _differing(
    theirs: Iterator[tuple[str, torch.Tensor]], ours: Iterator[tuple[str, torch.Tensor]]
) -> list[str]:
    """Names of the tensors that have other bits, or are on one side only."""
    left, right = dict(theirs), dict(ours)
    lonely = [name for name in [*left, *right] if (name in left) != (name in right)]
    return lonely + [
        name for name in left if name in right and not same_bits(left[name], right[name].detach())
    ]


def widest(plan: Any) -> str:
    """The parameter with the most elements among those that are normal, or truncated so."""
    normal = {name: item for name, item in plan.items() if item.value.kind in ("Normal", "TruncNormal")}
    return max(normal, key=lambda name: normal[name].elements)


def _widened(plan: Any, factor: float) -> Any:
    """The plan with the standard deviation of one large parameter multiplied."""
    data = plan.to_json()
    data["parameters"][widest(plan)]["value"]["std"] *= factor
    return initcfg.Plan.from_json(data)
