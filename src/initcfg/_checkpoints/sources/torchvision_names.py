"""``torchvision://``: names of torchvision's registry of weights.

A plain model name means what it means to MMEngine: the weights that torchvision 0.12 had for it, which are
the first ones in today's registry (``IMAGENET1K_V1``), whatever ``DEFAULT`` is by now.
"""

from __future__ import annotations

from initcfg._checkpoints.sources.download import from_web
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.optional_packages import imported
from initcfg.errors import CheckpointNameError, nearest

_SITE = "https://download.pytorch.org/models/"
# Where the first weights of today are not those of 0.12, or the name is gone.
_BEFORE = {
    "efficientnet_b0": "efficientnet_b0_rwightman-3dd342df.pth",
    "efficientnet_b1": "efficientnet_b1_rwightman-533bc792.pth",
    "efficientnet_b2": "efficientnet_b2_rwightman-bcdf34b7.pth",
    "efficientnet_b3": "efficientnet_b3_rwightman-cf984f9c.pth",
    "efficientnet_b4": "efficientnet_b4_rwightman-7eb33cd5.pth",
    "efficientnet_b5": "efficientnet_b5_lukemelas-b6417697.pth",
    "efficientnet_b6": "efficientnet_b6_lukemelas-c76e70fd.pth",
    "efficientnet_b7": "efficientnet_b7_lukemelas-dcc49843.pth",
    "inception_v3_google": "inception_v3_google-0cc3c7bd.pth",
    "shufflenetv2_x0.5": "shufflenetv2_x0.5-f707e7126e.pth",
    "shufflenetv2_x1.0": "shufflenetv2_x1-5666bf0f80.pth",
}


def from_torchvision(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """Weights by model (``resnet50``), by model and name, or by the name of the enumeration's member."""
    return from_web(address_of(source), sha256=sha256, offline=offline)


def address_of(source: str) -> str:
    """The address that a ``torchvision://`` name stands for."""
    name = source.partition("://")[2].strip("/")
    if name in _BEFORE:
        return _SITE + _BEFORE[name]
    models = imported("torchvision.models", source, "torchvision")
    head, dot, member = name.partition(".")
    by_model = {model: models.get_model_weights(model) for model in models.list_models()}
    by_class = {weights.__name__: weights for weights in by_model.values()}
    weights = {key.lower(): weights for key, weights in (by_class | by_model).items()}.get(head.lower())
    if weights is None:
        raise CheckpointNameError(
            f"torchvision has no model and no weights {head!r} ({source!r}).",
            meant=[f"torchvision://{name}" for name in nearest(head, [*by_model, *by_class])],
        )
    members = list(weights)
    if not members:
        raise CheckpointNameError(f"torchvision has no weights for {source!r}.")
    if not dot and head.lower() in by_model:
        return members[0].url
    if member.lower() == "default":
        return weights.DEFAULT.url
    found = next((item for item in members if item.name.lower() == member.lower()), None)
    if found is None:
        names = [item.name for item in members]
        raise CheckpointNameError(
            f"torchvision has no weights {source!r}.",
            meant=[f"torchvision://{head}.{name}" for name in nearest(member, names) or names[:4]],
        )
    return found.url
