"""Deferred builds of torchvision's, timm's and the OpenMMLab packages' models: the plan is their own.

With torch's generator every weight and buffer has the bits of an eager build; with the stream every
parameter is a Value, and is drawn from the distribution that the library draws from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats
import torch
from real_models import MODELS, RealModel, build
from torch import nn

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.mm]

TORCHVISION = (
    "resnet18",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "swin_t",
    "swin_v2_t",
    "vit_b_16",
    "maxvit_t",
    "convnext_tiny",
)
TIMM = (
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "beit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "convnextv2_atto",
    "efficientnet_b0",
    "resnet18",
    "mixer_s16_224",
    "xcit_nano_12_p16_224",
    "cait_xxs24_224",
    "levit_128s",
    "mobilevit_xxs",
)
# What the constructors read while they build, so that it is computed as they say.
MOST_COMPUTED = 0.05

Build = Callable[[], nn.Module]


def torchvision_model(name: str) -> Build:
    import torchvision.models

    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return lambda: torchvision.models.get_model(name, **options)


def timm_model(name: str) -> Build:
    import timm

    return lambda: timm.create_model(name)


CASES = [
    *(pytest.param(torchvision_model, name, id=f"torchvision-{name}") for name in TORCHVISION),
    *(pytest.param(timm_model, name, id=f"timm-{name}") for name in TIMM),
]


def quietly(function: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        # What the libraries say of themselves is none of ours.
        warnings.simplefilter("ignore")
        return function()


def eager(make: Build) -> nn.Module:
    torch.manual_seed(0)
    return quietly(make)


def pending(make: Build) -> nn.Module:
    torch.manual_seed(0)
    with initcfg.deferred():
        return quietly(make)


def differing(one: nn.Module, other: nn.Module) -> list[str]:
    left, right = one.state_dict(), other.state_dict()
    assert list(left) == list(right)
    return [
        name
        for name in left
        if left[name].numel() and not torch.equal(left[name].view(-1).view(torch.uint8), _bytes(right[name]))
    ]


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1).view(torch.uint8)


@pytest.mark.parametrize(("package", "name"), CASES)
def test_torchs_generator_gives_the_eager_build(package: Callable[[str], Build], name: str) -> None:
    make = package(name)
    theirs, ours = eager(make), pending(make)
    plan = quietly(lambda: initcfg.plan(ours))
    plan.apply(ours, rng="torch")
    assert differing(theirs, ours) == []
    kinds = [item.value.kind for item in plan.values()]
    assert kinds.count("Computed") <= MOST_COMPUTED * len(kinds)


@pytest.mark.parametrize(("package", "name"), CASES)
def test_the_stream_draws_from_the_same_distributions(package: Callable[[str], Build], name: str) -> None:
    make = package(name)
    theirs, ours = eager(make), pending(make)
    plan = quietly(lambda: initcfg.plan(ours))
    plan.apply(ours, seed=3)
    worst, tests = 1.0, 0
    for (key, one), other in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        kind = plan[key].value.kind
        if kind == "Constant":
            assert torch.equal(one, other), key
        elif kind not in ("Computed", "Keep"):
            left, right = (each.detach().flatten()[:20_000].double().numpy() for each in (one, other))
            worst, tests = min(worst, scipy.stats.ks_2samp(left, right).pvalue), tests + 1
    # The least of so many p-values, by Bonferroni.
    assert tests > 0
    assert worst * tests > 1e-3


@pytest.mark.parametrize("real", MODELS[::5], ids=lambda real: real.name)
def test_mmengine_after_a_deferred_build(real: RealModel) -> None:
    """Construction recorded, then init_weights by our plan: bit for bit MMEngine's own two steps."""
    theirs = eager(lambda: build(real))
    torch.manual_seed(1)
    quietly(theirs.init_weights)  # type: ignore[arg-type]

    torch.manual_seed(0)
    with initcfg.deferred():
        ours = build(real)
    plan = quietly(lambda: initcfg.plan(ours, compat="mmengine"))
    # What the constructors drew comes first; then the generator is set, as for theirs.
    for parameter in ours.parameters():
        default = parameter.__dict__.get("_initcfg_default")
        if default is not None:
            default.replay()
            break
    torch.manual_seed(1)
    quietly(lambda: plan.apply(ours, rng="torch"))
    assert differing(theirs, ours) == []


@pytest.mark.parametrize("real", MODELS[2::8], ids=lambda real: real.name)
def test_models_code_is_recorded(real: RealModel) -> None:
    """With the stream, init_weights of real models becomes values, from the distributions of MMEngine's."""
    theirs = eager(lambda: build(real))
    quietly(theirs.init_weights)  # type: ignore[arg-type]
    torch.manual_seed(0)
    with initcfg.deferred():
        ours = build(real)
    ledger = quietly(lambda: initcfg.plan(ours, compat="mmengine").apply(ours, seed=3))
    worst, tests = 1.0, 0
    for (key, one), other in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        entry = ledger[key]
        if entry.value.kind == "Constant":
            assert torch.equal(one, other), key
        elif entry.by != "nobody" and one.numel() > 1:
            left, right = (each.detach().flatten()[:20_000].double().numpy() for each in (one, other))
            worst, tests = min(worst, scipy.stats.ks_2samp(left, right).pvalue), tests + 1
    assert tests > 0
    assert worst * tests > 1e-3


def test_the_truncated_normals_of_libraries_are_recorded_as_one_write():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm.layers
        from mmengine.model import weight_init

    for function in (weight_init.trunc_normal_, timm.layers.trunc_normal_):

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.empty(40, 5))
                function(self.weight, std=0.02)  # noqa: B023 - built at once

        with initcfg.deferred():
            model = Model()
        plan = initcfg.plan(model)
        assert plan["weight"].value == initcfg.values.TruncNormal(0.0, 0.02, -2.0, 2.0)
        torch.manual_seed(1)
        plan.apply(model, rng="torch")
        torch.manual_seed(1)
        assert model.weight.equal(function(torch.empty(40, 5), std=0.02))
