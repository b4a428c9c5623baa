"""Bit for bit: whatever the layout, the ranks together hold what one process alone would."""

from __future__ import annotations

import pytest
from all_layouts import all_layouts
from layout_models import MODELS
from layouts import LAYOUTS
from processes import run_ranks, values_of

# The rest of the product is with the peers.
CHOSEN = [
    *[(world, name) for world in (2, 4) for name in MODELS],
    (1, "kinds"),
    *[(3, "kinds"), (3, "resnet")],
    *[(8, "kinds"), (8, "llama")],
]


@pytest.mark.parametrize(("world", "name"), CHOSEN)
def test_every_layout_holds_the_whole(world: int, name: str) -> None:
    for result in values_of(run_ranks(world, all_layouts, name, timeout=240)):
        assert result["wrong"] == {}
        assert result["looked"] >= 15 * len(LAYOUTS[world])
        assert result["shards"] >= result["looked"] // 4
