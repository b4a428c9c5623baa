"""Models of other libraries with load hooks: loaded is what MMEngine's or torch's own loading gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.mm, pytest.mark.hf]


def _mmpretrain(**config: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from mmpretrain.registry import MODELS

        # Another test may have left the scope of another package as the default.
        return MODELS.build(dict(copy.deepcopy(config), _scope_="mmpretrain"))

    return build


def _vit(size: int, **more: Any) -> Callable[[], nn.Module]:
    kind = more.pop("type", "VisionTransformer")
    return _mmpretrain(type=kind, arch="deit-tiny", img_size=size, patch_size=8, **more)


def _swin(size: int, **more: Any) -> Callable[[], nn.Module]:
    arch = {"embed_dims": 24, "depths": [2, 2], "num_heads": [3, 6], **more.pop("arch", {})}
    return _mmpretrain(**{"type": "SwinTransformer", "out_indices": (1,)}, arch=arch, img_size=size, **more)


def _t2t(size: int) -> Callable[[], nn.Module]:
    return _mmpretrain(
        type="T2T_ViT",
        img_size=size,
        t2t_cfg={"token_dims": 64, "use_performer": False},
        num_layers=2,
        layer_cfgs={"num_heads": 6, "feedforward_channels": 3 * 384},
    )


def _aws() -> nn.Module:
    from mmcv.cnn.bricks.conv_ws import ConvAWS2d

    return ConvAWS2d(3, 4, 3)


def _resnet(frozen: bool) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision
        from torchvision.ops.misc import FrozenBatchNorm2d

        return torchvision.models.resnet18(norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d)

    return build


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "ViT": (_vit(32), _vit(64)),
    "RevViT": (_vit(32, type="RevVisionTransformer"), _vit(64, type="RevVisionTransformer")),
    "BEiT": (_vit(32, type="BEiTViT"), _vit(64, type="BEiTViT")),
    "T2T-ViT": (_t2t(64), _t2t(96)),
    "Swin": (_swin(56, window_size=7), _swin(96, window_size=12)),
    "Swin, absolute": (_swin(56, use_abs_pos_embed=True), _swin(112, use_abs_pos_embed=True)),
    "ConvAWS2d": (_aws, _aws),
    "ConvAWS2d from Conv2d": (lambda: nn.Conv2d(3, 4, 3), _aws),
    "FrozenBatchNorm2d": (_resnet(False), _resnet(True)),
}


@pytest.fixture(autouse=True)
def old_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmpretrain asks for a function that SciPy no longer has; both ways of loading get the same instead."""
    import scipy.interpolate

    class Interpolation:
        def __init__(self, x: Any, y: Any, z: Any, kind: str) -> None:
            self.spline = scipy.interpolate.RectBivariateSpline(x, y, np.asarray(z).T)

        def __call__(self, x: Any, y: Any) -> Any:
            return self.spline(x, y).T

    monkeypatch.setattr(scipy.interpolate, "interp2d", Interpolation, raising=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("compat", [None, "mmengine"])
def test_as_mmengine_loads_it(case: str, compat: str | None, tmp_path: Path) -> None:
    from mmengine.runner.checkpoint import load_checkpoint

    there, here = CASES[case]
    torch.manual_seed(0)
    saved = there()
    for tensor in [*saved.parameters(), *saved.buffers()]:
        if tensor.is_floating_point():
            tensor.data.normal_()
    torch.save({"state_dict": saved.state_dict()}, tmp_path / "a.pth")
    reference = here()
    model = copy.deepcopy(reference)
    load_checkpoint(reference, str(tmp_path / "a.pth"), map_location="cpu", strict=False)
    rule = {"type": "Pretrained", "checkpoint": str(tmp_path / "a.pth")}
    if compat is None:
        initcfg.plan(model, rule).apply(model, seed=0)
        for name, tensor in reference.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[name]), name
    else:
        # Under compat the model's own code runs too: what the checkpoint gives is compared.
        plan = initcfg.plan(model, rule, compat=compat)
        plan.apply(model, seed=0)
        found = [name for name, item in plan.items() if item.value.kind in ("FromCheckpoint", "Hooked")]
        assert len(found) >= 2
        for name in found:
            assert torch.equal(reference.state_dict()[name], model.state_dict()[name]), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("old", [False, True])
def test_what_wav2vec2_saved(old: bool, tmp_path: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(3, 3),
        conv_stride=(2, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    saved, model = Wav2Vec2Model(config), Wav2Vec2Model(config)
    state = dict(saved.state_dict())
    checkpoint: Any = str(tmp_path)
    if old:
        names = {
            "parametrizations.weight.original0": "weight_g",
            "parametrizations.weight.original1": "weight_v",
        }
        checkpoint = {}
        for name, tensor in state.items():
            for new, former in names.items():
                name = name.replace(new, former)
            checkpoint[name] = tensor
    else:
        saved.save_pretrained(tmp_path)
    rule = {"type": "Pretrained", "checkpoint": checkpoint, "strict": "all"}
    initcfg.plan(model, rule).apply(model, seed=0)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in state.items())
