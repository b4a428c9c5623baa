"""From the text of a builder to what builds."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from initcfg._config.builders.calls import attach_rules, call, call_library
from initcfg._config.builders.hf import hf_model, names_file
from initcfg._config.builders.libraries import timm_model, torchvision_model
from initcfg._config.builders.openmmlab import config_model
from initcfg._config.import_paths import modules_like
from initcfg.errors import BuildError, BuildImportError, UnknownTypeError, nearest

LIBRARIES = {"timm": timm_model, "torchvision": torchvision_model, "hf": hf_model}
OPENMMLAB = ("mmdet", "mmseg", "mmpretrain")
_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_OBJECT = re.compile(rf"{_NAME}:{_NAME}")


@dataclass(frozen=True)
class Builder:
    """Builds a model by ``make``, and gives it the rules, unless ``make`` takes an ``init_cfg`` itself."""

    text: str
    make: Callable[..., Any]
    takes_rules: bool = False
    # The class or function that it calls with the arguments as they are, where it is one.
    target: Any = None

    def __call__(self, **arguments: Any) -> Any:
        """The model."""
        from torch import nn

        rules = None if self.takes_rules else arguments.pop("init_cfg", None)
        model: Any = self.make(**arguments)
        if not isinstance(model, nn.Module):
            raise BuildError(
                f"{self.text!r} returns {_kind(model)}, which is not a torch.nn.Module.",
                fix="Name a module class, or a function that returns a model.",
            )
        attach_rules(model, rules)
        return model


def is_builder(text: str) -> bool:
    """Whether a text has the form of a builder.

    Example:
        >>> from initcfg._config.builders import is_builder
        >>> [is_builder(text) for text in ("timm:resnet18", "my.models:Net", "ResNet", "config.py")]
        [True, True, False, False]
    """
    prefix, _, name = text.partition(":")
    known = prefix in (*LIBRARIES, *OPENMMLAB)
    return bool(name) and (known or _OBJECT.fullmatch(text) is not None)


def is_object(text: str) -> bool:
    """Whether a builder is somebody's own code: ``package.module:function``."""
    return is_builder(text) and text.partition(":")[0] not in (*LIBRARIES, *OPENMMLAB)


def builder(text: str, build_model: Callable[[Any], Any]) -> Builder:
    """The builder that a text names, its library imported; ``build_model`` is for configs of packages."""
    prefix, _, name = text.partition(":")
    if prefix in LIBRARIES:
        return Builder(text, LIBRARIES[prefix](name))
    if prefix in OPENMMLAB:
        return Builder(text, config_model(text, build_model), takes_rules=True)
    return _object(text)


def target_of(factory: Any) -> Any:
    """What takes the arguments in the end; None where a builder makes something of them first."""
    return factory.target if isinstance(factory, Builder) else factory


def needs_no_trust(text: str) -> bool:
    """Whether a builder runs the code of an installed library alone, and reads no file.

    Example:
        >>> from initcfg._config.builders import needs_no_trust
        >>> [needs_no_trust(text) for text in ("timm:resnet18", "hf:gpt2", "hf:./model", "my.models:Net")]
        [True, True, False, False]
    """
    prefix, _, name = text.partition(":")
    return prefix in LIBRARIES and (prefix != "hf" or not names_file(name))


def object_of(text: str) -> Any:
    """The class or function that ``package.module:function_or_class`` names; its module is imported."""
    path, _, attribute = text.partition(":")
    try:
        found: Any = importlib.import_module(path)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is None or not f"{path}.".startswith(f"{missing}."):
            raise BuildImportError(
                f"The builder {text!r} names the module {path!r}, which cannot be imported. "
                f"{type(error).__name__}: {error}",
                fix="Mend the module: its own code raised this.",
            ) from error
        raise UnknownTypeError(
            f"The builder {text!r} names the module {path!r}, and there is no module {missing!r}.",
            meant=[f"{close}:{attribute}" for close in _modules_meant(path)],
            fix="Install it, or run the command in its folder: it is looked for as by an import.",
        ) from None
    at = path
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UnknownTypeError(
                f"The builder {text!r} names {part!r}, which {at!r} does not have.",
                meant=nearest(part, [name for name in dir(found) if not name.startswith("_")]),
                fix=f"Name what {at} has.",
            )
        found, at = getattr(found, part), f"{at}.{part}"
    if not callable(found):
        raise UnknownTypeError(
            f"The builder {text!r} names {_kind(found)}, which is not a class or function.",
            fix="Name a module class, or a function that returns a model.",
        )
    return found


def _modules_meant(path: str) -> list[str]:
    """What somebody may have meant by a module that does not exist: a file's name, or one letter less."""
    if path.endswith(".py") and os.path.isfile(path):
        return [path.removesuffix(".py")]
    return list(
        dict.fromkeys([*nearest(path, (*LIBRARIES, *OPENMMLAB)), *modules_like(path.removesuffix(".py"))])
    )


def _object(text: str) -> Builder:
    found = object_of(text)

    def make(**arguments: Any) -> Any:
        return call_library(text, lambda **given: call(found, given), arguments)

    takes_rules = False
    with contextlib.suppress(TypeError, ValueError):
        takes_rules = "init_cfg" in inspect.signature(found).parameters
    return Builder(text, make, takes_rules, found)


def _kind(found: Any) -> str:
    return "None" if found is None else f"a {type(found).__name__}"
