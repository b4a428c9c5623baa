"""Mimetic attention: the products of its weights, in each way in which models store them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import initcfg
from initcfg.errors import InitcfgError

WIDTH = 96


class Attention(nn.Module):
    def __init__(self, heads: int, fused: bool, width: int = WIDTH) -> None:
        super().__init__()
        self.heads = heads
        if fused:
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.qkv(x).chunk(3, -1) if hasattr(self, "qkv") else (self.q(x), self.k(x), self.v(x))
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in parts)
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Net(nn.Module):
    def __init__(self, heads: int, fused: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Attention(heads, fused) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


EXAMPLE = (torch.zeros(2, 5, WIDTH),)


def made(heads: int, fused: bool, **arguments: float) -> tuple[Net, list[tuple[torch.Tensor, ...]]]:
    model = Net(heads, fused)
    plan = initcfg.plan(model, dict(type="Mimetic", **arguments), example=EXAMPLE)
    plan.apply(model, seed=0)
    found = []
    for block in model.blocks:
        three = block.qkv.weight.chunk(3) if fused else (block.q.weight, block.k.weight, block.v.weight)
        found.append((*(each.detach() for each in three), block.out.weight.detach()))
    return model, found


@pytest.mark.parametrize("fused", [True, False])
def test_one_head_has_the_whole_product(fused: bool) -> None:
    _, found = made(1, fused)
    for q, k, v, out in found:
        product = q.T @ k
        assert product.trace().item() / WIDTH == pytest.approx(0.7, abs=0.05)
        rest = product - 0.7 * torch.eye(WIDTH)
        assert rest.std().item() * WIDTH**0.5 == pytest.approx(0.7, rel=0.05)
        product = out @ v
        assert product.trace().item() / WIDTH == pytest.approx(-0.4, abs=0.05)
        rest = product + 0.4 * torch.eye(WIDTH)
        assert rest.std().item() * WIDTH**0.5 == pytest.approx(0.4, rel=0.05)


def test_several_heads_have_the_first_of_their_singular_vectors() -> None:
    heads, size = 4, WIDTH // 4
    _, whole = made(1, False)
    _, found = made(heads, False)
    for (q1, k1, *_), (q, k, v, out) in zip(whole, found, strict=True):
        # The first head of several draws what the only one does.
        left, sizes, right = torch.linalg.svd(q1.T @ k1)
        nearest = left[:, :size] @ torch.diag(sizes[:size]) @ right[:size]
        assert torch.allclose(q[:size].T @ k[:size], nearest, atol=1e-4)
        products = [q[at : at + size].T @ k[at : at + size] for at in range(0, WIDTH, size)]
        assert all(torch.linalg.matrix_rank(each, rtol=1e-4) == size for each in products)
        assert not torch.allclose(products[0], products[1], atol=0.01)
        assert (out @ v).trace().item() / WIDTH == pytest.approx(-0.4, abs=0.05)
        # Balanced: both halves have the same size.
        assert q.norm().item() == pytest.approx(k.norm().item(), rel=1e-4)
        assert v.norm().item() == pytest.approx(out.norm().item(), rel=1e-4)


def test_fused_weights_hold_the_same_numbers() -> None:
    _, fused = made(4, True)
    _, apart = made(4, False)
    for one, other in zip(fused, apart, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_blocks_and_names_draw_numbers_of_their_own() -> None:
    _, found = made(2, True)
    assert not torch.allclose(found[0][0], found[1][0], atol=0.01)
    _, others = made(2, True, draws="text")  # type: ignore[arg-type]
    assert not torch.allclose(found[0][0], others[0][0], atol=0.01)


def test_its_plan_is_data_and_the_same_again() -> None:
    model, found = made(2, True)
    plan = initcfg.plan(model, dict(type="Mimetic"), example=EXAMPLE)
    read = initcfg.Plan.from_json(plan.to_json())
    again = Net(2, True)
    read.apply(again, seed=0)
    assert torch.equal(again.blocks[1].qkv.weight, model.blocks[1].qkv.weight)
    assert torch.equal(again.blocks[1].qkv.weight.chunk(3)[0], found[1][0])


def test_attention_of_another_form_is_refused() -> None:
    with pytest.raises(InitcfgError, match="none was found in Sequential"):
        initcfg.plan(nn.Sequential(nn.Linear(3, 3)), dict(type="Mimetic"), example=(torch.zeros(2, 3),))
    roles = dict(attn_qkv=["blocks.*.mix.weight"], attn_out=["blocks.*.out.weight"], blocks="blocks", heads=2)
    odd = Net(2, True)
    for block in odd.blocks:
        block.mix = nn.Linear(WIDTH, 3 * WIDTH)
    with pytest.raises(InitcfgError, match="order that is not known"):
        initcfg.plan(odd, dict(type="Mimetic"), roles=roles)
