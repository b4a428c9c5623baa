"""Relations in a cross-section of the zoo, by ``benchmarks/relations.py``; and its functions themselves."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.mm]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[None]:
    """The modules of ``benchmarks/`` can be imported."""
    sys.path.insert(0, str(BENCHMARKS))
    importlib.import_module("zoo").prepare()
    yield
    sys.path.remove(str(BENCHMARKS))


class Related(nn.Module):
    """Tensors that are functions of one another, in each way that is looked for."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(8, 6)
        self.weight = nn.Parameter(weight)
        self.copy = nn.Parameter(weight.clone())
        self.scaled = nn.Parameter(weight * -0.5)
        self.risen = nn.Parameter(weight.exp())
        self.turned = nn.Parameter(weight.T.contiguous())
        self.shuffled = nn.Parameter(weight.flip(0).contiguous())
        self.norms = nn.Parameter(weight.norm(dim=1))
        self.experts = nn.Parameter(torch.randn(4, 5).repeat(3, 1, 1))
        self.square = nn.Parameter(nn.init.orthogonal_(torch.empty(6, 6)))
        self.alone = nn.Parameter(torch.randn(8, 6))


FOUND = {
    "equal": {("weight", "copy"), ("experts 0", "experts 1"), ("experts 0", "experts 2")},
    "scaled": {("weight", "scaled")},
    "same order of size": {("weight", "risen")},
    "same numbers": {("weight", "turned"), ("weight", "shuffled")},
    "norms of rows": {("norms", "weight norms of rows")},
    "orthogonal": {("square", "square")},
}


# Those of the zoo that have any, by what the whole of it shows.
IN_THE_ZOO = {
    "timm/vit_small_patch16_rope_mixed_224": {"orthogonal": 1, "rows of one length": 1},
    "transformers/RwkvForCausalLM": {
        "orthogonal": 16,
        "columns of one length": 14,
        "rows of one length": 12,
    },
    "transformers/EncodecModel": {"norms of rows": 36, "norm": 1},
    "transformers/VitsModel": {"norms of rows": 64},
    "transformers/LxmertForPreTraining": {"orthogonal": 1},
    "mmdet/deformable-detr-refine-twostage_r50_16xb2-50e_coco": {"equal": 30},
}


@pytest.mark.parametrize("key", IN_THE_ZOO)
def test_a_librarys_relations_hold_under_the_stream(key: str) -> None:
    module, zoo = importlib.import_module("relations"), importlib.import_module("zoo")
    row = module.examine_relations(key, zoo.ARCHITECTURES[key].build)
    assert (row.error, row.lost, row.found) == (None, [], IN_THE_ZOO[key])


def found_in(module: Any, model: nn.Module) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {}
    for each in module.relations_of(dict(module.tensors_of(model))):
        found.setdefault(each.kind, set()).add((" ".join(each.one), " ".join(each.two)))
    return found


def test_each_kind_of_relation_is_found_and_holds() -> None:
    module = importlib.import_module("relations")
    torch.manual_seed(0)
    found = found_in(module, Related())
    for kind, pairs in FOUND.items():
        assert pairs <= found[kind], kind
    assert not any("alone" in pair for pairs in found.values() for pair in pairs)
    row = module.examine_relations("of the test", Related)
    assert (row.error, row.lost) == (None, [])
    assert sum(row.found.values()) >= sum(map(len, FOUND.values()))
    assert row.formulas >= 2


def test_a_relation_that_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("relations")
    plan = initcfg.trace(Related)

    class Loose:
        """A plan that fills every tensor with numbers of its own."""

        def __init__(self) -> None:
            self.parameters, self.buffers = plan.parameters, plan.buffers

        def items(self) -> Any:
            return ()

        def apply(self, model: nn.Module, seed: int) -> None:
            torch.manual_seed(seed)
            for tensor in model.parameters():
                tensor.copy_(torch.randn(tensor.shape))

    monkeypatch.setattr(module.initcfg, "trace", lambda build: Loose())
    row = module.examine_relations("of the test", Related)
    assert row.error is None
    assert "weight and copy: equal" in row.lost
    assert "square and square: orthogonal" in row.lost
    assert len(row.lost) == sum(row.found.values())
