"""Golden plans: where they lie, and whether they are to be written anew; pytest's plug-in says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Asked:
    """What the run of tests asked for.

    Attributes:
        update: Whether plans that differ are written, and not refused.
        folder: Where relative paths begin: that of the test that runs; None outside of pytest.
        updated: The files that were written.
    """

    update: bool = False
    folder: Path | None = None
    updated: list[str] = field(default_factory=list)


asked = Asked()
