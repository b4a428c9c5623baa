"""Heads that code multiplies by itself, without a module: seen as layers, blamed, and mended."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import initcfg
from initcfg import Diagnosis, Finding

_WORDS, _WIDTH = 100, 64
_HEADS: dict[str, Any] = {
    "linear": functional.linear,
    "@": lambda x, w: x @ w.T,
    "matmul": lambda x, w: torch.matmul(x, w.t()),
    "einsum": lambda x, w: torch.einsum("bte,ve->btv", x, w),
    "mm": lambda x, w: torch.mm(x.flatten(0, 1), w.transpose(0, 1)).view(*x.shape[:2], -1),
    "of its halves": lambda x, w: torch.cat([x @ w[:50].T, x @ w[50:].T], -1),
    "cast": lambda x, w: (x.bfloat16() @ w.bfloat16().T).float(),
}


class Block(nn.Module):
    """What a transformer has, without attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up = nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, 4 * _WIDTH)
        self.down = nn.Linear(4 * _WIDTH, _WIDTH)
        for each in (self.up, self.down):
            nn.init.normal_(each.weight, 0, 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(functional.gelu(self.up(self.norm(x))))


class ByHand(nn.Module):
    """A language model whose table is its head, as ``functional`` says it."""

    def __init__(self, head: str, std: float, *, bare: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = _HEADS[head]
        self.table = nn.Parameter(torch.empty(_WORDS, _WIDTH)) if bare else nn.Embedding(_WORDS, _WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in "1")
        self.norm = nn.LayerNorm(_WIDTH)
        nn.init.normal_(self._weight(), 0, std)

    def _weight(self) -> Any:
        return self.table if isinstance(self.table, nn.Parameter) else self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table[ids] if isinstance(self.table, nn.Parameter) else self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x), self._weight())


def _ids() -> torch.Tensor:
    return torch.randint(0, _WORDS, (8, 24), generator=torch.Generator().manual_seed(0))


def _found(diagnosis: Diagnosis, code: str) -> Finding:
    codes = [each.code for each in diagnosis.findings]
    assert code in codes, codes
    return diagnosis.findings[codes.index(code)]


@pytest.mark.parametrize("head, bare", [*((head, False) for head in _HEADS), ("@", True), ("einsum", True)])
def test_a_tied_head_by_hand_is_seen_and_mended(head: str, bare: bool) -> None:
    name = "table" if bare else "table.weight"
    healthy = initcfg.diagnose(ByHand(head, 0.02, bare=bare), _ids(), steps=0)
    assert healthy.findings == (), str(healthy)
    model = ByHand(head, 1.0, bare=bare)
    found = _found(initcfg.diagnose(model, _ids(), steps=0), "initial-loss")
    assert found.where == name and found.tensors == (name,)
    assert found.fix.startswith("The embedding is the output layer, too")
    assert found.mend is not None and found.mend["param"] == [name]
    initcfg.init_weights(model, dict(found.mend), seed=0)
    assert initcfg.diagnose(model, _ids(), steps=0).findings == ()


@pytest.mark.parametrize("head, bare", [*((head, False) for head in _HEADS), ("@", True), ("einsum", True)])
def test_it_has_the_role_of_a_head(head: str, bare: bool) -> None:
    name = "table" if bare else "table.weight"
    model = ByHand(head, 0.02, bare=bare)
    plan = initcfg.plan(model, dict(type="Normal", role="head", std=0.5), example=(_ids(),))
    assert {each.name for each in plan.values() if each.role is not None and "head" in each.role.roles} == {
        name
    }
    assert str(plan[name].value) == "Normal(mean=0, std=0.5)"


def test_the_size_of_what_it_gives_is_measured() -> None:
    model = ByHand("@", 1.0)
    told: list[torch.Tensor] = []
    model.register_forward_hook(lambda *call: told.append(call[-1].detach()))
    measures = initcfg.diagnose(model, _ids(), steps=0).measures
    size = told[0].square().mean().sqrt().item()
    (table,) = [each for each in measures.tensors if each.name == "table.weight"]
    assert table.activation_rms == pytest.approx(size) and (table.activation_gradient_rms or 0) > 0
    assert measures.numbers["activation_largest"] == pytest.approx(size)


