"""No tensor of a user's loses what it was: ``Tensor.numpy()`` makes its storage unresizable for good."""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src" / "initcfg"
# Numbers of its own, which nobody else sees.
OWN = {"_model/moments/distribution.py"}


def test_nobody_calls_numpy_of_a_tensor() -> None:
    found = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        for text in re.findall(r"(?<!`)\b\w+[)\]]*\.numpy\(\)", path.read_text())
        if text != "Tensor.numpy()"
    }
    assert found == OWN
