"""Example inputs: what the user gives, else what the model's library has for a dummy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from initcfg._model.names import unwrapped
from initcfg._model.roles.examples_transformers import Arguments, of_transformers
from initcfg.errors import RoleError

_BATCH = 2
_FORMS = "A tensor, a tuple of arguments, a dict of them by name, or a function that returns one of these."


def example_of(model: nn.Module) -> str:
    """What an example input of a model may look like, as Python, by the layer that comes first in it."""
    for layer in model.modules():
        if isinstance(layer, nn.Embedding):
            return "torch.zeros(2, 8, dtype=torch.long)"
        if isinstance(layer, nn.Linear):
            return f"torch.zeros(2, {layer.in_features or 8})"
        kind = next(
            (n for n, cls in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), 1) if isinstance(layer, cls)), 0
        )
        if kind:
            return f"torch.zeros({', '.join(map(str, (2, layer.in_channels or 3, *[32] * kind)))})"
    return "torch.zeros(2, 3, 32, 32)"


def arguments_of(model: nn.Module, example: Any = None) -> list[Arguments]:
    """The arguments of one call of ``model``; of a library's dummies several, to be tried in order.

    Args:
        example: A tensor, a tuple or list of positional arguments, a dict of named ones, or a function that
            gives one of these; None for what the library of the model has.

    Raises:
        RoleError: There is none, or it has another form.
    """
    if example is None:
        return _of_library(unwrapped(model))
    if callable(example) and not isinstance(example, torch.Tensor):
        try:
            example = example()
        except Exception as error:
            raise RoleError(
                f"The function that gives an example input raised {type(error).__name__}: {error}.",
                fix="It takes no arguments, and returns those of one call of the model.",
            ) from error
    if isinstance(example, torch.Tensor):
        return [((example,), {})]
    if isinstance(example, Mapping):
        if not all(isinstance(key, str) for key in example):
            raise RoleError(
                f"The names of an example's arguments must be texts, not {list(example)!r}.", fix=_FORMS
            )
        return [((), dict(example))]
    if isinstance(example, (tuple, list)):
        if len(example) == 2 and isinstance(example[0], tuple) and isinstance(example[1], dict):
            return [(example[0], dict(example[1]))]
        return [(tuple(example), {})]
    raise RoleError(
        f"An example input is a tensor, a tuple or a dict of arguments, not {example!r}.", fix=_FORMS
    )


def _of_library(model: nn.Module) -> list[Arguments]:
    for cls in type(model).__mro__:
        library = (cls.__module__ or "").partition(".")[0]
        found = None
        if library == "timm":
            found = [_timm(model)]
        elif library == "transformers":
            found = of_transformers(model)
        elif library == "torchvision":
            found = [_torchvision(model)]
        if found:
            return found
    raise RoleError(
        f"To see what the tensors of a {type(model).__name__} do, it is run once without memory, and what it "
        "takes as input is not known.",
        fix=f"Give one: example=({example_of(model)},) in code, example = 'file.py:function' in a config, "
        "--example file.py:function for plan, explain, init and roles; or declare the roles: "
        "roles=dict(residual_out=[...]).",
    )


def _image(*size: int) -> Arguments:
    return (torch.empty(_BATCH, *size, device="meta"),), {}


def _timm(model: Any) -> Arguments:
    settings = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    size = settings.get("input_size") if isinstance(settings, Mapping) else None
    channels, height, width = size or (3, 224, 224)
    first = next((each for each in model.modules() if isinstance(each, nn.Conv2d)), None)
    if first is not None and first.in_channels * first.groups and model.__dict__.get("in_chans"):
        channels = model.in_chans
    embedding = getattr(model, "patch_embed", None)
    side = getattr(embedding, "img_size", None)
    if isinstance(side, (tuple, list)) and len(side) == 2:
        height, width = side
    return _image(channels, height, width)


def _torchvision(model: Any) -> Arguments:
    module, name = type(model).__module__, type(model).__name__
    if ".detection" in module:
        return ([torch.empty(3, 256, 256, device="meta")],), {}
    if ".video" in module:
        return _image(3, 8, 112, 112) if name == "VideoResNet" else _image(3, 16, 224, 224)
    if ".optical_flow" in module:
        image = torch.empty(_BATCH, 3, 128, 128, device="meta")
        return (image, image), {}
    side = getattr(model, "image_size", None)
    side = side if isinstance(side, int) else 299 if name == "Inception3" else 224
    return _image(3, side, side)
