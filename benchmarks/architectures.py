"""What ``initcfg.trace`` makes of other people's initialization: one row for each architecture of zoo.py.

    python benchmarks/architectures.py [--only SUBSTRING] [--library LIBRARY] [--json FILE] [--jobs 2]

Every model is built by its library's own code after torch.manual_seed; its plan, traced from the same code,
is applied to another one whose tensors were spoiled, once with torch's generator (every parameter and
buffer must have the library's bits) and once from the stream (every slice with one value must come from the
library's distribution). Two-sample Kolmogorov-Smirnov; from 1,000 elements on, mean and spread, too. One
p-value among tens of thousands is small, whatever is right: Holm's procedure over the whole run, at
0.01 for all tests together, says which count as rejected, and the p-values of large tensors must be
uniform. ``--self-check`` makes one planned standard deviation 5 % larger, and wants it found.

Needs the packages of tests/peers/requirements.txt (make test-peers installs them). Exits with 1 if
anything is wrong: an exception, bits that differ, a rejected test.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from workers import Worker
from zoo import ARCHITECTURES, Architecture

# Rows with an error have these columns only.
COLUMNS = (
    "architecture",
    "tensors",
    "symbolic",
    "elements",
    "buffers",
    "same bits",
    "tests",
    "rejected",
    "least p",
    "JSON",
    "trace s",
    "build s",
)
SELF_CHECK = "timm/vit_tiny_patch16_224"
SHOWN = 12


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns 1 if anything in it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="of LIBRARY/NAME")
    parser.add_argument("--library", help="timm | torchvision | transformers | mmdet | mmseg | mmpretrain")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows, with every p-value")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one architecture")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--self-check", action="store_true", help="let the harness find a wrong plan")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        return serve()
    if given.self_check:
        return self_check(given.only or SELF_CHECK)
    chosen = [
        each
        for each in ARCHITECTURES.values()
        if given.only in each.key and given.library in (None, each.library)
    ]
    if given.list:
        print("\n".join(each.key for each in chosen))
        return 0
    if not chosen:
        parser.error("No architecture has such a name; --list shows them.")
    start = time.perf_counter()
    rows = run(chosen, given.jobs, given.timeout)
    summary = judge(rows)
    summary["seconds"] = round(time.perf_counter() - start, 1)
    if given.json:
        given.json.write_text(json.dumps({"summary": summary, "rows": rows}))
    print(markdown(rows, summary))
    return 1 if summary["bad"] else 0


# -- running ---------------------------------------------------------------------------------------


def run(chosen: list[Architecture], jobs: int, timeout: float) -> list[dict[str, Any]]:
    """One row for each, in order, however it ends."""
    workers = [Worker([sys.executable, __file__, "--worker"]) for _ in range(max(1, jobs))]
    idle = list(workers)
    done = 0

    def one(each: Architecture) -> dict[str, Any]:
        nonlocal done
        worker = idle.pop()
        try:
            row = worker.ask(each.key, timeout)
        except (TimeoutError, EOFError) as error:
            row = {"architecture": each.key, "error": str(error)}
        finally:
            idle.append(worker)
        done += 1
        if sys.stderr.isatty():
            print(f"\r{done} of {len(chosen)}  {each.key:<60}", end="", file=sys.stderr, flush=True)
        return row

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            rows = list(pool.map(one, chosen))
    finally:
        for worker in workers:
            worker.stop()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return rows


def serve() -> int:
    """A worker: names come in, a line each; rows go out."""
    prepared()
    from examine import examine

    # Libraries may print; the rows have a door of their own.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        key = line.strip()
        print(json.dumps(examine(key, ARCHITECTURES[key].build).to_json()), file=out, flush=True)
    return 0


def prepared() -> None:
    """The libraries can be imported, and torch takes one thread: there are processes for the cores."""
    from zoo import prepare

    prepare()
    import torch

    torch.set_num_threads(1)


def self_check(key: str) -> int:
    """Widen one planned standard deviation by 5 %: the table must say so, and of that tensor alone."""
    prepared()
    from comparison import rejected
    from examine import examine

    build = ARCHITECTURES[key].build
    found: dict[float | None, set[str]] = {}
    for factor in (None, 1.05):
        row = examine(key, build, widen=factor)
        assert row.error is None, row.error
        small = rejected([test[2] for test in row.tests])
        found[factor] = {test[0] for test, hit in zip(row.tests, small, strict=True) if hit}
    print(f"{key}: as it is planned, rejected {sorted(found[None])}; widened, rejected {sorted(found[1.05])}")
    return 0 if not found[None] and len(found[1.05]) == 1 else 1


# -- judging ---------------------------------------------------------------------------------------


def judge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Holm over all tests of the run; each row gets its rejected ones and whether it is bad."""
    from comparison import rejected, uniformity

    good = [row for row in rows if row.get("error") is None]
    tests = [(row, test) for row in good for test in row["tests"]]
    for row in good:
        row["rejected"] = []
        row["least"] = min((test[2] for test in row["tests"]), default=None)
    for (row, test), hit in zip(tests, rejected([test[2] for _, test in tests]), strict=True):
        if hit:
            row["rejected"].append(test[:3])
    fair = {
        of: [test[3] for _, test in tests if test[3] is not None and test[1] == of]
        for of in ("KS", "mean", "spread")
    }
    return {
        "tests": len(tests),
        "rejected": sum(len(row["rejected"]) for row in good),
        "least": min((test[2] for _, test in tests), default=None),
        "uniformity": {of: {"tests": len(each), "p": uniformity(each)} for of, each in fair.items() if each},
        "bad": [row["architecture"] for row in rows if bad(row)],
    }


