"""What the command says of a checkpoint that it wrote."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from initcfg._apply.streaming import Saved
from initcfg.errors import in_bytes, plural

_SHOWN = 12
_WORDS = {
    "streamed": "streamed piece by piece",
    "whole": "made whole, one at a time",
    "loaded": "read from checkpoints",
    "resident": "taken from the model's memory",
}


def saved_view(saved: Saved) -> RenderableType:
    """For a person: the files, how the tensors were made, and how long it took."""
    parts: list[RenderableType] = []
    if saved.there:
        return Text(f"{saved.folder} is complete already (seed {saved.ledger.seed}): nothing was written.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file")
    table.add_column("tensors", justify="right")
    table.add_column("size", justify="right")
    table.add_column("")
    for file in saved.files[: _SHOWN if len(saved.files) > _SHOWN + 1 else None]:
        table.add_row(
            file.name,
            "" if file.tensors is None else f"{file.tensors:,}",
            in_bytes(file.size),
            "kept" if file.kept else "",
        )
    parts.append(table)
    if len(saved.files) > _SHOWN + 1:
        parts.append(Text(f"... and {len(saved.files) - _SHOWN} more files"))
    parts.append(Text(""))
    for way, (count, size) in saved.ways().items():
        parts.append(Text(f"{plural(count, 'tensor')} {_WORDS[way]} ({in_bytes(size)})"))
    if saved.outline.in_memory:
        parts.append(Text(f"The model was initialized in memory first: {saved.outline.in_memory}."))
    if saved.outline.left_out:
        shown = ", ".join(saved.outline.left_out[:3]) + (", ..." if len(saved.outline.left_out) > 3 else "")
        parts.append(Text(f"Left out, since they are no tensors: {shown}."))
    kept = sum(file.kept for file in saved.files)
    if kept:
        parts.append(Text(f"{plural(kept, 'file')} had been finished before."))
    rate = f", {saved.written / saved.seconds / 1e9:.2f} GB/s" if saved.seconds and saved.written else ""
    parts.append(
        Text(
            f"{saved.folder} ({in_bytes(sum(file.size for file in saved.files))}) in "
            f"{saved.seconds:.1f} s{rate}; rng {saved.ledger.rng}, seed {saved.ledger.seed}."
        )
    )
    return Group(*parts)


def saved_json(saved: Saved) -> dict[str, Any]:
    """The same as JSON data."""
    return {
        "weights": saved.folder,
        "ledger": saved.ledger_path,
        "seed": saved.ledger.seed,
        "files": [vars(file) for file in saved.files],
        "bytes": sum(file.size for file in saved.files),
        "written": saved.written,
        "seconds": saved.seconds,
        "there": saved.there,
        "ways": {way: {"tensors": count, "bytes": size} for way, (count, size) in saved.ways().items()},
        "in_memory": saved.outline.in_memory,
        "left_out": list(saved.outline.left_out),
    }
