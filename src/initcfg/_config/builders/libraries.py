"""``timm:NAME`` and ``torchvision:NAME``."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

from initcfg._config.builders.calls import call_library, library
from initcfg._config.builders.offline import offline
from initcfg._config.files import plain
from initcfg.errors import BuildError, UnknownTypeError, nearest


def timm_model(name: str) -> Callable[..., Any]:
    """What builds timm's model of that name."""
    text = f"timm:{name}"
    with offline():
        timm = library("timm", text, "'initcfg[timm]'")
    if not timm.is_model(name):
        raise UnknownTypeError(
            f"timm has no model {name!r}.",
            meant=[f"timm:{close}" for close in nearest(name, timm.list_models())],
            fix="Choose one of timm.list_models().",
        )

    def make(**arguments: Any) -> Any:
        _without_weights(text, arguments, "pretrained", "checkpoint_path")
        with offline():
            create = functools.partial(timm.create_model, name, pretrained=False)
            return call_library(text, create, plain(arguments))

    return make


def torchvision_model(name: str) -> Callable[..., Any]:
    """What builds torchvision's model of that name: detection, segmentation, video and quantized ones too."""
    text = f"torchvision:{name}"
    models = library("torchvision.models", text, "'initcfg[torchvision]'")
    if name not in models.list_models():
        raise UnknownTypeError(
            f"torchvision has no model {name!r}.",
            meant=[f"torchvision:{close}" for close in nearest(name, models.list_models())],
            fix="Choose one of torchvision.models.list_models().",
        )
    given_always: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        given_always["weights_backbone"] = None
    inception = name.removeprefix("quantized_") in ("googlenet", "inception_v3")
    if inception:
        # The same as to leave it out, which warns that this will change.
        given_always["init_weights"] = True

    def make(**arguments: Any) -> Any:
        _without_weights(text, arguments, "weights", "weights_backbone", "pretrained", "pretrained_backbone")
        with warnings.catch_warnings():
            if inception:
                # They warn that initializing takes long; here it is only noted.
                warnings.simplefilter("ignore")
            create = functools.partial(models.get_model, name)
            return call_library(text, create, {**given_always, **plain(arguments)})

    return make


def _without_weights(text: str, arguments: dict[str, Any], *names: str) -> None:
    """Take out arguments that ask for no weights, and refuse those that ask for some."""
    for name in names:
        value = arguments.pop(name, None)
        if value:
            raise BuildError(
                f"{text!r} is built without weights, but {name}={value!r} asks for some.",
                fix="Load a local file by a rule: init_cfg=dict(type='Pretrained', checkpoint='FILE').",
            )
