"""Tensors of unusual types and layouts: written in full, or refused by name before the first byte."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg._apply.weights_file import save_weights
from initcfg.errors import InitcfgError, OutputError, TensorError

DTYPES = sorted({each for each in vars(torch).values() if isinstance(each, torch.dtype)}, key=str)
QUANTIZED = [dtype for dtype in DTYPES if "qint" in str(dtype) or "quint" in str(dtype)]
DRAWN = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
FLOAT8 = [dtype for dtype in DTYPES if str(dtype).startswith("torch.float8")]
RULES: list[dict[str, Any]] = [
    dict(type="Constant", val=1.0),
    dict(type="Constant", val=0.0),
    dict(type="Constant", val=-0.3),
    dict(type="Normal"),
    dict(type="Uniform", a=-1, b=1),
    dict(type="TruncNormal"),
    dict(type="Orthogonal"),
    dict(type="Identity"),
    dict(type="Sparse", sparsity=0.5),
]


class Odd(nn.Module):
    def __init__(self, tensor: torch.Tensor) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.odd = nn.Parameter(tensor, requires_grad=False)


def of_type(dtype: torch.dtype) -> torch.Tensor:
    if dtype in QUANTIZED:
        return torch.quantize_per_tensor(torch.zeros(8, 8), 0.1, 0, dtype)
    return torch.empty(8, 8, dtype=dtype)


def nested(layout: torch.layout) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(3, 3)], layout=layout)


LAYOUTS: dict[str, Callable[[], torch.Tensor]] = {
    "coo": lambda: torch.eye(8).to_sparse(),
    "csr": lambda: torch.eye(8).to_sparse_csr(),
    "bsr": lambda: torch.eye(8).to_sparse_bsr((2, 2)),
    "nested": lambda: nested(torch.strided),
    "jagged": lambda: nested(torch.jagged),
    "expanded": lambda: torch.zeros(1, 8).expand(8, 8),
    "conjugate": lambda: torch.zeros(8, 8, dtype=torch.complex64).conj(),
    "negative": lambda: torch.zeros(8, 8, dtype=torch.complex64).conj().imag,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_type_is_written_in_full_or_refused(rule: dict[str, Any], rng: Any) -> None:
    written = set()
    for dtype in DTYPES:
        model = Odd(of_type(dtype))
        first = model.first.weight.clone()
        rules = [dict(type="Constant", val=5.0, layer="Linear"), dict(rule, param="odd")]
        try:
            initcfg.init_weights(model, rules, seed=0, rng=rng)
        except InitcfgError as error:
            assert error.parameter == "odd", (dtype, error)
            assert torch.equal(model.first.weight, first), dtype
            continue
        written.add(dtype)
        if rule["type"] == "Constant":
            expected = torch.full((8, 8), rule["val"]).to(dtype)
            assert torch.equal(model.odd.cpu().to(torch.complex64), expected.to(torch.complex64)), dtype
    whole = {each for each in DTYPES if str(each).removeprefix("torch.").lstrip("u") in WHOLE}
    complex_types = {torch.complex32, torch.complex64, torch.complex128}
    with_zero = {each for each in FLOAT8 if "e8m0" not in str(each)}
    if rule["type"] == "Identity":
        unsigned = {torch.uint16, torch.uint32, torch.uint64}
        assert written == {*DRAWN, torch.complex64, torch.complex128} | (whole - unsigned)
    elif rule["type"] != "Constant":
        assert written == set(DRAWN)
    elif rule["val"] == 1.0:
        assert written == {*DRAWN, *FLOAT8} | whole | complex_types
    elif rule["val"] == 0.0:
        assert written == {*DRAWN} | with_zero | whole | complex_types
    else:
        assert written == {*DRAWN} | with_zero | complex_types


WHOLE = ("bool", "int8", "int16", "int32", "int64")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_other_layouts_are_refused(make: Callable[[], torch.Tensor], rng: Any) -> None:
    model = Odd(make())
    first = model.first.weight.clone()
    rules = [dict(type="Constant", val=5.0, layer="Linear"), dict(type="Constant", val=1.0, param="odd")]
    with pytest.raises(TensorError) as found:
        initcfg.init_weights(model, rules, seed=0, rng=rng)
    assert found.value.parameter == "odd"
    assert torch.equal(model.first.weight, first)


@pytest.mark.filterwarnings("ignore")
def test_what_no_rule_names_is_left_alone() -> None:
    for tensor in [*map(of_type, DTYPES), LAYOUTS["coo"](), LAYOUTS["csr"](), LAYOUTS["expanded"]()]:
        model = Odd(tensor)
        plan = initcfg.plan(model, dict(type="Constant", val=5.0, layer="Linear"))
        plan.apply(model, seed=0, atomic=True)
        assert model.first.weight.unique().tolist() == [5.0]


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
def test_nested_tensors_are_refused_everywhere(layout: torch.layout) -> None:
    def build() -> nn.Module:
        return Odd(nested(layout))

    def deferred() -> None:
        with initcfg.deferred():
            model = build()
        initcfg.plan(model)

    for call in (
        deferred,
        lambda: initcfg.plan(build()),
        lambda: initcfg.trace(build),
        lambda: initcfg.materialize(build(), seed=0),
    ):
        with pytest.raises(TensorError, match="A nested tensor holds several") as found:
            call()
        assert found.value.parameter == "odd"


def test_what_a_safetensors_file_cannot_hold(tmp_path: Any) -> None:
    for tensor, what in (
        (LAYOUTS["coo"](), "'odd', which is sparse or quantized"),
        (torch.zeros(2, dtype=torch.complex128), "a tensor of type torch.complex128"),
    ):
        model = Odd(tensor)
        ledger = initcfg.init_weights(model, dict(type="Constant", val=5.0, layer="Linear"), seed=0)
        with pytest.raises(OutputError, match=what):
            save_weights(model, ledger, str(tmp_path / "w.safetensors"))
        assert list(tmp_path.iterdir()) == []
        save_weights(model, ledger, str(tmp_path / "w.pth"))
        assert torch.load(tmp_path / "w.pth")["first.weight"].unique().tolist() == [5.0]
        for path in tmp_path.iterdir():
            path.unlink()


def test_views_of_one_memory_are_saved_as_two(tmp_path: Any) -> None:
    """A matrix and itself, turned, begin at the same place and have the same shape."""
    square = torch.arange(4.0).view(2, 2)
    model = nn.ParameterDict({"a": square, "b": square.t()})
    ledger = initcfg.init_weights(nn.Linear(1, 1), dict(type="Normal", layer="Linear"), seed=0)
    save_weights(model, ledger, str(tmp_path / "w.safetensors"))
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "w.safetensors")
    assert saved["a"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert saved["b"].tolist() == [[0.0, 2.0], [1.0, 3.0]]
