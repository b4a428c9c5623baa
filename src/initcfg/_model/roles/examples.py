"""Example inputs: what the user gives, else what the model's library has for a dummy."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from initcfg._model.names import unwrapped
from initcfg.errors import RoleError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_BATCH, _LENGTH = 2, 8
_FIX = (
    "Give one: example=(torch.zeros(2, 3, 32, 32),) in code, example = 'file.py:function' in a config, "
    "--example file.py:function for the command; or declare the roles: roles=dict(residual_out=[...])."
)


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
                f"The names of an example's arguments must be texts, not {list(example)!r}.", fix=_FIX
            )
        return [((), dict(example))]
    if isinstance(example, (tuple, list)):
        if len(example) == 2 and isinstance(example[0], tuple) and isinstance(example[1], dict):
            return [(example[0], dict(example[1]))]
        return [(tuple(example), {})]
    raise RoleError(
        f"An example input is a tensor, a tuple or a dict of arguments, not {example!r}.", fix=_FIX
    )


def _of_library(model: nn.Module) -> list[Arguments]:
    for cls in type(model).__mro__:
        library = (cls.__module__ or "").partition(".")[0]
        found = None
        if library == "timm":
            found = [_timm(model)]
        elif library == "transformers":
            found = _transformers(model)
        elif library == "torchvision":
            found = [_torchvision(model)]
        if found:
            return found
    raise RoleError(
        f"To see what the tensors of a {type(model).__name__} do, it is run once without memory, and what it "
        "takes as input is not known.",
        fix=_FIX,
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


def _transformers(model: Any) -> list[Arguments]:
    config = getattr(model, "config", None)
    if config is None:
        return []
    taken = inspect.signature(type(model).forward).parameters
    main = getattr(model, "main_input_name", "input_ids")
    kwargs: dict[str, Any] = {"use_cache": False} if "use_cache" in taken else {}
    tokens = main not in ("pixel_values", "input_values", "input_features") and main in taken
    if main == "pixel_values" or (main not in taken and "pixel_values" in taken):
        kwargs["pixel_values"] = _pixels(config)
        tokens = "input_ids" in taken
    elif main == "input_values":
        kwargs["input_values"] = torch.empty(_BATCH, 4000, device="meta")
    elif main == "input_features":
        kwargs["input_features"] = _features(config)
    elif "pixel_values" in taken and _is_contrastive(taken):
        kwargs["pixel_values"] = _pixels(config)
    if tokens:
        kwargs["input_ids"] = _ids()
    encodes = getattr(config, "is_encoder_decoder", False)
    if "decoder_input_ids" in taken and encodes:
        kwargs["decoder_input_ids"] = _ids()
    if not tokens or encodes or "attention_mask" not in taken:
        return [((), kwargs)]
    # What these are computed from otherwise, no meta tensor has.
    masked = kwargs | {"attention_mask": torch.zeros(_BATCH, 1, _LENGTH, _LENGTH)}
    if "position_ids" in taken:
        masked["position_ids"] = torch.arange(_LENGTH)[None].expand(_BATCH, -1)
    return [((), masked), ((), kwargs)] if "use_cache" in taken else [((), kwargs), ((), masked)]


def _ids() -> torch.Tensor:
    # Ones, since zero is often padding, and code that runs looks at that.
    return torch.ones(_BATCH, _LENGTH, dtype=torch.long)


def _is_contrastive(taken: Mapping[str, Any]) -> bool:
    return "return_loss" in taken


def _pixels(config: Any) -> torch.Tensor:
    vision = getattr(config, "vision_config", config)
    side = getattr(vision, "image_size", None) or getattr(config, "image_size", None) or 224
    height, width = side if isinstance(side, (tuple, list)) else (side, side)
    channels = getattr(vision, "num_channels", None) or 3
    return torch.empty(_BATCH, channels, height, width, device="meta")


def _features(config: Any) -> torch.Tensor:
    bins = getattr(config, "num_mel_bins", None) or getattr(config, "input_feat_per_channel", None) or 80
    frames = 2 * getattr(config, "max_source_positions", 0)
    if type(config).__name__ == "WhisperConfig":
        return torch.empty(_BATCH, bins, frames, device="meta")
    return torch.empty(_BATCH, 64, bins, device="meta")
