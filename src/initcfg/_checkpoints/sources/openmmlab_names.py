"""``open-mmlab://``, ``openmmlab://``, ``mmcls://``, ``jhu://``: OpenMMLab's tables of names.

The tables are files of mmengine (or of mmcv 1.x); no code of theirs is run.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from initcfg._checkpoints.sources.download import from_web
from initcfg._checkpoints.sources.local import from_path
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.optional_packages import missing
from initcfg.errors import (
    CheckpointError,
    CheckpointNameError,
    nearest,
    warn,
)

# The package, the folder in it, and the file of OpenMMLab's own names; the others are called alike.
_TABLES = (("mmengine", "hub", "openmmlab.json"), ("mmcv", "model_zoo", "open_mmlab.json"))


def from_openmmlab(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """What a name stands for; of ``mmcls://`` names the backbone is meant, as in MMEngine."""
    scheme, _, name = source.partition("://")
    scheme = scheme.lower()
    if scheme == "jhu":
        name = f"jhu/{name}"
    folder, own = _tables(source)
    if scheme == "mmcls":
        table = _read(folder / "mmcls.json")
    else:
        table = {**_read(folder / own), **_read(_home() / "open_mmlab.json")}
        if new := _read(folder / "deprecated.json").get(name):
            warn(f"{scheme}://{name} has a new name: {scheme}://{new}.", stacklevel=2)
            name = new
    target = table.get(name)
    if not isinstance(target, str):
        shorten = "jhu/" if scheme == "jhu" else ""
        names = [other for other in table if other.startswith(shorten)]
        raise CheckpointNameError(
            f"The tables of OpenMMLab have no checkpoint {source!r}.",
            meant=[f"{scheme}://{other.removeprefix(shorten)}" for other in nearest(name, names)],
            fix="Check the name.",
        )
    if target.startswith(("http://", "https://")):
        located = from_web(target, sha256=sha256, offline=offline)
    else:
        located = from_path(str(_home() / target), sha256=sha256, offline=offline)
    return replace(located, prefix="backbone.") if scheme == "mmcls" else located


def _tables(source: str) -> tuple[Path, str]:
    for package, inside, own in _TABLES:
        try:
            # This looks the package up, and does not import it.
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        folder = Path(spec.origin).with_name(inside) if spec is not None and spec.origin else None
        if folder is not None and os.path.isfile(folder / own):
            return folder, own
    raise missing("mmengine", source, "mm")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The table of names {str(path)!r} cannot be read: {error}.") from error
    return content if isinstance(content, dict) else {}


def _home() -> Path:
    """Where MMEngine looks for more names, and for files that they stand for."""
    own = os.environ.get("MMENGINE_HOME")
    base = own or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "mmengine")
    return Path(base).expanduser()
