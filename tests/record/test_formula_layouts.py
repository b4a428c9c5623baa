"""Views in a formula are those of the real operation's result, however it lies in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from held_tensors import holding, tensors_of

import initcfg
from initcfg.errors import ApplyError
from initcfg.values import Formula

linalg = torch.linalg


def positive(x):
    return x @ x.mT + torch.eye(x.shape[-1])


# Operations with results of two dimensions or more, from a matrix, or from two of them stacked.
OPERATIONS = {
    "svd": linalg.svd,
    "svd thin": lambda x: linalg.svd(x[:, :4], full_matrices=False),
    "torch.svd": torch.svd,
    "qr": linalg.qr,
    "qr complete": lambda x: linalg.qr(x[:, :3], mode="complete"),
    "eigh": lambda x: linalg.eigh(positive(x)),
    "eig": linalg.eig,
    "cholesky": lambda x: linalg.cholesky_ex(positive(x))[0],
    "cholesky_inverse": lambda x: torch.cholesky_inverse(linalg.cholesky_ex(positive(x))[0]),
    "lu_factor": lambda x: linalg.lu_factor_ex(x)[0],
    "lu": linalg.lu,
    "inv": lambda x: linalg.inv_ex(x)[0],
    "solve": lambda x: linalg.solve_ex(positive(x), x.mT)[0],
    "triangular": lambda x: linalg.solve_triangular(x.tril() + 9 * torch.eye(6), x.mT, upper=False),
    "pinv": lambda x: linalg.pinv(x[..., :3]),
    "matrix_exp": lambda x: linalg.matrix_exp(x / 9),
    "householder": lambda x: linalg.householder_product(x, x[..., 0, :]),
    "fft": lambda x: (torch.fft.fft(x).real, torch.fft.fft(x).imag),
    "rfft2": torch.fft.rfft2,
    "irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=-2), dim=-2, n=6),
    "stft": lambda x: torch.stft(x.flatten(), 16, window=torch.ones(16), return_complex=True),
    "conv": lambda x: torch.conv2d(x[:, None, :, None], x[:4, :3, None, None].mT[:, :1]),
    "pool": lambda x: torch.max_pool2d(x[None], 2),
    "resized": lambda x: torch.nn.functional.interpolate(x[None, None], scale_factor=2.0, mode="bicubic"),
    "mm": lambda x: x.mT @ x.mT,
    "einsum": lambda x: torch.einsum("ij,kj->ki", x, x),
    "cdist": lambda x: torch.cdist(x, x.mT),
    "sorted": lambda x: x.mT.sort(0)[0],
    "topk": lambda x: x.topk(3, 0)[0],
    "cumulative": lambda x: x.mT.cumsum(0),
    "scattered": lambda x: x.mT.index_add(0, torch.tensor([0, 2]), x[:2]),
    "where": lambda x: torch.where(x.mT > 0, x, x.mT),
    "rolled": lambda x: x.mT.roll(1, 0),
    "stacked": lambda x: torch.stack([x.mT, x], 1),
    "padded": lambda x: torch.nn.functional.pad(x[None].mT, (1, 1), mode="reflect"),
    "normed": lambda x: torch.nn.functional.layer_norm(x.mT, (6,)),
    "softmax": lambda x: x.mT.softmax(0),
    "variance": lambda x: x.mT.var(0, keepdim=True),
    "transposed": lambda x: (x.mT * 2, x.mT.tanh(), x.mT.clone()),
}
VIEWS = {
    "whole": lambda t: t,
    "mT": lambda t: t.mT if t.dim() > 1 else t,
    "rows": lambda t: t[: max(1, t.shape[0] // 2)],
    "columns": lambda t: t[..., 1:],
    "last": lambda t: t[-1],
    "every other": lambda t: t[..., ::2],
    "diagonal": lambda t: t.diagonal(0, -2, -1) if t.dim() > 1 else t,
    "moved": lambda t: t.movedim(0, -1),
    "imaginary": lambda t: torch.view_as_real(t)[..., 1] if t.is_complex() else t,
}


def views_of(operation, x):
    """Every view of every floating-point result."""
    found = operation(x)
    results = found if isinstance(found, tuple) else (found,)
    results = [each for each in results if each.is_floating_point() or each.is_complex()]
    return {
        f"{number} {name}".replace(" ", "_"): view(each.detach()).clone()
        for number, each in enumerate(results)
        for name, view in VIEWS.items()
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_views_of_a_result_are_those_of_the_real_operation(name):
    operation = OPERATIONS[name]

    def build():
        x = torch.randn(6, 6)
        return holding(x=x, **views_of(operation, x))

    plan = initcfg.trace(build)
    read = initcfg.Plan.from_json(plan.to_json())
    for applied in (plan, read):
        model = build()
        applied.apply(model, seed=5)
        wanted = views_of(operation, model.x.detach())
        found = tensors_of(model)
        assert all(isinstance(plan[key].value, Formula) for key in wanted)
        for key, tensor in wanted.items():
            torch.testing.assert_close(found[key].detach(), tensor, rtol=1e-3, atol=1e-4)


def test_pissa():
    """A layer less the part of rank 4 that its adapters hold: what is left is orthogonal to them."""

    def build():
        weight = torch.nn.Linear(16, 16, bias=False).weight.detach()
        u, s, vh = linalg.svd(weight, full_matrices=False)
        a, b = vh[:4].clone(), u[:, :4] * s[:4]
        return holding(w=weight - b @ a, a=a, b=b)

    model = build()
    plan = initcfg.trace(build)
    plan.apply(model, seed=0)
    assert (model.w @ model.a.T).abs().max() < 1e-5
    assert (model.b.T @ model.w).abs().max() < 1e-5
    torch.testing.assert_close(model.a @ model.a.T, torch.eye(4), rtol=0, atol=1e-5)


def test_views_of_a_table_from_numpy_that_is_transposed():
    table = np.arange(6, dtype="float32").reshape(2, 3)

    def build():
        weight, numbers = torch.randn(3), torch.from_numpy(table.T)
        return holding(w=weight, first=weight[:2] * numbers[0], column=weight * numbers[:, 1])

    model = build()
    initcfg.trace(build).apply(model, seed=0)
    assert torch.equal(model.first, model.w[:2] * torch.tensor([0.0, 3.0]))
    assert torch.equal(model.column, model.w * torch.tensor([3.0, 4.0, 5.0]))


def test_numbers_are_drawn_in_one_order_wherever_they_show():
    def build():
        u, _, _ = linalg.svd(torch.rand(6, 6))
        drawn = torch.bernoulli(u.abs() / 2)
        return holding(whole=drawn, row=drawn[1].clone(), twice=2 * drawn.mT)

    model = build()
    initcfg.trace(build).apply(model, seed=0)
    assert torch.equal(model.row, model.whole[1])
    assert torch.equal(model.twice, 2 * model.whole.mT)
    assert 0 < model.whole.sum() < 36


def test_the_halves_of_complex_zeros_are_not_taken_for_zeros():
    def build():
        numbers = torch.zeros(4, dtype=torch.complex64)
        torch.view_as_real(numbers)[2:].normal_()
        return holding(c=numbers, halves=torch.view_as_real(numbers).clone())

    model = build()
    initcfg.trace(build).apply(model, seed=0)
    assert model.c[:2].abs().max() == 0
    assert model.c[2:].abs().min() > 0
    assert torch.equal(torch.view_as_real(model.c), model.halves)


def test_another_shape_than_was_recorded_is_an_error():
    program = [
        ["value", [2, 3], "float32", {"kind": "Normal", "mean": 0.0, "std": 1.0}, 0],
        ["rot90", "$0", 1, [0, 1]],
        ["layout", "$1", [2, 3], [3, 1]],
        ["result", "$1:3:1:0"],
    ]
    rule = dict(type="Value", param="p", value=dict(kind="Formula", program=program))
    with pytest.raises(ApplyError, match=r"expects a tensor of shape \(2, 3\), .* one of shape \(3, 2\)"):
        initcfg.init_weights(holding(p=torch.zeros(3)), rule, seed=0)