def bad(row: dict[str, Any]) -> bool:
    """Whether anything is wrong; a tensor without a symbol is none."""
    if row.get("error") is not None:
        return True
    return any(row[key] for key in ("parameters_differ", "buffers_differ", "wrong", "rejected"))


# -- printing --------------------------------------------------------------------------------------


def markdown(rows: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    """The table, what is below it, and the sums."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    lines += [_line(row) for row in rows]
    lines += ["", *_sums(rows), ""]
    lines += [
        f"{summary['tests']:,} tests, the least p {_p(summary['least'])}; Holm at 0.01 for all of them "
        f"together rejects {summary['rejected']}. {summary['seconds']:.0f} s."
    ]
    for of, each in summary["uniformity"].items():
        lines.append(
            f"P-values of {of} over {each['tests']:,} plain random tensors of more than 1,000 elements: "
            f"uniform with p = {_p(each['p'])}."
        )
    failed = [(row["architecture"], [row["error"]]) for row in rows if row.get("error") is not None]
    lines += _section("Exceptions", failed)
    for title, text in (
        (
            "Other bits",
            lambda row: _grouped(row.get("parameters_differ", []) + row.get("buffers_differ", [])),
        ),
        ("Wrong", lambda row: row["wrong"]),
        ("Rejected", lambda row: [f"{name}: {of}, p = {_p(p)}" for name, of, p in row["rejected"]]),
        ("Without a symbol", _without_symbol),
    ):
        found = [(row["architecture"], text(row)) for row in rows if row.get("error") is None]
        lines += _section(title, [(name, items) for name, items in found if items])
    return "\n".join(lines)


def _section(title: str, found: list[tuple[str, list[str]]]) -> list[str]:
    """A list below the table; nothing, if there is nothing to say."""
    if not found:
        return []
    return ["", f"### {title}", "", *(f"- {name}: {'; '.join(_few(items))}" for name, items in found)]


def _line(row: dict[str, Any]) -> str:
    if row.get("error") is not None:
        cells = [row["architecture"], "exception", *[""] * (len(COLUMNS) - 2)]
    else:
        differing = [f"{len(row[f'{what}_differ'])} {what}" for what in ("parameters", "buffers")]
        differing = [each for each in differing if not each.startswith("0 ")]
        cells = [
            row["architecture"],
            f"{row['tensors']:,}",
            _share(row["symbolic_tensors"], row["tensors"]),
            _share(row["symbolic_elements"], row["elements"]),
            f"{row['symbolic_buffers']}/{row['buffers']}",
            f"NO: {', '.join(differing)}" if differing else "yes",
            f"{row['slices']:,}",
            str(len(row["rejected"])),
            _p(row["least"]),
            f"{row['largest'][0]:,}",
            f"{row['trace_seconds']:.2f}",
            f"{row['build_seconds']:.2f}",
        ]
    return f"| {' | '.join(cells)} |"


def _sums(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each library, and one for all."""
    libraries = list(dict.fromkeys(row["architecture"].partition("/")[0] for row in rows))
    lines = []
    for library in [*libraries, "all"]:
        mine = [row for row in rows if library in ("all", row["architecture"].partition("/")[0])]
        good = [row for row in mine if row.get("error") is None]
        total = {
            key: sum(row[key] for row in good)
            for key in (
                "tensors",
                "symbolic_tensors",
                "elements",
                "symbolic_elements",
                "buffers",
                "symbolic_buffers",
                "slices",
                "exact",
                "skipped",
                "trace_seconds",
                "build_seconds",
            )
        }
        same = sum(not row["parameters_differ"] and not row["buffers_differ"] for row in good)
        lines.append(
            f"- {library}: {len(mine)} architectures, {len(mine) - len(good)} exceptions; symbolic "
            f"{_share(total['symbolic_tensors'], total['tensors'])} of {total['tensors']:,} parameters, "
            f"{_share(total['symbolic_elements'], total['elements'])} of {total['elements']:,} elements, "
            f"{_share(total['symbolic_buffers'], total['buffers'])} of {total['buffers']:,} buffers; same "
            f"bits {same} of {len(good)}; {total['slices']:,} distributions and {total['exact']:,} exact "
            f"values compared, {total['skipped']:,} too small or without a symbol; "
            f"{sum(len(row['rejected']) for row in good)} rejected; largest JSON "
            f"{max((row['largest'][0] for row in good), default=0):,} bytes; "
            f"traced in {total['trace_seconds']:.1f} s, built in {total['build_seconds']:.1f} s."
        )
    return lines


def _without_symbol(row: dict[str, Any]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in row["opaque"]:
        by_reason.setdefault(reason, []).append(name)
    return [f"{', '.join(_few(_grouped(names)))} ({reason})" for reason, names in by_reason.items()]


def _grouped(names: list[str]) -> list[str]:
    """Names that differ in numbers only, as one."""
    count = Counter(re.sub(r"\d+", "*", name) if len(names) > 1 else name for name in names)
    return [name if times == 1 else f"{name} × {times}" for name, times in count.items()]


def _few(items: list[str]) -> list[str]:
    return items if len(items) <= SHOWN else [*items[:SHOWN], f"and {len(items) - SHOWN} more"]


def _share(part: int, whole: int) -> str:
    # Not rounded up to all of it.
    return "100 %" if part == whole else f"{int(1000 * part / whole) / 10} %"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


if __name__ == "__main__":
    sys.exit(main())
