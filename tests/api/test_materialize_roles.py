"""materialize takes what rules need of the model, as plan and init_weights do."""

import pytest
import torch
from torch import nn

import initcfg


class TinyCausal(nn.Module):
    """A decoder of one block."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 11, bias=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.embedding(words)))


RULE = dict(type="GPT2")
WORDS = (torch.zeros(2, 5, dtype=torch.long),)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return TinyCausal()


def test_the_remedy_of_a_scheme_that_needs_an_example_works():
    with pytest.raises(initcfg.errors.RoleError, match="example"):
        initcfg.materialize(on_meta(), RULE, seed=0)
    model = on_meta()
    initcfg.materialize(model, RULE, seed=0, example=WORDS)
    other = TinyCausal()
    initcfg.init_weights(other, RULE, seed=0, example=WORDS)
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


def test_an_example_beside_a_plan_is_refused():
    model = on_meta()
    plan = initcfg.plan(TinyCausal(), RULE, example=WORDS)
    with pytest.raises(initcfg.errors.ApplyError, match="for making one"):
        initcfg.materialize(model, plan=plan, example=WORDS)
    assert all(each.is_meta for each in model.parameters())
