"""A parameter's storage can be resized after it was initialized, as it could before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg._stream.bits import kernel


@pytest.fixture(params=[True, False], ids=["kernel", "no kernel"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(kernel, "available", lambda: False)
    elif not kernel.available():
        pytest.skip("there is no kernel")


class WithTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(40, 40)
        self.register_buffer("table", torch.arange(6))


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("type_", ["Normal", "Uniform", "Orthogonal", "Constant", "Pretrained"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_storages_can_be_resized(type_: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = WithTable().to(dtype)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    given = dict(
        Normal=dict(std=0.1),
        Uniform=dict(a=-1, b=1),
        Constant=dict(val=1),
        Pretrained=dict(checkpoint=str(tmp_path / "weights.safetensors")),
    ).get(type_, {})
    layer = {} if type_ == "Pretrained" else dict(layer="Linear")
    ledger = initcfg.init_weights(model, dict(type=type_, **layer, **given), seed=0)
    assert ledger.to_json()
    for tensor in model.state_dict(keep_vars=True).values():
        assert tensor.untyped_storage().resizable()