def test_layers_by_hand_are_measured_by_depth() -> None:
    class Deep(nn.Module):
        def __init__(self, std: float) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weights = nn.ParameterList(torch.randn(_WIDTH, _WIDTH) * std for _ in range(12))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for each in self.weights:
                x = torch.relu(x @ each)
            return x

    x = torch.randn(256, _WIDTH, generator=torch.Generator().manual_seed(0))
    batch = x, torch.arange(256) % _WIDTH
    small = initcfg.diagnose(Deep(0.02), batch, steps=0)
    found = _found(small, "activation-vanishes")
    assert found.where.startswith("weights.") and found.measured == pytest.approx(1.4e-8, rel=1), found
    assert len(small.measures.blocks) == 12
    assert initcfg.diagnose(Deep((2 / _WIDTH) ** 0.5), batch, steps=0).ok


def test_a_parameter_beside_its_layers_is_not_seen_twice() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    assert [each.name for each in initcfg.diagnose(model, steps=0).measures.blocks] == ["0", "2"]


class Cosine(nn.Module):
    """Logits are a factor times cosines: the size of what is normalized plays no part."""

    def __init__(self, how: str, factor: float, body: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.body = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 10, bias=False)
        self.norm = nn.LayerNorm(32) if "norm" in how.split() else nn.Identity()
        if how == "weight norm":
            self.head = nn.utils.parametrizations.weight_norm(self.head)
        self.scale = nn.Parameter(torch.tensor(factor))
        with torch.no_grad():
            self.body[2].weight.mul_(body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        if self.how == "h/|h|":
            h = h / h.norm(dim=-1, keepdim=True)
            return self.scale * h @ functional.normalize(self.head.weight, dim=-1).T
        if self.how == "normalize":
            h = functional.normalize(h, dim=-1)
            return self.scale * functional.linear(h, functional.normalize(self.head.weight, dim=-1))
        if self.how == "temperature":
            h, w = functional.normalize(h, dim=-1), functional.normalize(self.head.weight, dim=-1)
            return h @ w.T / self.scale
        return self.scale * self.head(self.norm(h))


@pytest.mark.parametrize(
    "how, factor, body",
    [("h/|h|", 60.0, 1.0), ("h/|h|", 60.0, 50.0), ("normalize", 60.0, 1.0), ("temperature", 0.01, 1.0)],
)
def test_a_layer_whose_size_is_normalized_away_is_not_blamed(how: str, factor: float, body: float) -> None:
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    batch = x, torch.arange(64) % 10
    model = Cosine(how, factor, body)
    found = _found(initcfg.diagnose(model, batch, steps=0), "initial-loss")
    assert found.tensors[0] == found.where == "scale"
    assert (
        found.fix == f"scale sets the size of the logits: start it {'larger' if factor < 1 else 'smaller'}."
    )
    assert found.mend == {"type": "Constant", "val": 1, "param": ["scale"]}
    initcfg.init_weights(model, dict(found.mend), seed=0)
    assert initcfg.diagnose(model, batch, steps=0).ok


def test_a_factor_beside_the_head_in_one_module() -> None:
    """Both are parameters of the model itself: each is judged by its own pull."""

    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Linear(16, 32)
            self.proto, self.log_scale = nn.Parameter(torch.randn(10, 32)), nn.Parameter(torch.tensor(4.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h, p = functional.normalize(self.body(x), dim=1), functional.normalize(self.proto, dim=1)
            return self.log_scale.exp() * h @ p.T

    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    found = _found(initcfg.diagnose(Prototypes(), (x, torch.arange(64) % 10), steps=0), "initial-loss")
    assert found.where == "log_scale" and found.mend is not None and found.mend["param"] == ["log_scale"]


def test_behind_a_norm_its_weight_is_blamed_and_not_what_comes_before() -> None:
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    batch = x, torch.arange(64) % 10
    model = Cosine("norm", 1.0, 100.0)
    assert initcfg.diagnose(model, batch, steps=0).ok
    with torch.no_grad():
        model.norm.weight.fill_(60)
    found = _found(initcfg.diagnose(model, batch, steps=0), "initial-loss")
    assert found.tensors[0] == found.where == "norm.weight"
    assert found.mend == {"type": "Constant", "val": 1, "param": ["norm.weight"]}


def test_of_weight_norm_the_layer_is_blamed_that_has_the_size() -> None:
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    model = Cosine("weight norm", 1.0)
    with torch.no_grad():
        model.head.parametrizations.weight.original0.fill_(60)  # type: ignore[union-attr]
    found = _found(initcfg.diagnose(model, (x, torch.arange(64) % 10), steps=0), "initial-loss")
    assert found.tensors[0] == "head.weight"
